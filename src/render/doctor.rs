//! What the doctor has found.

use super::Paint;
use crate::doctor::{Check, Verdict};
use serde_json::{Value, json};

/// How many checks came out so.
fn count(checks: &[Check], verdict: Verdict) -> usize {
    checks.iter().filter(|check| check.finding.verdict == verdict).count()
}

/// A line a check; below what is not well, its remedy.
pub(crate) fn findings(checks: &[Check], paint: Paint) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Check { name, finding } in checks {
        let sign = match finding.verdict {
            Verdict::Ok => paint.good("ok     "),
            Verdict::Warn => paint.warn("warn   "),
            Verdict::Unknown => paint.warn("unknown"),
            Verdict::Fail => paint.bad("FAIL   "),
        };
        text.push_str(&format!("{sign}  {name:width$}  {}\n", finding.seen));
        if !finding.remedy.is_empty() {
            let next = paint.bold("next:");
            text.push_str(&format!("{:9}{:width$}  {next}  {}\n", "", "", finding.remedy));
        }
    }
    let [failed, warned, unknown, ok] =
        [Verdict::Fail, Verdict::Warn, Verdict::Unknown, Verdict::Ok]
            .map(|verdict| count(checks, verdict));
    text.push_str(&format!("\n{failed} failed, {warned} warn, {unknown} unknown, {ok} ok\n"));
    text
}

/// The same for programs.
pub(crate) fn findings_value(checks: &[Check], now_ms: u64) -> Value {
    let shown = checks.iter().map(|Check { name, finding }| {
        json!({
            "name": name,
            "verdict": finding.verdict.name(),
            "seen": finding.seen,
            "remedy": finding.remedy,
        })
    });
    json!({
        "atMs": now_ms.to_string(),
        "failed": count(checks, Verdict::Fail),
        "warned": count(checks, Verdict::Warn),
        "unknown": count(checks, Verdict::Unknown),
        "checks": shown.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

    fn found() -> Vec<Check> {
        let finding = |verdict, seen: &str, remedy: &str| Finding {
            verdict,
            seen: seen.to_owned(),
            remedy: remedy.to_owned(),
        };
        vec![
            Check { name: "leader", finding: finding(Verdict::Ok, "c1 leads", "") },
            Check { name: "nodes", finding: finding(Verdict::Fail, "n2 is fenced", "look") },
        ]
    }

    #[test]
    fn each_check_has_a_line_and_what_is_wrong_a_remedy() {
        let expected = "\
ok       leader  c1 leads
FAIL     nodes   n2 is fenced
                 next:  look

1 failed, 0 warn, 0 unknown, 1 ok
";
        assert_eq!(findings(&found(), Paint::PLAIN), expected);
    }

    #[test]
    fn programs_read_the_same() {
        let value = findings_value(&found(), 7);
        assert_eq!(value["failed"], 1);
        assert_eq!(value["checks"][1]["verdict"], "fail");
        assert_eq!(value["checks"][1]["remedy"], "look");
        assert_eq!(value["atMs"], "7");
    }
}
