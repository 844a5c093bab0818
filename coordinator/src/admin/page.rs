//! Pages of lists. A token is the last id of the page before, so that a page is right whatever
//! has come or gone in between.

use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use proto::status::Refusal;
use tonic::Status;

/// Which page is asked for.
#[derive(Debug, Clone)]
pub(super) struct PageRequest {
    size: usize,
    after: Option<String>,
}

impl PageRequest {
    pub(super) fn new(size: u32, token: String) -> PageRequest {
        let size = match size as usize {
            0 => PAGE_SIZE_DEFAULT,
            size => size.min(PAGE_SIZE_MAX),
        };
        PageRequest { size, after: Some(token).filter(|token| !token.is_empty()) }
    }

    /// The number that the page begins after.
    pub(super) fn after_number(&self) -> Result<u64, Status> {
        let Some(token) = &self.after else { return Ok(0) };
        let invalid = |_| Refusal::invalid_field("page_token", "is not one that was given out");
        Ok(token.parse().map_err(invalid)?)
    }

    /// The page of what comes, each with its number, and the token of the next one.
    pub(super) fn cut<T>(&self, rows: impl Iterator<Item = (u64, T)>) -> (Vec<T>, String) {
        let mut rows = rows.peekable();
        let mut page = Vec::new();
        let mut last = 0;
        while page.len() < self.size {
            let Some((number, row)) = rows.next() else { break };
            last = number;
            page.push(row);
        }
        let token = if rows.peek().is_some() { last.to_string() } else { String::new() };
        (page, token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_give_each_row_once() {
        let mut token = String::new();
        let mut seen = Vec::new();
        loop {
            let page = PageRequest::new(3, token);
            let after = page.after_number().expect("ours");
            let (rows, next) = page.cut((after + 1..=7).map(|n| (n, n)));
            seen.extend(rows);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
        assert!(PageRequest::new(0, "x".to_owned()).after_number().is_err());
    }
}
