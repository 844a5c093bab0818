//! Where the coordinators of a cluster on this machine are: chosen once, kept in its directory,
//! since a coordinator is known to the others by its address.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

/// The file in the cluster's directory.
const FILE: &str = "places.json";

/// The ports of one coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    name: String,
    admin: SocketAddr,
    raft: SocketAddr,
    agents: SocketAddr,
}

/// The ports of all coordinators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places(Vec<Place>);

impl Places {
    /// What the directory says, or free ports, which it says from now on.
    pub(super) fn keep(directory: &Path, count: u8) -> anyhow::Result<Places> {
        let file = directory.join(FILE);
        let at = || format!("{}", file.display());
        if let Ok(text) = std::fs::read_to_string(&file) {
            let places = Places::parse(&text).with_context(at)?;
            if places.0.len() != usize::from(count) {
                let there = places.0.len();
                bail!("{} holds a cluster with --coordinators {there}", directory.display());
            }
            return Ok(places);
        }
        let mut ports = process::free_ports(3 * usize::from(count))?.into_iter();
        let mut port = || ports.next().context("as many ports as were asked for");
        let place = |number: u8| {
            let name = format!("c{number}");
            anyhow::Ok(Place { name, admin: port()?, raft: port()?, agents: port()? })
        };
        let places = Places((1..=count).map(place).collect::<anyhow::Result<_>>()?);
        std::fs::write(&file, places.text()).with_context(at)?;
        Ok(places)
    }

    fn text(&self) -> String {
        let place = |place: &Place| {
            let Place { name, admin, raft, agents } = place;
            json!({ "name": name, "admin": admin.to_string(), "raft": raft.to_string(),
                    "agents": agents.to_string() })
        };
        format!("{:#}\n", Value::Array(self.0.iter().map(place).collect()))
    }

    fn parse(text: &str) -> anyhow::Result<Places> {
        let all: Value = serde_json::from_str(text)?;
        let place = |place: &Value| {
            let field = |name: &str| {
                place.get(name).and_then(Value::as_str).with_context(|| format!("no {name:?}"))
            };
            anyhow::Ok(Place {
                name: field("name")?.to_owned(),
                admin: field("admin")?.parse()?,
                raft: field("raft")?.parse()?,
                agents: field("agents")?.parse()?,
            })
        };
        let all = all.as_array().context("not a list")?;
        Ok(Places(all.iter().map(place).collect::<anyhow::Result<_>>()?))
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|place| place.name.clone()).collect()
    }

    pub(super) fn coordinator(&self, name: &str) -> Option<&Place> {
        self.0.iter().find(|place| place.name == name)
    }

    pub(super) fn admin_addresses(&self) -> Vec<String> {
        self.0.iter().map(|place| place.admin.to_string()).collect()
    }

    /// For an agent's flag.
    pub(super) fn agents_addresses(&self) -> String {
        let all: Vec<String> = self.0.iter().map(|place| place.agents.to_string()).collect();
        all.join(",")
    }

    /// The flags that tell a coordinator where it and the others are.
    pub(super) fn flags(&self, name: &str) -> Vec<String> {
        let Some(own) = self.coordinator(name) else { return Vec::new() };
        let mut flags = vec!["--bootstrap-expect".to_owned(), self.0.len().to_string()];
        let mut flag = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
        flag("--admin-listen", own.admin.to_string());
        flag("--agents-listen", own.agents.to_string());
        flag("--raft-listen", own.raft.to_string());
        if self.0.len() > 1 {
            let peer = |place: &Place| format!("{}={}", place.name, place.raft);
            flag("--peers", self.0.iter().map(peer).collect::<Vec<_>>().join(","));
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_places_and_refuses_another_number_of_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Places::keep(directory.path(), 3).expect("free ports");
        assert_eq!(first.names(), ["c1", "c2", "c3"]);
        assert_eq!(Places::keep(directory.path(), 3).expect("the same"), first);
        let refused = Places::keep(directory.path(), 1).expect_err("it holds three");
        assert!(refused.to_string().contains("--coordinators 3"), "{refused}");
    }

    #[test]
    fn each_coordinator_is_told_of_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let places = Places::keep(directory.path(), 3).expect("free ports");
        let flags = places.flags("c2").join(" ");
        assert!(flags.contains(&format!("--raft-listen {}", places.0[1].raft)), "{flags}");
        for place in &places.0 {
            assert!(flags.contains(&format!("{}={}", place.name, place.raft)), "{flags}");
        }
    }
}
