//! Compression of responses: `gzip` and what decides which client gets it.
//!
//! The front decides by these settings and compresses; here is what the configuration says.

use crate::grammar::Buffers;
use crate::mime_types::MimeTypes;
use crate::regex::{Case, Regex};
use perdura_conf::{Arity, Fault, Flag, Number, Reader, Size, Statement, Value, Word, directives};

directives! {
    /// Compresses responses with a status of 200, 403 or 404 for clients that accept it, when their
    /// type is one of `gzip_types` and nobody has encoded them yet.
    gzip: Flag = "off", in HTTP | SERVER | LOCATION | LOCATION_IF;

    /// The types that are compressed, besides `text/html`; `*` is all.
    gzip_types: MimeTypes = "text/html", in HTTP | SERVER | LOCATION;

    /// Responses that say that they are shorter are not compressed.
    gzip_min_length: Size = "20", in HTTP | SERVER | LOCATION;

    /// How hard is tried, from 1 (fast) to 9 (small).
    gzip_comp_level: Level = "1", in HTTP | SERVER | LOCATION;

    /// Buffers for compressed bytes. They are checked; as many bytes are made as the client takes.
    gzip_buffers: Buffers = "32 4k", in HTTP | SERVER | LOCATION;

    /// Adds `Vary: Accept-Encoding` to responses that `gzip`, `gunzip` or `gzip_static` may change.
    gzip_vary: Flag = "off", in HTTP | SERVER | LOCATION;

    /// The lowest version of requests that get compressed responses.
    gzip_http_version: LeastVersion = "1.1", in HTTP | SERVER | LOCATION;

    /// Which responses are compressed for requests with a `Via` field, that is for proxies.
    gzip_proxied: Proxied = "off", in HTTP | SERVER | LOCATION;

    /// Clients that get nothing compressed, by their `User-Agent`; `msie6` are MSIE 4 to 6.
    gzip_disable: Disabled = "", in HTTP | SERVER | LOCATION;
}

/// What can only be said of a whole statement: words of `gzip_proxied` that stand there already.
pub fn check(statement: &Statement, before: &Written) -> Vec<Fault> {
    if !statement.name.is("gzip_proxied") {
        return Vec::new();
    }
    let mut seen = before.gzip_proxied.map_or(0, |before| before.0);
    let mut warnings = Vec::new();
    for word in &statement.args {
        let bit = Proxied::bit(word).unwrap_or(0);
        if bit != 0 && seen & bit == bit {
            let message = format!("duplicate value \"{}\"", word.text());
            warnings.push(Fault::warning(word.place, message));
        }
        seen |= bit;
    }
    warnings
}

/// A `gzip_comp_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub u32);

impl Value for Level {
    const SYNTAX: &'static str = "level";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match Number::parse(&args[0].bytes) {
            Some(level @ 1..=9) => Ok(Self(level as u32)),
            Some(_) => Err(Fault::new(args[0].place, "value must be between 1 and 9")),
            None => Err(reader.invalid_number(&args[0])),
        }
    }
}

perdura_conf::choice! {
    /// A `gzip_http_version`.
    pub enum LeastVersion { Http10 = "1.0", Http11 = "1.1" }
}

/// A `gzip_proxied`: which responses to proxies are compressed, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied(u16);

impl Proxied {
    pub const OFF: u16 = 1;
    pub const EXPIRED: u16 = 1 << 1;
    pub const NO_CACHE: u16 = 1 << 2;
    pub const NO_STORE: u16 = 1 << 3;
    pub const PRIVATE: u16 = 1 << 4;
    pub const NO_LAST_MODIFIED: u16 = 1 << 5;
    pub const NO_ETAG: u16 = 1 << 6;
    pub const AUTH: u16 = 1 << 7;
    pub const ANY: u16 = 1 << 8;

    const WORDS: [(&'static str, u16); 9] = [
        ("off", Self::OFF),
        ("expired", Self::EXPIRED),
        ("no-cache", Self::NO_CACHE),
        ("no-store", Self::NO_STORE),
        ("private", Self::PRIVATE),
        ("no_last_modified", Self::NO_LAST_MODIFIED),
        ("no_etag", Self::NO_ETAG),
        ("auth", Self::AUTH),
        ("any", Self::ANY),
    ];

    pub fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    fn bit(word: &Word) -> Option<u16> {
        let same = |text: &str| word.bytes.eq_ignore_ascii_case(text.as_bytes());
        Self::WORDS.iter().find(|(text, _)| same(text)).map(|(_, bit)| *bit)
    }
}

impl Value for Proxied {
    const SYNTAX: &'static str = "off | expired | no-cache | no-store | private | \
                                  no_last_modified | no_etag | auth | any ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut bits = 0;
        for word in args {
            bits |= perdura_conf::read_choice(word, &Self::WORDS)?;
        }
        Ok(Self(bits))
    }

    /// As in nginx, a second line adds to the first.
    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        self.0 |= next.0;
        Ok(())
    }
}

/// A `gzip_disable`.
#[derive(Clone, Debug, Default)]
pub struct Disabled {
    pub msie6: bool,
    pub patterns: Vec<Regex>,
}

impl Value for Disabled {
    const SYNTAX: &'static str = "regex ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut disabled = Self::default();
        for word in args {
            if word.is("msie6") {
                disabled.msie6 = true;
                continue;
            }
            let pattern = Regex::compile(&word.bytes, word, Case::Insensitive, reader.names)?;
            disabled.patterns.push(pattern);
        }
        Ok(disabled)
    }

    /// As in nginx, a second line adds to the first.
    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        self.msie6 |= next.msie6;
        self.patterns.extend(next.patterns);
        Ok(())
    }

    /// `msie6` and the patterns are inherited apart.
    fn complete(&mut self, outer: &Self) {
        self.msie6 |= outer.msie6;
        if self.patterns.is_empty() {
            self.patterns.clone_from(&outer.patterns);
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}
