//! Palisade's client library: the admin client, which finds the leader and knows what became of a
//! change, and the router, which reads and writes rows through majorities of replicas.
//!
//! # Changes
//!
//! Each change has a request id: the caller's, or one that is made for it. Under that id it is tried
//! until it is known what became of it, at whichever coordinator leads, within one deadline for all
//! tries ([`AdminOptions::deadline`]). It takes effect once, however many tries arrive.
//!
//! | what comes back | what it means |
//! |---|---|
//! | `Ok` | it took effect, by this try or an earlier one under this id |
//! | [`ClientError::Refused`] | the cluster has refused it ([`Refusal`]: reason, message, particulars). Another try under this id is told the same |
//! | [`ClientError::Unreachable`], [`ClientError::DeadlineExceeded`] | surely nothing was done |
//! | [`ClientError::OutcomeUnknown`] | nobody with a quorum has said so in time. Make the same request again, under the id that it names |
//!
//! After a try whose outcome is not known its connection is dropped: a late answer could come on it.
//! One that nobody has used for a while is asked for a sign of life before a change goes over it.
//!
//! # Rows
//!
//! A [`Router`] watches the topology, over breaks and leaders, and writes and reads rows through
//! majorities of each tablet's replicas: see [`router`].
//!
//! # Example
//!
//! `cargo run -p palisade-client --example move_a_tablet -- HOST:PORT`, against a cluster such as
//! `palisade dev` starts (its ports ask for certificates: [`AdminClient::connect_as`]):
//!
//! ```no_run
//! use palisade_client::{AdminClient, Router, RouterOptions, api};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let admin = AdminClient::connect(vec!["127.0.0.1:7400".to_owned()]);
//! let table = api::CreateTableRequest {
//!     name: "orders".to_owned(),
//!     replication_factor: 3,
//!     tablets: 8,
//!     ..Default::default()
//! };
//! admin.create_table(table).await?;
//! let router = Router::connect(admin, RouterOptions::default());
//! router.put("orders", b"key", b"value").await?;
//! # Ok(())
//! # }
//! ```
//!
//! What is decided is decided in `migrations`: the next try of a change, the next step of an
//! operation. This crate keeps connections and waits.

mod admin;
mod backoff;
mod channel;
mod error;
mod introduce;
mod leader;
mod limits;
mod reasons;
pub mod router;
mod wait;
mod watch;

pub use admin::AdminClient;
pub use error::{ClientError, DataError};
pub use introduce::{Introduced, introduce};
pub use leader::{AdminOptions, new_request_id};
pub use router::{Retries, Router, RouterOptions, ScanPage, ScanRow, Value};
pub use wait::{MigrationWatch, WaitFor};

/// The messages of the admin API, of which requests are made.
pub use proto::admin::v1 as api;
pub use proto::reasons::Reason;
pub use proto::status::Refusal;
pub use tls::{Tls, TlsArgs, TlsError, Validity};
