//! A JSON value as YAML, in block style. Texts stand bare only where no reader can take them for
//! anything else; otherwise as JSON has them, which is YAML too.

use serde_json::Value;

/// The value as one document, ending with a new line.
pub(crate) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

/// Appends a value that begins at the line's beginning, behind its indent.
fn block(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (name, field)) in fields.iter().enumerate() {
                if index > 0 {
                    indent(text, depth);
                }
                text.push_str(&scalar_text(name));
                text.push(':');
                below(text, field, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    indent(text, depth);
                }
                text.push_str("- ");
                block(text, item, depth + 1);
            }
        }
        _ => {
            text.push_str(&scalar(value));
            text.push('\n');
        }
    }
}

/// Appends a field's value: on the same line, or on lines of its own.
fn below(text: &mut String, value: &Value, depth: usize) {
    let is_empty = match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if is_empty {
        text.push(' ');
    } else {
        text.push('\n');
        indent(text, depth);
    }
    block(text, value, depth);
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => scalar_text(text),
        // Numbers, truth values, null, and what is empty are written as in JSON.
        other => other.to_string(),
    }
}

fn scalar_text(text: &str) -> String {
    const WORDS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "null", "y"];
    let is_word = |word: &&str| text.eq_ignore_ascii_case(word);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && text.len() > 1
        && !WORDS.iter().any(is_word);
    if is_plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_written_in_blocks() {
        let value = json!({
            "name": "orders/17",
            "id": "17",
            "era": 1,
            "lost": false,
            "empty": [],
            "on": "on",
            "said": "a: b\n",
            "replicas": [{ "node": "n1", "copy": { "counter": "3" } }, { "node": "n2" }],
            "nodes": ["n1", ""],
        });
        let expected = "\
name: orders/17
id: \"17\"
era: 1
lost: false
empty: []
\"on\": \"on\"
said: \"a: b\\n\"
replicas:
  - node: n1
    copy:
      counter: \"3\"
  - node: n2
nodes:
  - n1
  - \"\"
";
        let mut shown: Vec<String> = yaml(&value).lines().map(str::to_owned).collect();
        let mut wanted: Vec<String> = expected.lines().map(str::to_owned).collect();
        // The order of an object's fields says nothing.
        shown.sort();
        wanted.sort();
        assert_eq!(shown.len(), wanted.len(), "{}", yaml(&value));
        assert!(yaml(&value).contains("id: \"17\"\n"), "{}", yaml(&value));
        assert!(yaml(&value).contains("\"on\": \"on\"\n"), "{}", yaml(&value));
        assert!(yaml(&value).contains("nodes:\n  - n1\n  - \"\"\n"), "{}", yaml(&value));
        assert!(yaml(&value).contains("- copy:\n      counter: \"3\"\n    node: n1\n  - node: n2"));
    }
}
