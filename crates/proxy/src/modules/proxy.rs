//! Passing requests to an upstream: the settings of nginx's proxy module.
//!
//! What is done with them stands in `upstream/` (the exchange) and `outgoing.rs` (the request that
//! is sent).

use crate::grammar::{Bind, Buffers, ComputedSize, TempPath};
use crate::regex::{Case, Regex};
use perdura_conf::{
    Arity, Each, Fault, Flag, Number, Reader, Size, Statement, Template, Text, Time, Value, Word,
    directives,
};

directives! {
    /// Passes requests to this server, or to the `upstream` group of that name. Without a URI part
    /// the path goes on as it came; with one (even a single `/`), it replaces the part of the path
    /// that the location matched. A name that is only known when a variable has its value is a
    /// group of that name, or is looked up by the `resolver`; without one the request gets 502.
    proxy_pass: Option<Pass> = "", in LOCATION | LOCATION_IF | LIMIT_EXCEPT;

    /// The version of HTTP that is spoken to the upstream. Tunnels and kept connections need 1.1.
    proxy_http_version: HttpVersion = "1.1", in HTTP | SERVER | LOCATION;

    /// Sets a header field of the request that is sent; an empty value drops the field. A block
    /// that has one does not inherit the outer block's.
    proxy_set_header: Each<SetHeader> = "", in HTTP | SERVER | LOCATION;

    /// How long a connection to the upstream may take to be made. Then the next server is tried, or
    /// the request gets 504.
    proxy_connect_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// How long the upstream may take nothing of what is sent to it. It is the pause between two
    /// writes.
    proxy_send_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// How long the upstream may be silent before the request gets 504. It is the pause between two
    /// reads, not the time of the whole response. For a tunnel it is how long both sides together
    /// may be silent: set it above the interval of the application's pings, or idle tunnels end.
    proxy_read_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// Reads the upstream's answer ahead of a slow client, into buffers and then a file, so that
    /// the upstream is soon free. Off passes every piece on as it comes: for server-sent events and
    /// long polling. A tunnel is never buffered.
    proxy_buffering: Flag = "on", in HTTP | SERVER | LOCATION;

    /// The buffer for the head of the upstream's answer; a larger head ("upstream sent too big
    /// header") gets 502.
    proxy_buffer_size: Size = "4k", in HTTP | SERVER | LOCATION;

    /// How many buffers of an answer are read ahead for one request, and their size.
    proxy_buffers: Buffers = "8 4k", in HTTP | SERVER | LOCATION;

    /// Checked as nginx checks it (at least one buffer, at most all but one; twice the largest
    /// buffer when nothing is said) and otherwise without effect: what waits for the client is
    /// bounded by `proxy_buffers`.
    proxy_busy_buffers_size: Option<Size> = "", in HTTP | SERVER | LOCATION;

    /// The largest file that an answer read ahead may need; behind it the upstream waits for the
    /// client. 0 writes no file.
    proxy_max_temp_file_size: Size = "1024m", in HTTP | SERVER | LOCATION;

    /// Reads the whole body of a request before it is passed on. Off streams it: the upstream sees
    /// it at once, but after the first byte no other server can be tried.
    proxy_request_buffering: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Passes on a response field that is hidden otherwise, such as `Server` or `Date`.
    proxy_pass_header: Each<Text> = "", in HTTP | SERVER | LOCATION;

    /// Hides a response field from the client, beside those that always are.
    proxy_hide_header: Each<Text> = "", in HTTP | SERVER | LOCATION;

    /// Rewrites the `Location` and `Refresh` fields of answers, so that redirects of the upstream
    /// lead back here. `default` makes the location's own name of the URL of `proxy_pass`; the
    /// first rule that fits counts.
    proxy_redirect: Redirects = "default", in HTTP | SERVER | LOCATION;

    /// The folder for answers that do not fit in `proxy_buffers`; levels of folders are accepted
    /// and not used.
    proxy_temp_path: TempPath = "proxy_temp", in HTTP | SERVER | LOCATION;

    /// When a request goes to the next server of its group. One that may have had an effect (POST
    /// and its like) goes only with `non_idempotent` once it was sent, and none after the client
    /// got the first byte.
    proxy_next_upstream: NextUpstream = "error timeout", in HTTP | SERVER | LOCATION;

    /// How many servers are tried; 0 is all.
    proxy_next_upstream_tries: Number = "0", in HTTP | SERVER | LOCATION;

    /// How long servers are tried; 0 is without limit.
    proxy_next_upstream_timeout: Time = "0", in HTTP | SERVER | LOCATION;

    /// Answers statuses of the upstream from 300 on with this server's `error_page`, where it has
    /// one.
    proxy_intercept_errors: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Finishes the exchange with the upstream although the client has gone.
    proxy_ignore_client_abort: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Lets the system probe idle connections to the upstream (`SO_KEEPALIVE`), so that a server that
    /// vanished without a word is noticed. Its intervals are the system's (two hours by default).
    proxy_socket_keepalive: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Connects to upstreams from this address, with a port or without; `off` takes back what an
    /// outer block says. An address that a variable gives and that is none is not used. With
    /// `transparent` it may be another machine's, such as the client's (`$remote_addr`), if the
    /// system's routes lead the answers back here; a worker that runs as another user keeps the
    /// right to do so (`CAP_NET_RAW`) when a `transparent` stands in the file at its start.
    proxy_bind: Option<Bind> = "", in HTTP | SERVER | LOCATION;

    /// Asks the upstream by this method instead of the client's.
    proxy_method: Option<Template> = "", in HTTP | SERVER | LOCATION;

    /// Sends this instead of the client's body.
    proxy_set_body: Option<Template> = "", in HTTP | SERVER | LOCATION;

    /// Passes the client's header fields on; off leaves only those that `proxy_set_header` sets.
    proxy_pass_request_headers: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Passes the client's body on; off sends none.
    proxy_pass_request_body: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Fields of answers that are not obeyed: `X-Accel-Limit-Rate` and `X-Accel-Buffering`. The
    /// others concern a cache or redirects by the upstream, which are not built, and nothing obeys
    /// them anyway.
    proxy_ignore_headers: IgnoredFields = "", in HTTP | SERVER | LOCATION;

    /// How many bytes of an answer are read from the upstream in a second, for one request and with
    /// `proxy_buffering on`; 0 is no limit. It says nothing of tunnels.
    proxy_limit_rate: ComputedSize = "0", in HTTP | SERVER | LOCATION;
}

