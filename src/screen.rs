//! Standard error, shared by the log and the live view.
//!
//! The live view is drawn over itself, several times a second. A log line in between takes the view away first, so that it
//! stays readable above the next drawing.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use console::Term;

/// Clears from the cursor to the end of its line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears from the cursor to the end of the screen.
const CLEAR_BELOW: &str = "\x1b[J";

/// Standard error, and how many lines of it the live view covers.
#[derive(Debug)]
pub struct Screen {
    term: Term,
    covered: Mutex<usize>,
}

impl Screen {
    /// Takes standard error.
    #[must_use]
    pub fn new() -> Arc<Screen> {
        Arc::new(Screen { term: Term::stderr(), covered: Mutex::new(0) })
    }

    /// Tells whether somebody watches who can see drawings.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.term.is_term() && !console::is_dumb()
    }

    /// Returns rows and columns.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let (rows, columns) = self.term.size();
        (usize::from(rows), usize::from(columns))
    }

    /// Draws lines over those of the last drawing; none of them may be wider than the screen.
    pub fn draw(&self, lines: &[String]) {
        let mut covered = self.lock();
        let _ = (&self.term).write_all(drawing(*covered, lines).as_bytes());
        *covered = lines.len();
    }

    /// Writes text in the place of the last drawing.
    ///
    /// # Errors
    /// Standard error cannot be written.
    pub fn print(&self, text: &[u8]) -> io::Result<()> {
        let mut covered = self.lock();
        if *covered > 0 {
            (&self.term).write_all(drawing(*covered, &[]).as_bytes())?;
            *covered = 0;
        }
        (&self.term).write_all(text)
    }

    /// Leaves the last drawing where it is: what comes goes below.
    pub fn leave(&self) {
        *self.lock() = 0;
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.covered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what to write to draw over `covered` lines, in one piece so that nothing flickers.
fn drawing(covered: usize, lines: &[String]) -> String {
    let mut out = String::new();
    if covered > 0 {
        let _ = write!(out, "\r\x1b[{covered}A");
    }
    for line in lines {
        let _ = writeln!(out, "{line}{CLEAR_LINE}");
    }
    out.push_str(CLEAR_BELOW);
    out
}

/// Writes log lines to a screen.
#[derive(Debug, Clone)]
pub struct LogWriter(pub Arc<Screen>);

impl Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.print(text).map(|()| text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_covers_the_one_before() {
        assert_eq!(drawing(0, &["a".into(), "b".into()]), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(drawing(2, &["c".into()]), "\r\x1b[2Ac\x1b[K\n\x1b[J");
    }
}
