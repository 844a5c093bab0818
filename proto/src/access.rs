//! Who may call what: the table that servers go by. It is made of the methods' own options when the
//! protos are compiled; a method that says nothing can't be compiled.

/// What a person may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks at everything but rows.
    Viewer,
    /// Moves, repairs, drains, balances: what can be taken back.
    Operator,
    /// Rows, members, settings, and what can't be taken back.
    Admin,
}

/// A part of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    /// A coordinator.
    Coordinator,
    /// A replica agent.
    Agent,
    /// What reads and writes rows.
    Router,
}

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// People of this role and above it; none if it is not for people.
    pub role: Option<Role>,
    /// Parts of the system.
    pub machines: &'static [Machine],
    /// Each call is a line of the audit log, not only those that are refused.
    pub audited: bool,
    /// The caller sends a stream of messages, not one.
    pub streams: bool,
}

/// What anybody with a certificate may ask of a server: how it is, and what it offers.
fn foreign(service: &str) -> Access {
    Access {
        role: Some(Role::Viewer),
        machines: &[Machine::Coordinator, Machine::Agent, Machine::Router],
        audited: false,
        streams: service != FOREIGN_SERVICES[0],
    }
}

/// Services of others that servers of ours offer: whether one is well, and what it serves.
pub const FOREIGN_SERVICES: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The service in a call's path, `/package.Service/Method`; empty if there is none.
pub fn service(path: &str) -> &str {
    path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service)
}

/// Who may call the method at this path, `/package.Service/Method`; nobody if it isn't known.
pub fn access(path: &str) -> Option<Access> {
    let service = service(path);
    if FOREIGN_SERVICES.contains(&service) {
        return Some(foreign(service));
    }
    include!(concat!(env!("OUT_DIR"), "/access.rs"))
}
