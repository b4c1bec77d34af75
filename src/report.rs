//! What is said on the terminal before the error log of the configuration is in charge.
//!
//! Lines on stderr begin with the program's name, as nginx's do; with `-e`, what is a fault or a
//! notice goes to that file as well, with time and process number. Not here: the master's own log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use perdura_conf::{Fault, Level, Sources, errno_text, first_line, render};
use perdura_proxy::Severity;

use crate::cli::{Command, Deed};
use crate::master::clock;
use crate::paths::{self, PROGRAM};

/// Writes one line to stderr: `perdura: TEXT`.
pub fn line(text: &str) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{PROGRAM}: {text}");
}

/// Where messages go until the server runs.
pub struct Report {
    file: Option<File>,
    notices: bool,
    quiet: bool,
}

impl Report {
    /// Opens the file of `-e`. That it cannot be opened is said, and is no fault (nginx).
    pub fn new(command: &Command) -> Report {
        let notices = matches!(command.deed, Deed::Test { .. });
        let mut report = Report { file: None, notices, quiet: command.quiet };
        let named = command.error_log.as_deref().filter(|path| *path != paths::STDERR);
        if let (Some(path), false) = (named, command.deed == Deed::Nothing) {
            report.open(&paths::prefix(command).join(path));
        }
        report
    }

    fn open(&mut self, path: &Path) {
        match OpenOptions::new().append(true).create(true).open(path) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                let why = errno_text(&error);
                let path = path.display();
                let text = format!("could not open error log file: open() \"{path}\" failed {why}");
                self.say(Severity::Alert, &text);
            }
        }
    }

    /// One message. nginx shows warnings and worse on the terminal, and the rest in the file only.
    pub fn say(&mut self, severity: Severity, text: &str) {
        let word = severity.word();
        if severity <= Severity::Warn {
            line(&format!("[{word}] {text}"));
        }
        self.write(&format!("[{word}]"), text);
    }

    /// Every fault of a configuration; notices are for `-t` only, and not with `-q`.
    pub fn faults(&mut self, faults: &[Fault], sources: &Sources) {
        for fault in faults {
            if fault.level == Level::Notice && (!self.notices || self.quiet) {
                continue;
            }
            let _ = writeln!(std::io::stderr(), "{}", render(PROGRAM, fault, sources));
            let text = first_line(fault, sources);
            let (level, rest) = text.split_once(' ').unwrap_or((&text, ""));
            self.write(level, rest);
        }
    }

    /// Closes the file: from here on the log of the configuration is in charge. It must be closed
    /// before there is a worker, after whose death everything is closed that the master does not
    /// know.
    pub fn end(&mut self) {
        self.file = None;
    }

    fn write(&mut self, level: &str, text: &str) {
        if let Some(file) = &mut self.file {
            let (time, id) = (clock::now(), std::process::id());
            // The line is best effort: the terminal has it already.
            let _ = file.write_all(format!("{time} {level} {id}#{id}: {text}\n").as_bytes());
        }
    }
}
