//! One HTTP/1 message as it stood on the wire, cut off a [`Wire`]. The cutting trusts the
//! framing; what the framing should have been is the test's to say.

use crate::wire::{End, Wire};

/// What the reader knows about the message before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAs {
    Request,
    Response,
    /// The answer to HEAD: a head that may announce a body which does not come.
    HeadResponse,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The head with its empty line.
    pub head: Vec<u8>,
    /// The body, with chunks joined.
    pub body: Vec<u8>,
    /// Trailer lines of a chunked body.
    pub trailers: Vec<u8>,
    /// How the stream ended when it ended inside this message, or with it.
    pub end: Option<End>,
}

impl Message {
    /// Reads one message. An error means that not even a head came; the bytes that did come
    /// stay in the wire's buffer.
    pub fn read(wire: &mut Wire, how: ReadAs) -> Result<Self, End> {
        Ok(Self::read_head(wire)?.read_body(wire, how))
    }

    /// Reads a head and leaves what follows in the wire.
    pub fn read_head(wire: &mut Wire) -> Result<Self, End> {
        let head = wire.head()?;
        Ok(Self { head, body: Vec::new(), trailers: Vec::new(), end: None })
    }

    /// Reads what the head announces.
    pub fn read_body(mut self, wire: &mut Wire, how: ReadAs) -> Self {
        match self.framing(how) {
            Framing::None => {}
            Framing::Length(length) => self.read_length(wire, length),
            Framing::Chunked => {
                if let Err(end) = self.read_chunks(wire) {
                    self.end = Some(end);
                    self.body.extend(wire.take_buffer());
                }
            }
            Framing::UntilClose => {
                let (body, end) = wire.rest();
                self.body = body;
                self.end = Some(end);
            }
        }
        self
    }

    fn read_length(&mut self, wire: &mut Wire, length: usize) {
        match wire.exactly(length) {
            Ok(body) => self.body = body,
            Err(end) => {
                self.body = wire.take_buffer();
                self.end = Some(end);
            }
        }
    }

    fn read_chunks(&mut self, wire: &mut Wire) -> Result<(), End> {
        loop {
            let line = wire.line()?;
            let size = String::from_utf8_lossy(&line);
            let digits = size.trim().split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(digits, 16) else {
                self.body.extend(&line);
                return Err(End::Closed);
            };
            if size == 0 {
                break;
            }
            self.body.extend(wire.exactly(size)?);
            wire.line()?;
        }
        loop {
            let line = wire.line()?;
            if line == b"\r\n" || line == b"\n" {
                return Ok(());
            }
            self.trailers.extend(line);
        }
    }

    /// The first line without its line end.
    pub fn start(&self) -> String {
        let line = self.head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
    }

    /// The status of a response; 0 when the line has none.
    pub fn status(&self) -> u16 {
        let start = self.start();
        start.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// The values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let head = String::from_utf8_lossy(&self.head);
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn is_chunked(&self) -> bool {
        self.all("transfer-encoding").iter().any(|value| value.to_lowercase().contains("chunked"))
    }

    fn framing(&self, how: ReadAs) -> Framing {
        let status = self.status();
        let bodiless = matches!(status, 100..=199 | 204 | 304);
        if how == ReadAs::HeadResponse || (how == ReadAs::Response && bodiless) {
            return Framing::None;
        }
        if self.is_chunked() {
            return Framing::Chunked;
        }
        match (self.field("content-length").and_then(|value| value.parse().ok()), how) {
            (Some(length), _) => Framing::Length(length),
            (None, ReadAs::Request) => Framing::None,
            (None, _) => Framing::UntilClose,
        }
    }
}

enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}
