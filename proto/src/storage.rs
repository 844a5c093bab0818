//! What group0 writes: entries of its log and snapshots, as versioned protobuf.

use crate::generated::storage::v1 as _pb;
