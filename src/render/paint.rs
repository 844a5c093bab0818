//! Colours, or none.

/// Whether texts are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// No colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Paint = Paint(false);

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// What is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What is not.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// What needs a look.
    pub(crate) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// What stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What is still to come.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// A line cut to a number of columns; escapes take none. What is cut ends without colour.
pub(crate) fn cut(line: &str, columns: usize) -> String {
    let mut text = String::new();
    let mut seen = 0;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            text.push(character);
            for part in characters.by_ref() {
                text.push(part);
                if part.is_ascii_alphabetic() {
                    break;
                }
            }
            continue;
        }
        if seen == columns {
            if text.contains('\u{1b}') {
                text.push_str("\u{1b}[0m");
            }
            return text;
        }
        text.push(character);
        seen += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_can_be_left_out() {
        assert_eq!(Paint(true).good("up"), "\u{1b}[32mup\u{1b}[0m");
        assert_eq!(Paint::PLAIN.good("up"), "up");
    }

    #[test]
    fn a_line_is_cut_by_what_is_seen_of_it() {
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("→→→→", 2), "→→");
        let red = Paint(true).bad("abcdef");
        assert_eq!(cut(&red, 3), "\u{1b}[31mabc\u{1b}[0m");
        assert_eq!(cut(&red, 6), red);
    }
}
