//! What the build makes of the protos. The one file where lints are off.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

macro_rules! package {
    ($name:ident, $package:literal) => {
        pub mod $name {
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(admin, "palisade.admin.v1");
package!(agent, "palisade.agent.v1");
package!(data, "palisade.data.v1");
package!(faults, "palisade.faults.v1");
package!(raft, "palisade.raft.v1");
package!(storage, "palisade.storage.v1");
package!(stream, "palisade.stream.v1");
package!(types, "palisade.types.v1");

/// All protos, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
