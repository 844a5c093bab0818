//! Identities, as they stand in certificates: one URI, `spiffe://CLUSTER/KIND/NAME`, for users
//! `spiffe://CLUSTER/user/ROLE/NAME`.

use proto::access::Role;
use std::fmt;
use std::str::FromStr;

/// What all identities begin with.
const SCHEME: &str = "spiffe://";
/// Most bytes of a name, a DNS label's: what a pod can be called.
const NAME_MAX: usize = 63;

/// Who somebody is, as a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The name of the cluster: the trust domain.
    pub cluster: String,
    /// What it is.
    pub kind: Kind,
    /// Its name within cluster and kind.
    pub name: String,
}

/// What somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A member of group0.
    Coordinator,
    /// A replica agent.
    Agent,
    /// A program that reads and writes rows.
    Router,
    /// A person, or what acts for one.
    User(Role),
}

/// A text that is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no identity: expected spiffe://CLUSTER/KIND/NAME with KIND coordinator, agent or \
     router, or spiffe://CLUSTER/user/ROLE/NAME with ROLE viewer, operator or admin; names of up \
     to 63 lower-case letters, digits, '-', '_' and '.', a letter or digit at both ends"
)]
pub struct NotAnIdentity(pub String);

impl Kind {
    /// Every kind with every role.
    pub const ALL: [Kind; 6] = [
        Kind::Coordinator,
        Kind::Agent,
        Kind::Router,
        Kind::User(Role::Viewer),
        Kind::User(Role::Operator),
        Kind::User(Role::Admin),
    ];

    /// As it stands between cluster and name.
    pub const fn path(self) -> &'static str {
        match self {
            Kind::Coordinator => "coordinator",
            Kind::Agent => "agent",
            Kind::Router => "router",
            Kind::User(Role::Viewer) => "user/viewer",
            Kind::User(Role::Operator) => "user/operator",
            Kind::User(Role::Admin) => "user/admin",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.cluster, self.kind, self.name)
    }
}

/// No escapes, no upper case, no way to spell one name twice.
fn is_name(text: &str) -> bool {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let all = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    text.len() <= NAME_MAX
        && end(text.chars().next())
        && end(text.chars().next_back())
        && text.chars().all(all)
        && !text.contains("..")
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Identity, NotAnIdentity> {
        let refused = || NotAnIdentity(text.to_owned());
        let rest = text.strip_prefix(SCHEME).ok_or_else(refused)?;
        let (cluster, path) = rest.split_once('/').ok_or_else(refused)?;
        let (kind, name) = path.rsplit_once('/').ok_or_else(refused)?;
        let kind = Kind::ALL.into_iter().find(|known| known.path() == kind).ok_or_else(refused)?;
        if !is_name(cluster) || !is_name(name) {
            return Err(refused());
        }
        Ok(Identity { cluster: cluster.to_owned(), kind, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in Kind::ALL {
            let identity = Identity { cluster: "prod-1".into(), kind, name: "a.b_c-1".into() };
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn odd_ones_are_refused() {
        let long = format!("spiffe://prod/agent/{}", "a".repeat(64));
        let odd = [
            "",
            "spiffe://",
            "spiffe://prod",
            "spiffe://prod/agent",
            "spiffe://prod/agent/",
            "spiffe:///agent/n1",
            "spiffe://prod//n1",
            "spiffe://prod/agent/n1/",
            "spiffe://prod/agent/n1/n2",
            "spiffe://prod/agent/N1",
            "spiffe://Prod/agent/n1",
            "spiffe://prod/Agent/n1",
            "SPIFFE://prod/agent/n1",
            "https://prod/agent/n1",
            "spiffe://prod/agent/n%31",
            "spiffe://prod/agent/n1?x",
            "spiffe://prod/agent/n1#x",
            "spiffe://prod/agent/n1\0",
            "spiffe://prod/agent/n1 ",
            "spiffe://prod/agent/ñ",
            "spiffe://prod/agent/..",
            "spiffe://prod/agent/a..b",
            "spiffe://prod/agent/-n1",
            "spiffe://prod/agent/n1.",
            "spiffe://prod:7400/agent/n1",
            "spiffe://me@prod/agent/n1",
            "spiffe://prod/user/alice",
            "spiffe://prod/user/root/alice",
            "spiffe://prod/user/admin/",
            "spiffe://prod/king/alice",
            &long,
        ];
        for text in odd {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
    }
}
