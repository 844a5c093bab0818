//! How connections to other coordinators are made: over TCP, with TLS or without. In a simulation,
//! over its network.

use tls::Dial;
use tonic::transport::{Channel, Endpoint, Error};

/// Dials other coordinators.
#[derive(Clone, Debug)]
pub(in super::super) struct Dialler(Dial);

impl Dialler {
    pub(in super::super) fn new(dial: Dial) -> Dialler {
        Dialler(dial)
    }

    /// The same, for the coordinator of this name alone.
    pub(in super::super) fn named(&self, name: &str) -> Dialler {
        Dialler(self.0.clone().named(name))
    }

    /// A connection that is made when it is first used.
    pub(super) fn lazy(&self, endpoint: &Endpoint) -> Channel {
        #[cfg(test)]
        if turmoil::in_simulation() {
            return endpoint.connect_with_connector_lazy(super::super::simulated::connector());
        }
        self.0.lazy(endpoint)
    }

    /// A connection to a raft address, made before anything is asked on it. The caller bounds it.
    ///
    /// # Errors
    ///
    /// What went wrong, in words.
    pub(in super::super) async fn connected(&self, address: &str) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{}", process::dialled(address)));
        let endpoint = endpoint.map_err(|error| error.to_string())?.tcp_nodelay(true);
        self.connect(&endpoint).await.map_err(|error| tls::causes(&error))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        #[cfg(test)]
        if turmoil::in_simulation() {
            return endpoint.connect_with_connector(super::super::simulated::connector()).await;
        }
        self.0.connect(endpoint).await
    }
}
