//! Where a request comes from, as its `Referer` says.

use crate::config::host_table::{Added, HostName, HostTable};
use crate::regex::{Case, Regex};
use perdura_conf::{Arity, Fault, Reader, Value, Word, directives};

directives! {
    /// Which `Referer` fields are valid, for `$invalid_referer`, which is empty for those and `1` for
    /// others: `none` is a request without one, `blocked` one whose value begins with no scheme,
    /// `server_names` those that name this server; a host may have a wildcard at either end and the
    /// beginning of a path behind it, and `~` begins an expression for what follows the scheme.
    valid_referers: Option<Referers> = "", in SERVER | LOCATION;
}

/// A `valid_referers`.
#[derive(Clone, Debug, Default)]
pub struct Referers {
    pub none: bool,
    pub blocked: bool,
    pub server_names: bool,
    /// What a path must begin with, by host; empty is any.
    pub hosts: HostTable<Vec<u8>>,
    listed: Vec<(Word, Vec<u8>)>,
    pub patterns: Vec<Regex>,
}

impl Referers {
    /// Whether hosts or patterns were named at all; without any, everything is valid as in nginx.
    pub fn judges(&self) -> bool {
        self.server_names || !self.listed.is_empty() || !self.patterns.is_empty()
    }

    /// What is wrong with all lines of a block together, in nginx's words.
    pub fn fault(&self) -> Option<Fault> {
        let lacks = (self.none || self.blocked) && self.listed.is_empty() && !self.server_names;
        let message = "the \"none\" or \"blocked\" referers are specified in the \"valid_referers\" \
                       directive without any valid referer";
        lacks.then(|| Fault::nowhere(message).hint("name a host, or \"server_names\""))
    }

    fn add(&mut self, word: &Word, path: Vec<u8>) -> Result<(), Fault> {
        let fault = |what: &str| {
            let host = String::from_utf8_lossy(&word.bytes);
            Fault::new(word.place, format!("{what} \"{host}\""))
        };
        let Some(host) = HostName::read(&word.bytes) else {
            return Err(fault("invalid hostname or wildcard"));
        };
        match self.hosts.add(host, path.clone()) {
            Added::New => {
                self.listed.push((word.clone(), path));
                Ok(())
            }
            Added::Conflicting => Err(fault("conflicting parameter")),
        }
    }
}

impl Value for Referers {
    const SYNTAX: &'static str = "none | blocked | server_names | string ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut referers = Self::default();
        for word in args {
            match word.bytes.as_slice() {
                b"" => {
                    let message = format!("invalid referer \"{}\"", word.text());
                    return Err(Fault::new(word.place, message));
                }
                b"none" => referers.none = true,
                b"blocked" => referers.blocked = true,
                b"server_names" => referers.server_names = true,
                [b'~'] => {
                    let message = format!("empty regex in \"{}\"", word.text());
                    return Err(Fault::new(word.place, message));
                }
                [b'~', pattern @ ..] => {
                    let regex = Regex::compile(pattern, word, Case::Insensitive, reader.names)?;
                    referers.patterns.push(regex);
                }
                text => {
                    let slash = text.iter().position(|&byte| byte == b'/');
                    let (host, path) = text.split_at(slash.unwrap_or(text.len()));
                    let host = Word { bytes: host.to_ascii_lowercase(), place: word.place };
                    referers.add(&host, path.to_vec())?;
                }
            }
        }
        Ok(referers)
    }

    /// As in nginx, a second line adds to the first.
    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        self.none |= next.none;
        self.blocked |= next.blocked;
        self.server_names |= next.server_names;
        self.patterns.extend(next.patterns);
        next.listed.into_iter().try_for_each(|(word, path)| self.add(&word, path))
    }
}
