//! What an actor does, step by step, as text: the language of `-- client` and `-- upstream`
//! sections of a case file.
//!
//! `> text` sends the text and CRLF, `>> text` sends it as it is; both know `\r \n \t \0
//! \\ \xNN` and `\*COUNT(text)` for a repetition. All other steps are one word and its
//! arguments.

use std::time::Duration;

use crate::secure::Greeting;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Send(Vec<u8>),
    /// Client: read one final response and the interim ones before it.
    Response,
    /// Client: read the answer to HEAD.
    HeadResponse,
    /// Client: read a head only, such as a 1xx or a 101.
    Head,
    Read(usize),
    /// Read everything until the other side ends; an upstream goes on with its next step.
    Rest,
    Fin,
    Reset,
    /// Client: begin another connection.
    New,
    /// Client: shake hands, so that what follows is said over TLS.
    Tls(Greeting),
    /// Let the other side read before the next bytes are sent.
    Pause,
    /// Client: wait until the upstream has seen this many requests.
    Seen(usize),
    /// Upstream: return every byte until the other side ends.
    Echo,
    /// Upstream: end this connection.
    Close,
    /// Upstream: keep the connection and say nothing more.
    Hold,
    /// Upstream: answer before the body has been read.
    Early,
    /// Upstream: wait, so that the proxy's timers have something to measure.
    Wait(Duration),
}

/// Reads the lines of a section.
pub fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for line in text.lines() {
        let step = match line {
            "" => continue,
            line if line.starts_with('#') => continue,
            ">" => Step::Send(b"\r\n".to_vec()),
            line => step(line)?,
        };
        match (steps.last_mut(), step) {
            (Some(Step::Send(before)), Step::Send(more)) => before.extend(more),
            (_, step) => steps.push(step),
        }
    }
    Ok(steps)
}

fn step(line: &str) -> Result<Step, String> {
    if let Some(raw) = line.strip_prefix(">> ") {
        return Ok(Step::Send(unescape(raw)));
    }
    if let Some(text) = line.strip_prefix("> ") {
        let mut bytes = unescape(text);
        bytes.extend(b"\r\n");
        return Ok(Step::Send(bytes));
    }
    let mut words = line.split_whitespace();
    let word = words.next().unwrap_or_default();
    if word == "tls" {
        return Greeting::parse(words).map(Step::Tls);
    }
    let number = words.next().and_then(|number| number.parse::<u64>().ok());
    Ok(match (word, number) {
        ("response", None) => Step::Response,
        ("head-response", None) => Step::HeadResponse,
        ("head", None) => Step::Head,
        ("read", Some(count)) => Step::Read(count as usize),
        ("rest", None) => Step::Rest,
        ("fin", None) => Step::Fin,
        ("reset", None) => Step::Reset,
        ("new", None) => Step::New,
        ("pause", None) => Step::Pause,
        ("seen", Some(count)) => Step::Seen(count as usize),
        ("echo", None) => Step::Echo,
        ("close", None) => Step::Close,
        ("hold", None) => Step::Hold,
        ("early", None) => Step::Early,
        ("wait-ms", Some(ms)) => Step::Wait(Duration::from_millis(ms)),
        _ => return Err(format!("no such step: {line:?}")),
    })
}

/// Bytes of a text with escapes.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let Some((&kind, tail)) = rest.split_first() else {
            bytes.push(b'\\');
            break;
        };
        rest = tail;
        match kind {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'x' => rest = hexadecimal(rest, &mut bytes),
            b'*' => rest = repeated(rest, &mut bytes),
            other => bytes.push(other),
        }
    }
    bytes
}

fn hexadecimal<'a>(rest: &'a [u8], bytes: &mut Vec<u8>) -> &'a [u8] {
    let digits = std::str::from_utf8(&rest[..2]).expect("two hexadecimal digits after \\x");
    bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits after \\x"));
    &rest[2..]
}

fn repeated<'a>(rest: &'a [u8], bytes: &mut Vec<u8>) -> &'a [u8] {
    let open = rest.iter().position(|byte| *byte == b'(').expect("\\*COUNT(text)");
    let close = rest.iter().position(|byte| *byte == b')').expect("\\*COUNT(text)");
    let count = std::str::from_utf8(&rest[..open]).ok().and_then(|digits| digits.parse().ok());
    let text = String::from_utf8_lossy(&rest[open + 1..close]).into_owned();
    bytes.extend(unescape(&text).repeat(count.expect("a count in \\*COUNT(text)")));
    &rest[close + 1..]
}

/// The steps of an upstream after it has read one request.
pub type Answer = Vec<Step>;

/// Which answers an upstream gives: the first block whose text occurs in the request line.
#[derive(Clone, Debug, Default)]
pub struct Blocks(pub Vec<(String, Vec<Answer>)>);

impl Blocks {
    /// Reads an `-- upstream` section: `on TEXT` begins a block, `then` the next answer of it;
    /// the last answer of a block repeats.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut blocks = Vec::new();
        let mut key = String::new();
        let mut answers = vec![String::new()];
        for line in text.lines() {
            if let Some(next) = line.strip_prefix("on ") {
                blocks.push((std::mem::replace(&mut key, next.trim().to_owned()), answers));
                answers = vec![String::new()];
            } else if line == "then" {
                answers.push(String::new());
            } else {
                let answer = answers.last_mut().expect("there is always one");
                answer.push_str(line);
                answer.push('\n');
            }
        }
        blocks.push((key, answers));
        // The text before the first `on` applies to every request that no block names.
        blocks.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        let read = |answers: Vec<String>| {
            answers.iter().map(|text| steps(text)).collect::<Result<Vec<Answer>, String>>()
        };
        let blocks = blocks.into_iter().map(|(key, answers)| Ok((key, read(answers)?)));
        Ok(Self(blocks.collect::<Result<_, String>>()?))
    }

    /// One answer for every request.
    pub fn always(answer: Answer) -> Self {
        Self(vec![(String::new(), vec![answer])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_steps_and_neighbouring_sends_one_write() {
        let read = steps("> GET / HTTP/1.1\n>\nresponse\n>> a\\x00b\nread 3\n").expect("steps");
        let expected = vec![
            Step::Send(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            Step::Response,
            Step::Send(b"a\0b".to_vec()),
            Step::Read(3),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn an_unknown_step_is_refused() {
        assert!(steps("respond").is_err());
    }

    #[test]
    fn repetitions_count() {
        assert_eq!(unescape("\\*3(ab)c"), b"abababc");
    }

    #[test]
    fn the_longest_block_text_wins() {
        let blocks = Blocks::parse("> a\non /b\n> b\nthen\n> c\n").expect("blocks");
        assert_eq!(blocks.0.len(), 2);
        assert_eq!(blocks.0[0].0, "/b");
        assert_eq!(blocks.0[0].1.len(), 2);
    }
}
