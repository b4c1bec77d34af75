//! Where errors are written, and from which level on.

use crate::syslog_target as syslog;
use perdura_conf::{Arity, Each, Fault, Reader, Value, Word, directives};

directives! {
    /// Writes errors of this level (`error` without one) and worse to a file, to `stderr`, or to
    /// `syslog:server=address[:port]|unix:path[,facility=...][,tag=...][,nohostname]`.
    /// Several may stand in one block; a block that has one does not inherit the outer block's.
    error_log: Each<Target> = "", in MAIN | HTTP | SERVER | LOCATION;
}

/// nginx's levels, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    Emerg = 1,
    Alert,
    Crit,
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}

impl Severity {
    const ALL: [(Severity, &'static str); 8] = [
        (Severity::Emerg, "emerg"),
        (Severity::Alert, "alert"),
        (Severity::Crit, "crit"),
        (Severity::Error, "error"),
        (Severity::Warn, "warn"),
        (Severity::Notice, "notice"),
        (Severity::Info, "info"),
        (Severity::Debug, "debug"),
    ];

    pub fn word(self) -> &'static str {
        Self::ALL[self as usize - 1].1
    }

    /// The number that syslog has for it (RFC 3164, 4.1.1).
    pub fn of_syslog(self) -> u8 {
        (self as u8 - 1).min(7)
    }

    pub fn parse(text: &[u8]) -> Option<Severity> {
        Self::ALL.iter().find(|(_, word)| word.as_bytes() == text).map(|(severity, _)| *severity)
    }
}

/// One place for error lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub file: Word,
    /// What the word says, when it is no file.
    pub syslog: Option<syslog::Written>,
    pub severity: Severity,
}

impl Value for Target {
    const SYNTAX: &'static str = "file [level]";
    // More words than one level are a fault of their own, as in nginx.
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let file = args[0].clone();
        let syslog = syslog::is_syslog(&file).then(|| syslog::read(&file)).transpose()?;
        if file.bytes.starts_with(b"memory:") {
            return Err(Fault::new(
                file.place,
                format!("\"{}\" in \"error_log\" directive is not supported yet", file.text()),
            )
            .hint("write a file, \"stderr\" or \"syslog:server=...\""));
        }
        let mut severity = None;
        for word in &args[1..] {
            severity = Some(level(word, severity)?);
        }
        Ok(Target { file, syslog, severity: severity.unwrap_or(Severity::Error) })
    }
}

/// Reads one level behind those that were read; the parts of `debug` are all of it here.
fn level(word: &Word, before: Option<Severity>) -> Result<Severity, Fault> {
    let invalid = || {
        Fault::new(word.place, format!("invalid log level \"{}\"", word.text()))
            .hint("levels are: debug, info, notice, warn, error, crit, alert, emerg")
    };
    if DEBUG_PARTS.contains(&&*word.text()) {
        return match before {
            None | Some(Severity::Debug) => Ok(Severity::Debug),
            Some(_) => Err(invalid()),
        };
    }
    let severity = Severity::parse(&word.bytes).ok_or_else(invalid)?;
    if before.is_some() {
        let message = format!("duplicate log level \"{}\"", word.text());
        return Err(Fault::new(word.place, message).hint("one level is enough: it takes all worse"));
    }
    Ok(severity)
}

/// nginx's names for parts of its debug log.
const DEBUG_PARTS: [&str; 7] = [
    "debug_core",
    "debug_alloc",
    "debug_mutex",
    "debug_event",
    "debug_http",
    "debug_mail",
    "debug_stream",
];
