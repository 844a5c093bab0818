//! A message that does not say what its form promises.

use crate::status::Refusal;

/// What is wrong with a message. Never holds what it held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field that has to be there is not.
    #[error("{field} is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field is not what it has to be.
    #[error("{field}: {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Malformed {
    /// The field that is wrong.
    pub const fn field(&self) -> &'static str {
        match self {
            Malformed::Missing { field } | Malformed::Field { field, .. } => field,
        }
    }
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> tonic::Status {
        Refusal::invalid_field(malformed.field(), malformed.to_string()).into()
    }
}
