//! What happened in a case, as text that two programs can be compared by. Only names are
//! hidden: the program's, its date, and the addresses that differ from run to run.

use std::fmt::{self, Display, Write as _};
use std::io::Read as _;

use crate::case::Errors;
use crate::message::{Message, ReadAs};
use crate::program::Program;
use crate::upstream::Received;
use crate::wire::End;

/// The parts of an outcome. Two outcomes are equal when all parts that a case compares are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub client: String,
    pub upstream: String,
    pub log: String,
    pub errors: String,
}

impl Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("client", &self.client),
            ("upstream", &self.upstream),
            ("log", &self.log),
            ("errors", &self.errors),
        ];
        for (name, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(out, "{name}:")?;
            for line in text.lines() {
                writeln!(out, "{}", format!("  {line}").trim_end())?;
            }
        }
        Ok(())
    }
}

/// Addresses and paths of one run, and the names that stand for them.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<(String, String)>);

impl Names {
    pub fn new(names: &[(String, String)]) -> Self {
        let mut hidden = Vec::new();
        for (name, value) in names {
            if value.parse::<u16>().is_ok() {
                // `$server_port` in a log of fields between bars.
                hidden.push((format!("|{value}"), format!("|@{name}@")));
                continue;
            }
            hidden.push((value.clone(), format!("@{name}@")));
            if let Some((_, port)) = value.rsplit_once(':') {
                hidden.push((format!(":{port}"), format!(":@{name}@")));
                // `$proxy_port`, likewise.
                hidden.push((format!("|{port}"), format!("|@{name}@")));
            }
        }
        hidden.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        Self(hidden)
    }

    /// The text with names in place of what differs from run to run.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, name) in &self.0 {
            text = text.replace(value, name);
        }
        text
    }
}

/// A response as the client saw it.
pub fn response(message: &Message, how: ReadAs) -> String {
    let mut text = String::new();
    let body = without_names(&message.body);
    let hidden = message.body.len() - body.len();
    for (index, line) in message.head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = visible_line(line);
        let line = match line.split_once(": ") {
            Some(("Server", value)) => format!("Server: {}", server(value)),
            Some(("Date", _)) => "Date: DATE".to_owned(),
            Some(("Content-Length", length)) if index > 0 => {
                format!("Content-Length: {}", content_length(length, hidden, message, how))
            }
            _ => line,
        };
        let _ = writeln!(text, "{line}");
    }
    text.push_str(&body_text(&body, message));
    text
}

/// A request as the upstream saw it.
pub fn request(message: &Message) -> String {
    let lines = message.head.split_inclusive(|byte| *byte == b'\n');
    let mut text: String = lines.map(|line| visible_line(line) + "\n").collect();
    text.push_str(&body_text(&message.body, message));
    text
}

/// Everything one upstream saw.
pub fn upstream(name: &str, connections: &[Received]) -> String {
    let mut text = String::new();
    for connection in connections {
        if let Some(told) = &connection.greeting {
            let _ = writeln!(text, "to {name}: [tls {told}]");
        }
        for message in &connection.requests {
            let _ = write!(text, "to {name}\n{}", request(message));
        }
        if !connection.bytes.is_empty() {
            let _ = writeln!(text, "to {name}, after the request\n{}", bytes(&connection.bytes));
        }
    }
    text
}

/// Bytes that are no message.
pub fn bytes(raw: &[u8]) -> String {
    if raw.len() > SHOWN {
        return format!("({} bytes, sum {:016x})", raw.len(), sum(raw));
    }
    let lines = raw.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| format!("| {}\n", visible(line))).collect::<String>().trim_end().to_owned()
}

/// How a connection ended. FIN and RST are one here: which of them a client sees depends on
/// what the kernel had not delivered yet. Scenarios tell them apart where it matters.
pub fn end(end: Option<End>) -> &'static str {
    match end {
        None | Some(End::Silent) => "[open]",
        Some(End::Closed | End::Reset) => "[closed]",
    }
}

/// An error-log line without its date, process and connection numbers, and without what OpenSSL
/// says of a fault; nothing for a line that is not compared.
pub fn error_line(line: &str, from: Errors) -> Option<String> {
    let (_, rest) = line.split_once(" [")?;
    let (level, rest) = rest.split_once("] ")?;
    let is_compared = match level {
        "info" => from == Errors::Infos && OF_CLIENTS.iter().any(|words| rest.contains(words)),
        level => !["debug", "notice"].contains(&level),
    };
    if !is_compared {
        return None;
    }
    let (_, rest) = rest.split_once(": ")?;
    let rest = match rest.strip_prefix('*').and_then(|rest| rest.split_once(' ')) {
        Some((_, rest)) => rest,
        None => rest,
    };
    let rest = match (rest.find("(SSL: "), rest.find(") while ")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}(SSL: WHY{}", &rest[..start], &rest[end..])
        }
        _ => rest.to_owned(),
    };
    Some(format!("[{level}] {rest}"))
}

