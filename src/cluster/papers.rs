//! The certificates of a cluster on this machine: an authority of its own, made anew each time it
//! starts, and one certificate for each process and for whoever started it.

use anyhow::Context as _;
use client::{Tls, TlsArgs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tls::authority::{Authority, Issued};
use tls::{Identity, Kind, Role};

/// Where they are, in the cluster's directory.
const DIRECTORY: &str = "tls";
/// What the cluster is called in them.
const CLUSTER: &str = "local";
/// What whoever started it is called.
const OWN: &str = "me";

/// The certificates of all processes, by name, and one's own.
pub(super) struct Papers {
    all: BTreeMap<String, Issued>,
    own: Issued,
    tls: Tls,
}

impl Papers {
    /// Makes an authority, and certificates for these coordinators and for so many agents.
    pub(super) fn issue(
        cluster: &Path,
        coordinators: &[String],
        agents: u8,
    ) -> anyhow::Result<Papers> {
        let directory = cluster.join(DIRECTORY);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("can't make {}", directory.display()))?;
        let directory = std::path::absolute(directory)?;
        let authority = Authority::new(&directory)?;
        let issue = |kind: Kind, name: &str| {
            let (cluster, name) = (CLUSTER.to_owned(), name.to_owned());
            authority.issue(&Identity { cluster, kind, name })
        };
        let mut all = BTreeMap::new();
        for name in coordinators {
            all.insert(name.clone(), issue(Kind::Coordinator, name)?);
        }
        for name in (1..=agents).map(|number| format!("n{number}")) {
            let issued = issue(Kind::Agent, &name)?;
            all.insert(name, issued);
        }
        let own = issue(Kind::User(Role::Admin), OWN)?;
        let tls = args(&own).load()?.context("all three files are named")?;
        Ok(Papers { all, own, tls })
    }

    /// By which a process finds its certificate.
    pub(super) fn flags(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let issued = self.all.get(name).with_context(|| format!("{name} has no certificate"))?;
        let Issued { cacert, cert, key } = issued;
        let flags = [("--cacert", cacert), ("--cert", cert), ("--key", key)];
        let flags = flags.map(|(flag, file)| [flag.to_owned(), file.display().to_string()]);
        Ok(flags.into_iter().flatten().collect())
    }

    /// One's own.
    pub(super) fn own(&self) -> Tls {
        self.tls.clone()
    }

    /// One's own, as the cluster file names it.
    pub(super) fn describe(&self) -> Value {
        let Issued { cacert, cert, key } = &self.own;
        json!({ "cacert": cacert, "cert": cert, "key": key })
    }
}

fn args(issued: &Issued) -> TlsArgs {
    let Issued { cacert, cert, key } = issued.clone();
    TlsArgs { cacert: Some(cacert), cert: Some(cert), key: Some(key) }
}