/// The argument of `proxy_pass`, before its group is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub word: Word,
    pub template: Template,
}

impl Value for Pass {
    const SYNTAX: &'static str = "URL";
    const ARITY: Arity = Arity::exactly(1);
    const INHERITS: bool = false;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let word = args[0].clone();
        let lower = word.bytes.to_ascii_lowercase();
        let has_scheme = lower.starts_with(b"http://") || lower.starts_with(b"https://");
        if !has_scheme && !lower.contains(&b'$') {
            return Err(Fault::new(word.place, "invalid URL prefix")
                .hint("the URL begins with \"http://\" or \"https://\""));
        }
        let template = Template::compile(&word, reader.names)?;
        Ok(Self { word, template })
    }
}

/// Fields of answers, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgnoredFields(u16);

impl IgnoredFields {
    const NAMES: [&str; 9] = [
        "X-Accel-Redirect",
        "X-Accel-Expires",
        "X-Accel-Limit-Rate",
        "X-Accel-Buffering",
        "X-Accel-Charset",
        "Expires",
        "Cache-Control",
        "Set-Cookie",
        "Vary",
    ];

    /// Whether a field of this name (as [`Self::NAMES`] writes it) is not obeyed.
    pub fn has(self, name: &str) -> bool {
        Self::bit(name.as_bytes()).is_some_and(|bit| self.0 & bit != 0)
    }

    fn bit(name: &[u8]) -> Option<u16> {
        let same = |known: &&str| known.as_bytes().eq_ignore_ascii_case(name);
        Self::NAMES.iter().position(same).map(|at| 1 << at)
    }
}

