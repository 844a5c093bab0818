//! Certificates for a cluster whose ports are for those who show one.

use client::{Tls, TlsArgs};
use std::path::Path;
use tls::authority::{Authority, Issued};
use tls::{Identity, Kind, Role};

/// What clusters of tests are called in certificates.
pub(crate) const CLUSTER: &str = "test";

/// An authority, and what it issues.
pub(crate) struct Papers {
    authority: Authority,
    own: Tls,
}

impl Papers {
    /// An authority of its own, in this directory.
    pub(crate) fn new(directory: &Path) -> Papers {
        std::fs::create_dir_all(directory).expect("a directory");
        let authority = Authority::new(directory).expect("an authority");
        let own = load(&issue(&authority, Kind::User(Role::Admin), "tester"));
        Papers { authority, own }
    }

    /// An admin.
    pub(crate) fn own(&self) -> Tls {
        self.own.clone()
    }

    /// Somebody of this kind and name.
    pub(crate) fn of(&self, kind: Kind, name: &str) -> Tls {
        load(&issue(&self.authority, kind, name))
    }

    /// By which a process shows who it is. Issued anew each time it is asked for.
    pub(crate) fn flags(&self, name: &str) -> [String; 3] {
        let kind = if name.starts_with('c') { Kind::Coordinator } else { Kind::Agent };
        let Issued { cacert, cert, key } = self.issued(kind, name);
        [("cacert", cacert), ("cert", cert), ("key", key)]
            .map(|(flag, file)| format!("--{flag}={}", file.display()))
    }

    /// The files of somebody of this kind and name. Issued anew each time they are asked for.
    pub(crate) fn issued(&self, kind: Kind, name: &str) -> Issued {
        issue(&self.authority, kind, name)
    }
}

fn issue(authority: &Authority, kind: Kind, name: &str) -> Issued {
    let (cluster, name) = (CLUSTER.to_owned(), name.to_owned());
    authority.issue(&Identity { cluster, kind, name }).expect("a certificate")
}

fn load(issued: &Issued) -> Tls {
    let Issued { cacert, cert, key } = issued.clone();
    let args = TlsArgs { cacert: Some(cacert), cert: Some(cert), key: Some(key) };
    args.load().expect("it can be used").expect("all three are named")
}
