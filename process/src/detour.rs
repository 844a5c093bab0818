//! Where others are dialled, if that is not where they are told to be: behind an address
//! translation, or a proxy.
//!
//! Each process has detours of its own, so that two of them can come to the same place on ways that
//! fail apart. Not here: what is advertised.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::OnceLock;

/// One place, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detour {
    /// Where it is told to be, `host:port`.
    pub told: String,
    /// What is dialled instead, `host:port`.
    pub through: String,
}

impl FromStr for Detour {
    type Err = String;

    fn from_str(text: &str) -> Result<Detour, String> {
        let is_address = |address: &str| {
            address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse().is_ok_and(|port: u16| port > 0)
            })
        };
        match text.split_once('=') {
            Some((told, through)) if is_address(told) && is_address(through) => {
                Ok(Detour { told: told.to_owned(), through: through.to_owned() })
            }
            _ => Err(format!("{text:?} is not HOST:PORT=HOST:PORT")),
        }
    }
}

static DETOURS: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// From here on this process takes these ways. The first ones stay.
pub fn take_detours(detours: &[Detour]) {
    let by_place = detours.iter().map(|one| (one.told.clone(), one.through.clone()));
    let _known = DETOURS.set(by_place.collect());
}

/// What to dial for an address, `host:port`: the address itself, unless there is a detour to it.
pub fn dialled(address: &str) -> &str {
    let detour = DETOURS.get().and_then(|detours| detours.get(address));
    detour.map_or(address, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detour_has_two_addresses_and_is_taken_for_the_one_place_alone() {
        let detour: Detour = "c1:7401=127.0.0.1:9".parse().expect("it is one");
        for wrong in ["c1:7401", "c1=h:1", "c1:7401=h", ":1=h:1", "h:0=h:1", "h:1=h:x", "=h:1"] {
            assert!(wrong.parse::<Detour>().is_err(), "{wrong}");
        }
        assert_eq!(dialled("c1:7401"), "c1:7401");
        take_detours(&[detour]);
        assert_eq!((dialled("c1:7401"), dialled("c2:7401")), ("127.0.0.1:9", "c2:7401"));
    }
}