impl Value for IgnoredFields {
    const SYNTAX: &'static str = "field ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut bits = 0;
        for word in args {
            bits |= Self::bit(&word.bytes).ok_or_else(|| {
                Fault::new(word.place, format!("invalid value \"{}\"", word.text()))
                    .hint(format!("write one or more of: {}", Self::NAMES.join(", ")))
            })?;
        }
        Ok(Self(bits))
    }

    /// As in nginx, a second line adds to the first.
    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        self.0 |= next.0;
        Ok(())
    }

    fn absent() -> Option<Self> {
        Some(Self(0))
    }
}

/// The version spoken to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    Http10,
    Http11,
}

impl Value for HttpVersion {
    const SYNTAX: &'static str = "1.0 | 1.1";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match args[0].bytes.as_slice() {
            b"1.0" => Ok(Self::Http10),
            b"1.1" => Ok(Self::Http11),
            b"2" => Err(Fault::new(
                args[0].place,
                "HTTP/2 in \"proxy_http_version\" directive is not supported yet",
            )),
            _ => Err(Fault::new(args[0].place, format!("invalid value \"{}\"", args[0].text()))
                .hint(format!("syntax: {} {}", reader.directive.text(), Self::SYNTAX))),
        }
    }
}

/// One `proxy_set_header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetHeader {
    pub name: Vec<u8>,
    pub value: Template,
}

impl Value for SetHeader {
    const SYNTAX: &'static str = "field value";
    const ARITY: Arity = Arity::exactly(2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self { name: args[0].bytes.clone(), value: Template::compile(&args[1], reader.names)? })
    }
}

/// One `proxy_redirect`.
#[derive(Clone, Debug)]
pub enum Redirect {
    /// Made from `proxy_pass` and the location's name.
    Default,
    Off,
    Prefix {
        redirect: Template,
        replacement: Template,
    },
    Pattern {
        regex: Regex,
        replacement: Template,
    },
}

/// All that a block says about redirects.
#[derive(Clone, Debug)]
pub struct Redirects(pub Vec<Redirect>);

impl Value for Redirects {
    const SYNTAX: &'static str = Redirect::SYNTAX;
    const ARITY: Arity = Redirect::ARITY;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self(vec![Redirect::read(args, reader)?]))
    }

    /// `off` stands alone.
    fn again(&mut self, next: Self, reader: &Reader<'_>) -> Result<(), Fault> {
        if self.are_off() || next.are_off() {
            let message = "\"proxy_redirect\" directive is duplicate";
            return Err(Fault::new(reader.directive.place, message)
                .hint("\"off\" cannot be combined with other rules of the same block"));
        }
        self.0.extend(next.0);
        Ok(())
    }
}

impl Value for Redirect {
    const SYNTAX: &'static str = "default | off | redirect replacement";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        if args.len() == 1 {
            return match args[0].bytes.as_slice() {
                b"off" => Ok(Self::Off),
                b"default" => Ok(Self::Default),
                _ => Err(Fault::new(
                    args[0].place,
                    format!("invalid parameter \"{}\"", args[0].text()),
                )),
            };
        }
        let replacement = Template::compile(&args[1], reader.names)?;
        if let Some(pattern) = args[0].bytes.strip_prefix(b"~") {
            let (case, pattern) = match pattern.strip_prefix(b"*") {
                Some(pattern) => (Case::Insensitive, pattern),
                None => (Case::Sensitive, pattern),
            };
            let regex = Regex::compile(pattern, &args[0], case, reader.names)?;
            return Ok(Self::Pattern { regex, replacement });
        }
        let redirect = Template::compile(&args[0], reader.names)?;
        Ok(Self::Prefix { redirect, replacement })
    }
}

