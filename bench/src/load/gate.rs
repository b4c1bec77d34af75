//! The two moments at which a load stops and lets somebody look: before and after the window.
//!
//! Between them everything that counts happens; outside nothing is under way. Called by the plans;
//! `compare` holds the other end.

use std::io::{BufRead, Write};

use super::fault::Fault;
use super::report::Report;

/// Who looks.
pub trait Gate {
    /// All is open and quiet; returns when the window may begin.
    fn ready(&mut self) -> Result<(), Fault>;
    /// The window is over and all is quiet; returns when the tunnels may be closed.
    fn done(&mut self, report: &Report) -> Result<(), Fault>;
}

/// Nobody looks: a load started by hand, or by a test.
pub struct OpenGate;

impl Gate for OpenGate {
    fn ready(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn done(&mut self, _: &Report) -> Result<(), Fault> {
        Ok(())
    }
}

/// A process at the other end of two pipes: we write `ready` and `done FIGURES`, it answers each
/// with a line.
pub struct PipeGate<R, W> {
    /// Where its lines come from.
    pub lines: R,
    /// Where ours go.
    pub words: W,
}

impl<R: BufRead, W: Write> PipeGate<R, W> {
    fn say_and_wait(&mut self, word: &str) -> Result<(), Fault> {
        writeln!(self.words, "{word}").and_then(|()| self.words.flush()).map_err(abandoned)?;
        match self.lines.read_line(&mut String::new()).map_err(abandoned)? {
            0 => Err(Fault::Abandoned),
            _ => Ok(()),
        }
    }
}

impl<R: BufRead, W: Write> Gate for PipeGate<R, W> {
    fn ready(&mut self) -> Result<(), Fault> {
        self.say_and_wait("ready")
    }

    fn done(&mut self, report: &Report) -> Result<(), Fault> {
        self.say_and_wait(&format!("done {report}"))
    }
}

fn abandoned(_: std::io::Error) -> Fault {
    Fault::Abandoned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_moments_wait_for_a_line() {
        let mut gate = PipeGate { lines: &b"go\nbye\n"[..], words: Vec::new() };
        assert_eq!(gate.ready(), Ok(()));
        assert_eq!(gate.done(&Report::default()), Ok(()));
        assert!(gate.words.starts_with(b"ready\ndone messages=0 "));
        assert_eq!(gate.ready(), Err(Fault::Abandoned));
    }
}
