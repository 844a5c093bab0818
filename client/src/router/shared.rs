//! What a router's operations share: the picture of the topology, the clock, the connections.

use super::retries::RetryCounts;
use super::topology::TopologyMap;
use crate::channel::endpoint;
use migrations::clock::{HybridClock, HybridTime};
use migrations::id::{NodeId, RouterId};
use migrations::record::TabletRecord;
use migrations::settings::Settings;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tls::{Dial, Kind, Tls};
use tokio::sync::watch;
use tonic::transport::Channel;
use uuid::Uuid;

/// Shared by all operations and by the task that keeps the picture. Its locks are never held
/// while anything is waited for.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Drawn at start: no other router, nor this one before a restart, has the same.
    pub(crate) router: RouterId,
    pub(crate) retries: RetryCounts,
    map: RwLock<TopologyMap>,
    clock: Mutex<HybridClock>,
    /// How far the wall clock is off; 0 but in tests.
    clock_offset_ms: i64,
    /// How agents are dialled.
    dial: Dial,
    channels: Mutex<HashMap<String, Channel>>,
    /// Why the picture can't be brought up to date just now; empty if it can.
    trouble: Mutex<String>,
    /// Raised at each change of the picture.
    changes: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(clock_offset_ms: i64, tls: Option<Tls>) -> Shared {
        let router = RouterId::from_uuid(Uuid::new_v4());
        Shared {
            router: router.expect("a v4 UUID has its version bits and is not nil"),
            retries: RetryCounts::default(),
            map: RwLock::default(),
            clock: Mutex::default(),
            clock_offset_ms,
            dial: Dial::new(tls, Kind::Agent),
            channels: Mutex::default(),
            trouble: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn map(&self) -> RwLockReadGuard<'_, TopologyMap> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees every change of the picture from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes a message of the watch. A new picture closes the connections to addresses that
    /// nobody has any more.
    pub(crate) fn take(
        &self,
        message: proto::admin::v1::WatchTopologyResponse,
    ) -> Result<(), proto::Malformed> {
        let is_wider = message.wider;
        let has_changed = self.map.write().unwrap_or_else(PoisonError::into_inner).take(message)?;
        if !has_changed {
            return Ok(());
        }
        if is_wider {
            let map = self.map();
            self.channels().retain(|address, _| map.is_address(address));
        }
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Notes why the picture can't be brought up to date; empty once it can.
    pub(crate) fn note_trouble(&self, trouble: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn trouble(&self) -> String {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes on a record that came with a refusal.
    pub(crate) fn learn(&self, record: TabletRecord) {
        if self.map.write().unwrap_or_else(PoisonError::into_inner).learn(record) {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to a node, made when it is first used.
    pub(crate) fn channel(&self, node: NodeId) -> Result<Channel, String> {
        let address = self.map().address(node).map(str::to_owned);
        let address = address.ok_or_else(|| format!("node {node} has no address"))?;
        let mut channels = self.channels();
        if let Some(channel) = channels.get(&address) {
            return Ok(channel.clone());
        }
        let endpoint =
            endpoint(&address, self.dial.has_tls()).map_err(|error| error.to_string())?;
        let channel = self.dial.lazy(&endpoint);
        channels.insert(address, channel.clone());
        Ok(channel)
    }

    fn clock(&self) -> MutexGuard<'_, HybridClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A time above each that was drawn or observed here.
    pub(crate) fn draw(&self) -> HybridTime {
        self.clock().now(self.wall_millis())
    }

    /// The clock as it is carried on requests.
    pub(crate) fn reading(&self) -> HybridTime {
        self.clock().reading(self.wall_millis())
    }

    /// Takes on a time from elsewhere; if it is too far ahead, how long until it no longer is.
    pub(crate) fn observe(&self, time: HybridTime) -> Result<(), Duration> {
        let (wall, bound) = (self.wall_millis(), self.skew_bound_ms());
        let observed = self.clock().observe(time, wall, bound);
        observed.map_err(|_| {
            Duration::from_millis(time.millis().saturating_sub(wall.saturating_add(bound)))
        })
    }

    /// How long until an agent whose clock says this will take a time of ours.
    pub(crate) fn until_taken(&self, agent: HybridTime) -> Duration {
        let allowed = agent.millis().saturating_add(self.skew_bound_ms());
        Duration::from_millis(self.reading().millis().saturating_sub(allowed))
    }

    fn wall_millis(&self) -> u64 {
        // Before 1970 the clock is wrong, and the agents' bound on skew says so.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        millis.saturating_add_signed(self.clock_offset_ms)
    }

    fn skew_bound_ms(&self) -> u64 {
        u64::from(self.map().skew_bound_ms().unwrap_or(Settings::DEFAULT.skew_bound_ms))
    }
}
