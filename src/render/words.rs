//! Numbers, names and times as people read them.

use proto::types::v1::{PositionRange, Stage, TopologyVersion};

/// A stage by the protocol's name.
pub(crate) fn stage(stage: Stage) -> String {
    enum_name(stage.as_str_name(), "STAGE_")
}

/// The name of a value of an enum, without what all of its values begin with.
pub(super) fn enum_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// The beginning of an id: enough to name it by, among few.
pub(crate) fn short_id(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// A span of time.
pub(super) fn millis(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.1} s", millis as f64 / 1e3),
        60_000..3_600_000 => format!("{} m {} s", millis / 60_000, millis / 1_000 % 60),
        _ => format!("{} h {} m", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// An amount of data.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while amount >= 1_024.0 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    format!("{amount:.2} {}", UNITS[unit])
}

/// A part of an amount of data.
pub(super) fn bytes_of(part: u64, whole: u64) -> String {
    let (part, whole) = (bytes(part), bytes(whole));
    match (part.split_once(' '), whole.split_once(' ')) {
        // One unit says it for both.
        (Some((amount, unit)), Some((_, same))) if unit == same => format!("{amount} / {whole}"),
        _ => format!("{part} / {whole}"),
    }
}

/// A version; the era only after a restore.
pub(super) fn version(version: Option<TopologyVersion>) -> String {
    match version {
        None => "-".to_owned(),
        Some(TopologyVersion { era: 0, counter }) => counter.to_string(),
        Some(TopologyVersion { era, counter }) => format!("{era}.{counter}"),
    }
}

/// A range of positions, in hexadecimal, as far as one reads it.
pub(super) fn range(range: Option<&PositionRange>) -> String {
    let hex = |bytes: &[u8]| -> String {
        let digits: String = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        if bytes.len() > 8 { format!("{digits}…") } else { digits }
    };
    let Some(range) = range else { return "-".to_owned() };
    let end = range.end.as_ref().map_or_else(|| "∞".to_owned(), |end| hex(end));
    let start = if range.start.is_empty() { "0".to_owned() } else { hex(&range.start) };
    format!("{start}..{end}")
}

/// `-` for nothing.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A time in milliseconds since 1970 as people write it, in UTC.
pub(crate) fn utc(millis: u64) -> String {
    let seconds = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(millis % 1000).unwrap_or_default() * 1_000_000;
    prost_types::Timestamp { seconds, nanos }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!((bytes(0), bytes(1_023)), ("0 B".to_owned(), "1023 B".to_owned()));
        assert_eq!(bytes(1_536), "1.50 KiB");
        assert_eq!(bytes(2 << 30), "2.00 GiB");
        assert_eq!(bytes_of(1_536, 3_072), "1.50 / 3.00 KiB");
        assert_eq!(bytes_of(512, 3_072), "512 B / 3.00 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.00 TiB");
        assert_eq!((millis(8), millis(4_000)), ("8 ms".to_owned(), "4.0 s".to_owned()));
        assert_eq!((millis(61_000), millis(3_660_000)), ("1 m 1 s".into(), "1 h 1 m".into()));
    }

    #[test]
    fn a_time_is_written_in_utc() {
        assert_eq!(utc(1_795_240_619_295), "2026-11-21T05:56:59.295Z");
    }

    #[test]
    fn a_stage_has_the_protocols_name() {
        assert_eq!(stage(Stage::WriteBothReadOldFallback), "write_both_read_old_fallback");
    }
}
