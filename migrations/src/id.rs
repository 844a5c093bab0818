//! Every kind of id is a type of its own. Nothing is minted here: numbers come from `apply`,
//! UUIDs from whoever proposes or asks, and travel in the command.
//!
//! Ids of different kinds can't be mixed up (scenario E4): this does not compile.
//!
//! ```compile_fail
//! # use palisade_migrations::id::{MigrationId, SessionId};
//! # fn close(session: SessionId) {}
//! fn end(migration: MigrationId) {
//!     close(migration);
//! }
//! ```
//!
//! ```compile_fail
//! # use palisade_migrations::id::{NodeId, TabletId};
//! fn is_same(node: NodeId, tablet: TabletId) -> bool {
//!     node == tablet
//! }
//! ```

use core::fmt;
use uuid::Uuid;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// The high 32 bits are the era it was made in, so that a restore never makes it again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The id with this value, as read from a message or file; 0 is not an id, because it
            /// is what a forgotten field decodes to.
            pub const fn from_u64(value: u64) -> Option<$name> {
                if value == 0 { None } else { Some($name(value)) }
            }

            /// The id as it is written into messages and files.
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// For `apply` alone: the `number`th id made in `era`.
            pub(crate) const fn mint(era: u32, number: u32) -> $name {
                $name(((era as u64) << 32) | number as u64)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match (self.0 >> 32, self.0 & 0xffff_ffff) {
                    (0, number) => write!(f, "{number}"),
                    (era, number) => write!(f, "{era}.{number}"),
                }
            }
        }

        impl core::str::FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<$name, NotAnId> {
                let (era, number) = text.split_once('.').unwrap_or(("0", text));
                let era: u32 = era.parse().map_err(|_| NotAnId)?;
                let number: u32 = number.parse().map_err(|_| NotAnId)?;
                $name::from_u64(((era as u64) << 32) | number as u64).ok_or(NotAnId)
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id in this UUID. The nil UUID is what a forgotten field decodes to, so it is
            /// never an id.
            pub const fn from_uuid(uuid: Uuid) -> Option<$name> {
                if uuid.is_nil() { None } else { Some($name(uuid)) }
            }

            /// The UUID as it is written into messages and files.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

/// A text that should have named an id and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected NUMBER or ERA.NUMBER")]
pub struct NotAnId;

number_id! {
    /// Names a table.
    TableId
}
number_id! {
    /// Names a tablet: one range of one table's positions. Shown to people as `TABLE/NUMBER`.
    TabletId
}
number_id! {
    /// Names a node. People use the operator's name, which is bound to it at the first attach.
    NodeId
}
uuid_id! {
    /// Names one attempt at the work of one transition of one tablet.
    SessionId
}
uuid_id! {
    /// Names one migration (any kind of transition) from its start into the history.
    MigrationId
}
uuid_id! {
    /// Names one change asked for from outside: a UUIDv7 made by the caller.
    RequestId
}
uuid_id! {
    /// Names a cluster; made at bootstrap and at each restore.
    ClusterId
}
uuid_id! {
    /// Names a data directory of an agent; drawn when the directory is made.
    DirectoryId
}
uuid_id! {
    /// Drawn by a process before it asks for admission, durable in its directory before it asks.
    AdmissionToken
}
uuid_id! {
    /// Names a router; drawn anew at each start. Breaks ties between equal times.
    RouterId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nil_and_zero_are_not_ids() {
        assert_eq!(SessionId::from_uuid(Uuid::nil()), None);
        assert_eq!(TabletId::from_u64(0), None);
    }

    #[test]
    fn numbers_show_their_era_only_after_a_restore() {
        let first = TabletId::mint(0, 17);
        let later = TabletId::mint(1_790_000_000, 17);
        assert_eq!(std::format!("{first} {later}"), "17 1790000000.17");
        assert_eq!("17".parse(), Ok(first));
        assert_eq!("1790000000.17".parse(), Ok(later));
        assert_eq!("x".parse::<TabletId>(), Err(NotAnId));
        assert_eq!("0".parse::<TabletId>(), Err(NotAnId));
    }
}
