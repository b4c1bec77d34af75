//! Error-log lines, worded and laid out as nginx's.

use crate::clock::{self, Form, Wall};
use crate::config::ErrorTarget;
use crate::modules::error_log::Severity;
use crate::request::{Connection, Request};
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A line's text at most; nginx cuts at the same length.
const LINE_MAX: usize = 2048;

/// The process number for lines; the worker sets it when it begins.
static PID: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

/// Says which process this is.
pub fn set_process(pid: u32) {
    PID.store(pid, Ordering::Relaxed);
}

fn thread_number() -> u32 {
    THREAD.with(|number| {
        if number.get() == 0 {
            number.set(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        }
        number.get()
    })
}

/// Writes a line that belongs to a request.
pub fn request(request: &Request, severity: Severity, message: &str) {
    if enabled(&request.location.error_logs, severity) {
        let text = with_context(request, message, None);
        write(&request.location.error_logs, severity, Some(request.connection.number), &text);
    }
}

/// Writes a line that belongs to a request's exchange with an upstream. `upstream` is the URL that
/// was asked, as nginx shows it.
pub fn upstream(request: &Request, severity: Severity, message: &str, upstream: &dyn fmt::Display) {
    if enabled(&request.location.error_logs, severity) {
        let text = with_context(request, message, Some(upstream));
        write(&request.location.error_logs, severity, Some(request.connection.number), &text);
    }
}

/// Writes a line that belongs to a client's connection before there is a request.
pub fn connection(targets: &[ErrorTarget], severity: Severity, facts: &Connection, message: &str) {
    write(targets, severity, Some(facts.number), message);
}

/// Writes a line that belongs to nothing in particular.
pub fn process(targets: &[ErrorTarget], severity: Severity, message: &str) {
    write(targets, severity, None, message);
}

fn enabled(targets: &[ErrorTarget], severity: Severity) -> bool {
    targets.iter().any(|target| severity <= target.severity)
}

fn with_context(request: &Request, message: &str, upstream: Option<&dyn fmt::Display>) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(256);
    let name = String::from_utf8_lossy(&request.server.name);
    // Writing to a String cannot fail.
    let _ = write!(text, "{message}, client: {}, server: {name}", request.peer().address());
    let line = request.request_line();
    if !line.is_empty() {
        let _ = write!(text, ", request: \"{}\"", String::from_utf8_lossy(line));
    }
    if request.main_method.is_some() {
        let _ = write!(text, ", subrequest: \"{}\"", String::from_utf8_lossy(&request.path));
    }
    if let Some(upstream) = upstream {
        let _ = write!(text, ", upstream: \"{upstream}\"");
    }
    for (name, word) in [("host", "host"), ("referer", "referrer")] {
        if let Some(value) = request.head.fields().first(name) {
            let _ = write!(text, ", {word}: \"{}\"", String::from_utf8_lossy(value));
        }
    }
    text
}

fn write(targets: &[ErrorTarget], severity: Severity, connection: Option<u64>, message: &str) {
    let mut line = Vec::with_capacity(message.len() + 64);
    clock::write(Wall::now(), Form::Error, &mut line);
    let pid = PID.load(Ordering::Relaxed);
    let thread = thread_number();
    line.extend_from_slice(format!(" [{}] {pid}#{thread}: ", severity.word()).as_bytes());
    if let Some(connection) = connection {
        line.extend_from_slice(format!("*{connection} ").as_bytes());
    }
    // A peer must not be able to begin a new line in the log.
    line.extend(
        message.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }),
    );
    line.truncate(LINE_MAX - 1);
    line.push(b'\n');
    for target in targets.iter().filter(|target| severity <= target.severity) {
        match &target.file {
            Some(file) => file.error_line(severity, &line),
            None => {
                let _ = rustix::io::write(rustix::stdio::stderr(), &line);
            }
        }
    }
}
