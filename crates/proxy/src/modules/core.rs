//! What nginx's `ngx_http_core_module` sets: limits, timeouts and habits of the client's side.

use crate::grammar::{Buffers, Presence, TempPath};
use perdura_conf::{
    Arity, Fault, Flag, Number, Offset, Reader, Seconds, Size, Statement, Template, Text, Time,
    Value, Word, directives,
};

directives! {
    /// The folder in which files are looked for.
    root: Template = "html", in HTTP | SERVER | LOCATION;

    /// The MIME type of files whose ending is in no `types` block.
    default_type: Text = "text/plain", in HTTP | SERVER | LOCATION;

    /// How long a write to the client may stand still.
    send_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// How long an idle connection is kept, and what the `Keep-Alive` header says.
    keepalive_timeout: KeepaliveTimeout = "75s", in HTTP | SERVER | LOCATION;

    /// How many requests one connection may bring.
    keepalive_requests: Number = "1000", in HTTP | SERVER | LOCATION;

    /// How long one connection may be kept for requests.
    keepalive_time: Time = "1h", in HTTP | SERVER | LOCATION;

    /// How long the head of a request may take, in all.
    client_header_timeout: Time = "60s", in HTTP | SERVER;

    /// How long the client may pause within a request's body.
    client_body_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// The largest body a request may have; 0 is no limit.
    client_max_body_size: Offset = "1m", in HTTP | SERVER | LOCATION;

    /// The first buffer for a request's head.
    client_header_buffer_size: Size = "1k", in HTTP | SERVER;

    /// How many larger buffers a head may use, and their size; one line must fit one buffer.
    large_client_header_buffers: Buffers = "4 8k", in HTTP | SERVER;

    /// How much of a body is kept in memory; the rest goes to a file.
    client_body_buffer_size: Size = "16k", in HTTP | SERVER | LOCATION;

    /// The folder for bodies that do not fit in memory.
    client_body_temp_path: TempPath = "client_body_temp", in HTTP | SERVER | LOCATION;

    /// Sends small packets at once (`TCP_NODELAY`).
    tcp_nodelay: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Whether the version shows in error pages and the `Server` field.
    server_tokens: Tokens = "on", in HTTP | SERVER | LOCATION;

    /// Accepts header names with underscores.
    underscores_in_headers: Flag = "off", in HTTP | SERVER;

    /// Drops header fields with invalid names instead of refusing the request.
    ignore_invalid_headers: Flag = "on", in HTTP | SERVER;

    /// Makes one slash of several in the path.
    merge_slashes: Flag = "on", in HTTP | SERVER;

    /// Redirects name scheme and host.
    absolute_redirect: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Redirects name the port.
    port_in_redirect: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Redirects name the first `server_name` instead of the request's host.
    server_name_in_redirect: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Pads error pages of 4xx and 5xx for browsers that hide short ones.
    msie_padding: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Logs files that were not found.
    log_not_found: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Only internal redirects reach this location.
    internal: Presence = "", in LOCATION;

    /// How long to wait for more of a request that is being thrown away.
    lingering_timeout: Time = "5s", in HTTP | SERVER | LOCATION;

    /// How long a request is thrown away at most.
    lingering_time: Time = "30s", in HTTP | SERVER | LOCATION;

    /// Closes connections that timed out with a reset.
    reset_timedout_connection: Flag = "off", in HTTP | SERVER | LOCATION;
}

/// What can only be said of a whole statement: `root` cannot depend on itself.
pub fn check(statement: &Statement) -> Option<Fault> {
    let word = statement.args.first().filter(|_| statement.name.is("root"))?;
    let variable = ["document_root", "realpath_root"].into_iter().find(|name| {
        let text = word.text();
        text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"))
    })?;
    let message = format!("the ${variable} variable cannot be used in the \"root\" directive");
    Some(Fault::new(word.place, message))
}

/// `timeout [header_timeout]` of `keepalive_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveTimeout {
    pub timeout_ms: u64,
    pub header_s: Option<u64>,
}

impl Value for KeepaliveTimeout {
    const SYNTAX: &'static str = "timeout [header_timeout]";
    const ARITY: Arity = Arity::between(1, 2);

    fn complete(&mut self, outer: &Self) {
        self.header_s = self.header_s.or(outer.header_s);
    }

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let timeout_ms =
            Time::parse(&args[0].bytes).ok_or_else(|| reader.directive_invalid(&args[0]))?;
        let header_s = match args.get(1) {
            None => None,
            Some(word) => {
                let header = Seconds::parse(&word.bytes);
                Some(header.ok_or_else(|| reader.directive_invalid(word))?)
            }
        };
        Ok(Self { timeout_ms, header_s })
    }
}

/// `on`, `off`, `build` or a text of one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    On,
    Off,
    Build,
}

impl Value for Tokens {
    const SYNTAX: &'static str = "on | off | build";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match args[0].bytes.to_ascii_lowercase().as_slice() {
            b"on" => Ok(Self::On),
            b"off" => Ok(Self::Off),
            b"build" => Ok(Self::Build),
            _ => Err(Fault::new(args[0].place, format!("invalid value \"{}\"", args[0].text()))
                .hint("it must be \"on\", \"off\" or \"build\"")),
        }
    }
}
