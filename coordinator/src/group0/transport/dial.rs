//! How connections to other coordinators are made: over TCP. In a simulation, over its network.

use tonic::transport::{Channel, Endpoint, Error};

/// A connection that is made when it is first used.
pub(super) fn lazy(endpoint: &Endpoint) -> Channel {
    #[cfg(test)]
    if turmoil::in_simulation() {
        return endpoint.connect_with_connector_lazy(super::super::simulated::connector());
    }
    endpoint.connect_lazy()
}

/// A connection.
///
/// # Errors
///
/// It can't be made.
pub(super) async fn connected(endpoint: &Endpoint) -> Result<Channel, Error> {
    #[cfg(test)]
    if turmoil::in_simulation() {
        return endpoint.connect_with_connector(super::super::simulated::connector()).await;
    }
    endpoint.connect().await
}
