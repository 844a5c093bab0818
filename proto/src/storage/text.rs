//! Texts that the core takes from its own code, read back from a snapshot.
//!
//! A refusal names a field and a problem as `&'static str`, and a snapshot must give back what it
//! was made of, word for word, also where an older build worded it otherwise: else one
//! coordinator's state would differ from its peers'. So the texts are kept for the process's life,
//! each once, up to a bound.

use crate::Malformed;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Most texts that are kept. There are some dozens in a build.
const TEXTS_MAX: usize = 1_024;

/// Longest text, in bytes.
const TEXT_MAX: usize = 256;

static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The same text, for good. Refused where it is too long or there are too many.
pub(super) fn kept(field: &'static str, text: &str) -> Result<&'static str, Malformed> {
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return Ok(known);
    }
    if text.len() > TEXT_MAX || texts.len() >= TEXTS_MAX {
        return Err(Malformed::Field { field, problem: "no text of any build" });
    }
    let text: &'static str = Box::leak(Box::from(text));
    texts.insert(text);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_a_long_one_not_at_all() {
        let first = kept("problem", "is missing").expect("short");
        let second = kept("problem", &String::from("is missing")).expect("short");
        assert!(std::ptr::eq(first, second));
        assert!(kept("problem", &"x".repeat(TEXT_MAX + 1)).is_err());
    }
}