/// What a line of info that is compared says.
const OF_CLIENTS: &[&str] = &["SSL", "client sent", "client attempted"];

fn body_text(body: &[u8], message: &Message) -> String {
    let mut text = String::new();
    if message.is_chunked() {
        text.push_str("(chunked)\n");
    }
    match unpacked(message) {
        Some(unpacked) => {
            let _ = writeln!(text, "(gzip)\n{}", bytes(&unpacked));
        }
        None if body.is_empty() => {}
        None => {
            let _ = writeln!(text, "{}", bytes(body));
        }
    }
    if !message.trailers.is_empty() {
        let _ = writeln!(text, "(trailers)\n{}", bytes(&message.trailers));
    }
    text
}

/// The content of a compressed body: two programs need not compress to the same bytes.
fn unpacked(message: &Message) -> Option<Vec<u8>> {
    let head = String::from_utf8_lossy(&message.head).to_lowercase();
    if !head.contains("\r\ncontent-encoding: gzip\r\n") {
        return None;
    }
    let mut content = Vec::new();
    flate2::read::MultiGzDecoder::new(&message.body[..]).read_to_end(&mut content).ok()?;
    Some(content)
}

fn server(value: &str) -> String {
    let (name, version) = value.split_once('/').map_or((value, ""), |(name, _)| (name, "/VERSION"));
    let known = [Program::Nginx, Program::Perdura].iter().any(|program| program.name() == name);
    if known { format!("PROXY{version}") } else { value.to_owned() }
}

/// The length with the program's name counted out; the length of an error page that was not
/// sent cannot be compared.
fn content_length(length: &str, hidden: usize, message: &Message, how: ReadAs) -> String {
    if how == ReadAs::HeadResponse && message.status() >= 300 {
        return "LENGTH".to_owned();
    }
    match length.parse::<usize>() {
        Ok(length) if hidden > 0 => format!("{} + NAME", length.saturating_sub(hidden)),
        _ => length.to_owned(),
    }
}

/// The last line of an error page names the program.
fn without_names(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let open = "<hr><center>";
    let Some(start) = text.find(open).map(|at| at + open.len()) else { return body.to_vec() };
    let Some(length) = text[start..].find("</center>") else { return body.to_vec() };
    let name = server(&text[start..start + length]);
    if !name.starts_with("PROXY") {
        return body.to_vec();
    }
    // The name goes altogether; what remains has the same length in both programs.
    format!("{}{}", &text[..start], &text[start + length..]).into_bytes()
}

fn visible_line(line: &[u8]) -> String {
    match line.strip_suffix(b"\r\n") {
        Some(line) => visible(line),
        None => visible(line),
    }
}

fn visible(raw: &[u8]) -> String {
    let mut text = String::new();
    for byte in raw {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            0x20..=0x7e => text.push(char::from(*byte)),
            other => {
                let _ = write!(text, "\\x{other:02x}");
            }
        }
    }
    text
}

/// FNV-1a, to tell long bodies apart in a line.
fn sum(raw: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    raw.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Longer bodies are shown by length and sum.
const SHOWN: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str, length: usize) -> Message {
        let body = format!("<hr><center>{name}</center>\r\n").into_bytes();
        let head =
            format!("HTTP/1.1 404 Not Found\r\nServer: {name}\r\nContent-Length: {length}\r\n\r\n");
        Message { head: head.into_bytes(), body, trailers: Vec::new(), end: None }
    }

    #[test]
    fn only_the_name_is_hidden() {
        let nginx = response(&page("nginx/1.22.1", 35), ReadAs::Response);
        let ours = response(&page("perdura/0.1.0", 36), ReadAs::Response);
        assert_eq!(nginx, ours);
        assert_ne!(nginx, response(&page("perdura/0.1.0", 37), ReadAs::Response));
        assert_ne!(nginx, response(&page("perdura", 30), ReadAs::Response));
        assert_ne!(nginx, response(&page("other/1", 35), ReadAs::Response));
    }

    #[test]
    fn line_ends_and_odd_bytes_show() {
        assert_eq!(visible_line(b"a: b\n"), "a: b\\n");
        assert_eq!(visible_line(b"a: \x00b\r\n"), "a: \\x00b");
    }

    #[test]
    fn error_lines_lose_their_numbers() {
        let of = |line: &str, from| error_line(&format!("2026/11/22 14:00:00 {line}"), from);
        let line = "[error] 12#12: *3 upstream timed out, client: x";
        let seen = of(line, Errors::Faults);
        assert_eq!(seen.as_deref(), Some("[error] upstream timed out, client: x"));
        assert_eq!(of("[info] 12#12: *3 gone", Errors::Infos), None);
        let line = "[info] 12#12: *3 SSL_do() failed (SSL: error (1)) while x";
        assert_eq!(of(line, Errors::Faults), None);
        let seen = of(line, Errors::Infos);
        assert_eq!(seen.as_deref(), Some("[info] SSL_do() failed (SSL: WHY) while x"));
    }
}
