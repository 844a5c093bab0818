//! The rows that a demonstration begins with: from a file, or made from a seed.

use crate::workload::Random;
use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of a value that is made.
const VALUE_BYTES: usize = 256;
/// The longest key of a table.
const KEY_BYTES: usize = 4 << 10;
/// The largest value of a table.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// So many rows; always the same from the same seed.
pub(super) fn made(seed: u64, rows: u64) -> Vec<(String, Vec<u8>)> {
    let row = |number: u64| {
        let mut random = Random::new(seed, number);
        let mut value = format!("loaded-{number}-").into_bytes();
        value.resize_with(VALUE_BYTES, || b'a' + random.below(26) as u8);
        (format!("row-{number:08}"), value)
    };
    (0..rows).map(row).collect()
}

/// The rows of a file: CSV with a head line, or one JSON object a line. The key is in the column
/// `key`, or else in the first one; the value is the whole line. Of rows with one key the last
/// counts.
pub(super) fn from_file(path: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("can't read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let is_json = text.trim_start().starts_with('{');
    let rows = if is_json { json_lines(text)? } else { csv(text)? };
    let mut last = BTreeMap::new();
    for (number, key, value) in rows {
        match key.len() {
            0 => bail!("line {number} has no key"),
            len if len > KEY_BYTES => bail!("line {number}: the key is longer than 4 KiB"),
            _ if value.len() > VALUE_BYTES_MAX => bail!("line {number} is larger than 1 MiB"),
            _ => drop(last.insert(key, value.into_bytes())),
        }
    }
    if last.is_empty() {
        bail!("it holds no rows");
    }
    Ok(last.into_iter().collect())
}

/// The number of its line, its key, its value.
type Row = (usize, String, String);

fn json_lines(text: &str) -> anyhow::Result<Vec<Row>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(index, line): (usize, &str)| {
        let number = index + 1;
        let at = || format!("line {number}");
        let fields: Map<String, Value> = serde_json::from_str(line).with_context(at)?;
        // The order of fields is that of the text, which a map does not keep.
        let behind = line.trim_start().strip_prefix('{').unwrap_or_default();
        let mut names = serde_json::Deserializer::from_str(behind).into_iter::<String>();
        let first = names.next().and_then(Result::ok).unwrap_or_default();
        let key = match fields.get("key").or_else(|| fields.get(&first)) {
            Some(Value::String(key)) => key.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        Ok((number, key, line.to_owned()))
    };
    lines.map(row).collect()
}

fn csv(text: &str) -> anyhow::Result<Vec<Row>> {
    let mut records = Records { text, line: 1 };
    let Some((_, head, _)) = records.next().transpose()? else { return Ok(Vec::new()) };
    let column = head.iter().position(|name| name == "key").unwrap_or(0);
    let mut rows = Vec::new();
    for record in records {
        let (line, fields, record) = record?;
        rows.push((line, fields.get(column).cloned().unwrap_or_default(), record));
    }
    Ok(rows)
}

/// The records of a CSV file (RFC 4180): fields may be quoted, and then hold commas, line breaks
/// and doubled quotes.
struct Records<'a> {
    text: &'a str,
    line: usize,
}

impl Iterator for Records<'_> {
    type Item = anyhow::Result<(usize, Vec<String>, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) =
            self.text.strip_prefix('\n').or_else(|| self.text.strip_prefix("\r\n"))
        {
            self.text = rest;
            self.line += 1;
        }
        if self.text.is_empty() {
            return None;
        }
        let (line, begun) = (self.line, self.text);
        let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut characters = begun.char_indices().peekable();
        let mut end = begun.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' if quoted && characters.next_if(|(_, next)| *next == '"').is_some() => {
                    field.push('"');
                }
                '"' if quoted => quoted = false,
                '"' if field.is_empty() => quoted = true,
                ',' if !quoted => fields.push(std::mem::take(&mut field)),
                '\n' if !quoted => {
                    end = at;
                    break;
                }
                character => field.push(character),
            }
        }
        if quoted {
            self.text = "";
            return Some(Err(anyhow::anyhow!("line {line}: a quote is not closed")));
        }
        fields.push(field.trim_end_matches('\r').to_owned());
        let record = begun[..end].trim_end_matches('\r').to_owned();
        self.line += record.matches('\n').count();
        self.text = &begun[end..];
        Some(Ok((line, fields, record)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        parse(text).expect("rows").into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_seed_makes_the_same_rows_each_time() {
        assert_eq!(made(7, 3), made(7, 3));
        assert_ne!(made(7, 3), made(8, 3));
        assert_eq!(made(7, 3)[2].1.len(), VALUE_BYTES);
    }

    #[test]
    fn csv_has_its_key_in_the_first_column_or_in_key() {
        assert_eq!(keys("id,name\n1,a\n2,b\n"), ["1", "2"]);
        assert_eq!(keys("name,key\r\na,x\r\nb,y"), ["x", "y"]);
        assert_eq!(
            keys("id,text\n\"a \"\"b\"\", c\",1\n\n\"two\nlines\",2\n"),
            ["a \"b\", c", "two\nlines"]
        );
        let rows = parse("id,n\n1,a\n1,b\n").expect("rows");
        assert_eq!(rows, [("1".to_owned(), b"1,b".to_vec())], "the last of a key counts");
    }

    #[test]
    fn json_lines_have_their_key_in_the_first_field_or_in_key() {
        assert_eq!(keys("{\"z\":\"1\",\"a\":2}\n\n{\"z\":3}\n"), ["1", "3"]);
        assert_eq!(keys("{\"z\":\"1\",\"key\":\"k\"}"), ["k"]);
    }

    #[test]
    fn what_holds_no_rows_is_refused_with_its_line() {
        for (text, said) in [
            ("", "no rows"),
            ("id\n", "no rows"),
            ("id,n\n,1\n", "line 2"),
            ("id\n\"a\n", "line 2"),
            ("{\"a\":1}\n{\n", "line 2"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(format!("{error:#}").contains(said), "{text:?}: {error:#}");
        }
    }
}
