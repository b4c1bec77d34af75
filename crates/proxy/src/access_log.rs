//! The line that each request leaves when it ends.

use crate::config::{AccessLog, LogPlace};
use crate::error_log;
use crate::file_path;
use crate::log_file;
use crate::modules::error_log::Severity;
use crate::modules::log::Escape;
use crate::request::Request;
use crate::variables::{Binding, Late};
use perdura_conf::Part;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Writes the lines of a request that has ended.
pub fn write(request: &Request) {
    let location = std::sync::Arc::clone(&request.location);
    for log in location.access_logs.iter().filter(|log| is_wanted(request, log)) {
        let mut line = Vec::with_capacity(256);
        render(request, log, &mut line);
        line.push(b'\n');
        match &log.place {
            LogPlace::Fixed(file) => file.line(&line),
            LogPlace::Computed(path) => by_name(request, request.value(path), &line),
        }
    }
}

/// Whether a request leaves a line in a log (`if=`).
pub fn is_wanted(request: &Request, log: &AccessLog) -> bool {
    let value = log.condition.as_deref().map(|condition| request.value(condition));
    value.is_none_or(|value| !value.is_empty() && value != b"0")
}

/// Writes a line to a file whose name depends on the request. As in nginx it is made only while the
/// request's root is there, so that nobody fills a disk with names.
fn by_name(request: &Request, path: Vec<u8>, line: &[u8]) {
    let path = PathBuf::from(OsString::from_vec(path));
    let root = PathBuf::from(OsString::from_vec(file_path::root(request)));
    let tested = std::fs::metadata(&root).and_then(|found| match found.is_dir() {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
    });
    let (severity, message) = match tested.map(|()| log_file::append_by_name(&path, line)) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => {
            let reason = crate::errno_text(&error);
            (Severity::Crit, format!("open() \"{}\" failed ({reason})", path.display()))
        }
        Err(error) => {
            let reason = crate::errno_text(&error);
            (Severity::Error, format!("testing \"{}\" existence failed ({reason})", root.display()))
        }
    };
    error_log::request(request, severity, &message);
}

/// What names a log in the account of a tunnel: the file, or a path that begins with `$` when it is
/// to be opened for the line.
pub fn name_for_ledger(request: &Request, log: &AccessLog) -> String {
    match &log.place {
        LogPlace::Fixed(file) => file.path.display().to_string(),
        LogPlace::Computed(path) => {
            format!("${}", String::from_utf8_lossy(&request.value(path)))
        }
    }
}

fn render(request: &Request, log: &AccessLog, line: &mut Vec<u8>) {
    let mut value = Vec::new();
    for part in log.template.parts() {
        match part {
            Part::Text(text) => line.extend_from_slice(text),
            Part::Variable(id) => {
                value.clear();
                let found = request.variable(*id, &mut value);
                escaped(log.escape, found.then_some(&value), line);
            }
            Part::Capture(_) => escaped(log.escape, None, line),
        }
    }
}

/// A piece of a tunnel's line: text, or a value that only its end knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Text(Vec<u8>),
    Late(Late),
}

/// The line of a request that has become a tunnel, rendered but for what its end knows.
pub fn segments(request: &Request, log: &AccessLog) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut text = Vec::new();
    for part in log.template.parts() {
        match part {
            Part::Text(bytes) => text.extend_from_slice(bytes),
            Part::Capture(_) => escaped(log.escape, None, &mut text),
            Part::Variable(id) => match request.config.bindings.get(id.0 as usize) {
                Some(Binding::Late(late)) => {
                    segments.push(Segment::Text(std::mem::take(&mut text)));
                    segments.push(Segment::Late(*late));
                }
                _ => {
                    let mut value = Vec::new();
                    let found = request.variable(*id, &mut value);
                    escaped(log.escape, found.then_some(&value), &mut text);
                }
            },
        }
    }
    segments.push(Segment::Text(text));
    segments
}

/// Appends a value as nginx escapes it; a variable without value is `-`, or nothing in JSON. One
/// whose value is empty is nothing in either.
fn escaped(escape: Escape, value: Option<&Vec<u8>>, line: &mut Vec<u8>) {
    let value = match (value, escape) {
        (Some(value), _) => value,
        (None, Escape::Default) => return line.push(b'-'),
        (None, _) => return,
    };
    match escape {
        Escape::None => line.extend_from_slice(value),
        Escape::Default => value.iter().for_each(|&byte| default_byte(byte, line)),
        Escape::Json => value.iter().for_each(|&byte| json_byte(byte, line)),
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn default_byte(byte: u8, line: &mut Vec<u8>) {
    if matches!(byte, b'"' | b'\\') || !(0x20..0x7f).contains(&byte) {
        line.extend_from_slice(b"\\x");
        line.push(HEX[usize::from(byte >> 4)]);
        line.push(HEX[usize::from(byte & 15)]);
    } else {
        line.push(byte);
    }
}

/// Appends a byte as it stands in a JSON string.
pub fn json_byte(byte: u8, line: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        0..0x20 => {
            line.extend_from_slice(b"\\u00");
            line.push(HEX[usize::from(byte >> 4)]);
            line.push(HEX[usize::from(byte & 15)]);
            return;
        }
        _ => return line.push(byte),
    };
    line.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(escape: Escape, value: &[u8]) -> String {
        let mut line = Vec::new();
        escaped(escape, Some(&value.to_vec()), &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn values_are_escaped_as_nginx_does() {
        assert_eq!(shown(Escape::Default, b"a\"b\\c\x1b\xff"), r"a\x22b\x5Cc\x1B\xFF");
        assert_eq!(shown(Escape::Json, b"a\"b\\c\n\x1f"), r#"a\"b\\c\n\u001F"#);
        assert_eq!(shown(Escape::None, b"a\"b"), "a\"b");
        assert_eq!(shown(Escape::Default, b""), "");
    }
}
