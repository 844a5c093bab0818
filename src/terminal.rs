//! The terminal: whether there is one, whether it is coloured, and a block of lines on it that is
//! drawn again and again in the same place.

use crate::args::Color;
use crate::render::{Paint, cut};
use std::io::{IsTerminal, Write};

/// Whether what goes to a stream is coloured.
pub(crate) fn paint(color: Color, stream: &impl IsTerminal) -> Paint {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Paint(match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => stream.is_terminal() && !forbidden && !is_dumb(),
    })
}

/// Whether standard output can be drawn on.
pub(crate) fn is_live() -> bool {
    std::io::stdout().is_terminal() && !is_dumb()
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => (80, 24),
    }
}

/// A block of lines that is drawn over itself.
#[derive(Debug, Default)]
pub(crate) struct Block {
    drawn: usize,
}

impl Block {
    /// Draws the lines over those that were drawn before; what does not fit is cut.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        let text = self.frame(lines, size());
        let mut out = std::io::stdout().lock();
        // A terminal that has gone away ends the program by its own signal.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn frame(&mut self, lines: &[String], (columns, rows): (usize, usize)) -> String {
        let mut text = match self.drawn {
            0 => String::new(),
            drawn => format!("\u{1b}[{drawn}A\r\u{1b}[J"),
        };
        let fitting = lines.len().min(rows.saturating_sub(1));
        for line in &lines[..fitting] {
            text.push_str(&cut(line, columns));
            text.push('\n');
        }
        self.drawn = fitting;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_drawn_over_itself_and_stays_on_the_screen() {
        let mut block = Block::default();
        let lines = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_eq!(block.frame(&lines(&["one", "two"]), (80, 24)), "one\ntwo\n");
        assert_eq!(block.frame(&lines(&["three"]), (2, 24)), "\u{1b}[2A\r\u{1b}[Jth\n");
        assert_eq!(block.frame(&lines(&["a", "b", "c"]), (80, 3)), "\u{1b}[1A\r\u{1b}[Ja\nb\n");
    }
}