/// What can only be said of a statement when what stands before it in its block is known.
pub fn check(statement: &Statement, before: &Written) -> Vec<Fault> {
    if statement.name.is("proxy_next_upstream") {
        return NextUpstream::duplicates(&statement.args, before.proxy_next_upstream);
    }
    let default = statement.name.is("proxy_redirect")
        && matches!(statement.args.as_slice(), [word] if word.is("default"));
    // `off` before it is the greater fault.
    if !default || before.proxy_redirect.as_ref().is_some_and(Redirects::are_off) {
        return Vec::new();
    }
    let place = statement.name.place;
    match before.proxy_pass.as_ref().and_then(Option::as_ref) {
        None => vec![
            Fault::new(
                place,
                "\"proxy_redirect default\" should be placed after the \"proxy_pass\" directive",
            )
            .hint("it is the default anyway: the line can go"),
        ],
        Some(pass) if pass.template.constant().is_none() => vec![Fault::new(
            place,
            "\"proxy_redirect default\" cannot be used with \"proxy_pass\" directive with variables",
        )],
        Some(_) => Vec::new(),
    }
}

impl Redirects {
    fn are_off(&self) -> bool {
        self.0.iter().any(|redirect| matches!(redirect, Redirect::Off))
    }
}

/// Reasons to try the next server, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextUpstream(u32);

impl NextUpstream {
    pub const ERROR: u32 = 1;
    pub const TIMEOUT: u32 = 1 << 1;
    pub const INVALID_HEADER: u32 = 1 << 2;
    pub const NON_IDEMPOTENT: u32 = 1 << 3;
    pub const OFF: u32 = 1 << 4;
    /// A failure of this process, for which no other server is tried.
    pub const OWN: u32 = 1 << 12;
    const STATUSES: [(u16, u32); 7] = [
        (500, 1 << 5),
        (502, 1 << 6),
        (503, 1 << 7),
        (504, 1 << 8),
        (403, 1 << 9),
        (404, 1 << 10),
        (429, 1 << 11),
    ];

    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0 && self.0 & Self::OFF == 0
    }

    /// Whether an answer with this status goes to the next server.
    pub fn has_status(self, status: u16) -> bool {
        Self::STATUSES.iter().any(|(code, bit)| *code == status && self.has(*bit))
    }
}

impl Value for NextUpstream {
    const SYNTAX: &'static str = "error | timeout | invalid_header | http_500 | http_502 | http_503 \
                                  | http_504 | http_403 | http_404 | http_429 | non_idempotent | off ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut bits = 0;
        for word in args {
            let Some(bit) = Self::bit(word) else {
                let message = format!("invalid value \"{}\"", word.text());
                return Err(Fault::new(word.place, message).hint(format!(
                    "syntax: {} {}",
                    reader.directive.text(),
                    Self::SYNTAX
                )));
            };
            bits |= bit;
        }
        Ok(Self(bits))
    }

    /// As in nginx, a second line adds to the first.
    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        self.0 |= next.0;
        Ok(())
    }
}

impl NextUpstream {
    fn bit(word: &Word) -> Option<u32> {
        match &*word.text() {
            "error" => Some(Self::ERROR),
            "timeout" => Some(Self::TIMEOUT),
            "invalid_header" => Some(Self::INVALID_HEADER),
            "non_idempotent" => Some(Self::NON_IDEMPOTENT),
            "off" => Some(Self::OFF),
            // Meant for a cache, which is not built: harmless to accept.
            "updating" => Some(0),
            other => {
                let code = Number::parse(other.strip_prefix("http_")?.as_bytes())?;
                let known = |(status, _): &&(u16, u32)| u64::from(*status) == code;
                Self::STATUSES.iter().find(known).map(|(_, bit)| *bit)
            }
        }
    }

    /// Warnings for reasons that are given again.
    fn duplicates(args: &[Word], before: Option<Self>) -> Vec<Fault> {
        let mut seen = before.map_or(0, |before| before.0);
        let mut warnings = Vec::new();
        for word in args {
            let bit = Self::bit(word).unwrap_or(0);
            if bit != 0 && seen & bit == bit {
                let message = format!("duplicate value \"{}\"", word.text());
                warnings.push(Fault::warning(word.place, message));
            }
            seen |= bit;
        }
        warnings
    }
}
