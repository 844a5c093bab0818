//! What a cluster of a test consists of.

/// What a cluster consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// 1, 3 or 5.
    pub(crate) coordinators: u8,
    /// Each in a rack of its own.
    pub(crate) agents: u8,
    /// Leases and deadlines: `fast`, or `standard` where nobody is to be fenced while a test
    /// holds something.
    pub(crate) profile: &'static str,
    /// Processes reach one another through proxies.
    pub(crate) has_proxies: bool,
    /// Tablets move without being told to.
    pub(crate) balances: bool,
    /// More flags for every coordinator.
    pub(crate) coordinator_flags: &'static [&'static str],
    /// Every port is for those who show a certificate.
    pub(crate) has_tls: bool,
    /// More flags for every server.
    pub(crate) flags: &'static [&'static str],
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            coordinators: 1,
            agents: 4,
            profile: "fast",
            has_proxies: false,
            balances: false,
            coordinator_flags: &[],
            has_tls: false,
            flags: &[],
        }
    }
}
