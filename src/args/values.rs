//! What stands on a command line: tablets, spans of time, stages.

use client::WaitFor;
use migrations::id::TabletId;
use proto::types::v1::Stage;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A tablet as people name it: `orders/17`, or `17` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TabletName {
    /// The table, if it was said; it has to be the tablet's.
    pub(crate) table: Option<String>,
    /// The number.
    pub(crate) id: TabletId,
}

/// A span of time: `500ms`, `30s`, `5m`, `1h`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span(pub(crate) Duration);

/// For what to wait: `end`, or a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitStage(pub(crate) WaitFor);

impl FromStr for TabletName {
    type Err = String;
    fn from_str(text: &str) -> Result<TabletName, String> {
        let (table, number) = match text.rsplit_once('/') {
            Some((table, number)) if !table.is_empty() => (Some(table.to_owned()), number),
            Some(_) => return Err("expected TABLE/NUMBER or NUMBER".to_owned()),
            None => (None, text),
        };
        let id = number.parse().map_err(|_| "expected TABLE/NUMBER or NUMBER".to_owned())?;
        Ok(TabletName { table, id })
    }
}

impl fmt::Display for TabletName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some(table) => write!(f, "{table}/{}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (amount, unit) = text.split_at(digits);
        let expected = || "expected a number with ms, s, m or h, such as 30s".to_owned();
        let amount: u64 = amount.parse().map_err(|_| expected())?;
        let millis = match unit {
            "ms" => Some(amount),
            "" | "s" => amount.checked_mul(1_000),
            "m" => amount.checked_mul(60_000),
            "h" => amount.checked_mul(3_600_000),
            _ => return Err(expected()),
        };
        Ok(Span(Duration::from_millis(millis.ok_or_else(expected)?)))
    }
}

impl FromStr for WaitStage {
    type Err = String;
    fn from_str(text: &str) -> Result<WaitStage, String> {
        if text == "end" {
            return Ok(WaitStage(WaitFor::End));
        }
        let name = format!("STAGE_{}", text.to_uppercase().replace('-', "_"));
        match Stage::from_str_name(&name) {
            Some(stage) if stage != Stage::Unspecified => Ok(WaitStage(WaitFor::Stage(stage))),
            _ => Err("expected \"end\" or a stage, such as streaming or use_new".to_owned()),
        }
    }
}

impl fmt::Display for WaitStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            WaitFor::End => f.write_str("end"),
            WaitFor::Stage(stage) => f.write_str(&crate::render::stage(stage)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tablets_are_named_with_or_without_their_table() {
        let name: TabletName = "orders/17".parse().expect("a tablet");
        assert_eq!(name.table.as_deref(), Some("orders"));
        assert_eq!(name.id.as_u64(), 17);
        assert_eq!("17".parse::<TabletName>().map(|name| name.table), Ok(None));
        for wrong in ["", "orders", "orders/", "/17", "orders/0", "orders/x"] {
            assert!(wrong.parse::<TabletName>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn spans_have_units() {
        let millis = |text: &str| text.parse::<Span>().map(|span| span.0.as_millis());
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("30"), Ok(30_000));
        assert_eq!(millis("5m"), Ok(300_000));
        for wrong in ["", "s", "5d", "-1s", "99999999999999999999h"] {
            assert!(millis(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn stages_have_the_protocols_names() {
        let reached: WaitStage = "write_both_read_new".parse().expect("a stage");
        assert_eq!(reached.0, WaitFor::Stage(Stage::WriteBothReadNew));
        assert_eq!(reached.to_string(), "write_both_read_new");
        assert!("unspecified".parse::<WaitStage>().is_err());
        assert!("soon".parse::<WaitStage>().is_err());
    }
}
