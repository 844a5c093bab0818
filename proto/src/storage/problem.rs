//! What can be wrong with a field, by number: builds may word it differently.

use super::DecodeError;
use super::field::named;
use crate::generated::storage::v1 as pb;
use migrations::problem::{Field, Problem};

/// A field as it is written.
pub(super) fn field_number(field: Field) -> i32 {
    let field = match field {
        Field::Name => pb::Field::Name,
        Field::Tablets => pb::Field::Tablets,
        Field::ReplicationFactor => pb::Field::ReplicationFactor,
        Field::Kind => pb::Field::Kind,
        Field::From => pb::Field::From,
        Field::To => pb::Field::To,
        Field::Session => pb::Field::Session,
        Field::Migration => pb::Field::Migration,
        Field::Settings => pb::Field::Settings,
        Field::Reason => pb::Field::Reason,
        Field::Note => pb::Field::Note,
        Field::UntilMs => pb::Field::UntilMs,
    };
    field.into()
}

/// A field, from a snapshot.
pub(super) fn field(wire: i32) -> Result<Field, DecodeError> {
    named("invalid_field.field", "field", wire, |wire| match pb::Field::try_from(wire).ok()? {
        pb::Field::Unspecified => None,
        pb::Field::Name => Some(Field::Name),
        pb::Field::Tablets => Some(Field::Tablets),
        pb::Field::ReplicationFactor => Some(Field::ReplicationFactor),
        pb::Field::Kind => Some(Field::Kind),
        pb::Field::From => Some(Field::From),
        pb::Field::To => Some(Field::To),
        pb::Field::Session => Some(Field::Session),
        pb::Field::Migration => Some(Field::Migration),
        pb::Field::Settings => Some(Field::Settings),
        pb::Field::Reason => Some(Field::Reason),
        pb::Field::Note => Some(Field::Note),
        pb::Field::UntilMs => Some(Field::UntilMs),
    })
}

/// A problem as it is written.
pub(super) fn problem_number(problem: Problem) -> i32 {
    let problem = match problem {
        Problem::Missing => pb::Problem::Missing,
        Problem::DoesNotFitKind => pb::Problem::DoesNotFitKind,
        Problem::InUse => pb::Problem::InUse,
        Problem::TooLong => pb::Problem::TooLong,
        Problem::NotAName => pb::Problem::NotAName,
        Problem::TabletCount => pb::Problem::TabletCount,
        Problem::Ranges => pb::Problem::Ranges,
        Problem::Zero => pb::Problem::Zero,
        Problem::DropOfTablet => pb::Problem::DropOfTablet,
        Problem::NotAhead => pb::Problem::NotAhead,
        Problem::LeaseOrDrift => pb::Problem::LeaseOrDrift,
        Problem::StallBound => pb::Problem::StallBound,
        Problem::DrainDeadline => pb::Problem::DrainDeadline,
        Problem::NoAttemptsOrStreams => pb::Problem::NoAttemptsOrStreams,
        Problem::Backoff => pb::Problem::Backoff,
        Problem::NotAMove => pb::Problem::NotAMove,
        Problem::LeaseShorter => pb::Problem::LeaseShorter,
    };
    problem.into()
}

/// A problem, from a snapshot.
pub(super) fn problem(wire: i32) -> Result<Problem, DecodeError> {
    named("invalid_field.problem", "problem of a field", wire, |wire| match pb::Problem::try_from(
        wire,
    )
    .ok()?
    {
        pb::Problem::Unspecified => None,
        pb::Problem::Missing => Some(Problem::Missing),
        pb::Problem::DoesNotFitKind => Some(Problem::DoesNotFitKind),
        pb::Problem::InUse => Some(Problem::InUse),
        pb::Problem::TooLong => Some(Problem::TooLong),
        pb::Problem::NotAName => Some(Problem::NotAName),
        pb::Problem::TabletCount => Some(Problem::TabletCount),
        pb::Problem::Ranges => Some(Problem::Ranges),
        pb::Problem::Zero => Some(Problem::Zero),
        pb::Problem::DropOfTablet => Some(Problem::DropOfTablet),
        pb::Problem::NotAhead => Some(Problem::NotAhead),
        pb::Problem::LeaseOrDrift => Some(Problem::LeaseOrDrift),
        pb::Problem::StallBound => Some(Problem::StallBound),
        pb::Problem::DrainDeadline => Some(Problem::DrainDeadline),
        pb::Problem::NoAttemptsOrStreams => Some(Problem::NoAttemptsOrStreams),
        pb::Problem::Backoff => Some(Problem::Backoff),
        pb::Problem::NotAMove => Some(Problem::NotAMove),
        pb::Problem::LeaseShorter => Some(Problem::LeaseShorter),
    })
}
