//! What nginx's `ngx_http_core_module` sets: limits, timeouts and habits of the client's side.

use crate::grammar::{Buffers, ComputedSize, Presence, TempPath};
use perdura_conf::{
    Arity, Fault, Flag, Number, Offset, Reader, Seconds, Size, Statement, Template, Text, Time,
    Value, Word, choice, directives,
};

directives! {
    /// The folder in which files are looked for: the whole path of the request is appended to it. A
    /// relative one is below the prefix (`-p`). It may hold variables.
    root: Template = "html", in HTTP | SERVER | LOCATION | LOCATION_IF;

    /// What stands for the location's name in paths of files: `location /i/ { alias /srv/images/; }`.
    /// In a location that is a pattern it is the whole path of the file, with captures. It may hold
    /// variables.
    alias: Option<Alias> = "", in LOCATION;

    /// Whether files are sent with an `ETag`, made of their time and size.
    etag: Flag = "on", in HTTP | SERVER | LOCATION;

    /// When a file counts as unchanged for `If-Modified-Since`: `exact`, when the times are equal;
    /// `before`, when the file is not newer; `off`, never.
    if_modified_since: Since = "exact", in HTTP | SERVER | LOCATION;

    /// The MIME type of files whose ending no `types` block names, and of `return` with a text.
    default_type: Text = "text/plain", in HTTP | SERVER | LOCATION;

    /// How long a client may take nothing of what is sent to it before its connection is closed. It
    /// is the pause between two writes, not the time of the whole response; a tunnel obeys it too.
    send_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// How long a connection without a request is kept; 0 closes it after each response. The second
    /// value, when given, is only what the `Keep-Alive` field tells the client.
    keepalive_timeout: KeepaliveTimeout = "75s", in HTTP | SERVER | LOCATION;

    /// How many requests one connection may bring before it is closed; behind the last one the
    /// client is told so.
    keepalive_requests: Number = "1000", in HTTP | SERVER | LOCATION;

    /// How long one connection may go on bringing requests; it is closed behind the response that
    /// passes this age.
    keepalive_time: Time = "1h", in HTTP | SERVER | LOCATION;

    /// How long the head of a request may take in all, from its first byte on. A slower client gets
    /// 408.
    client_header_timeout: Time = "60s", in HTTP | SERVER;

    /// How long the client may pause within a request's body. A slower one gets 408. It is the
    /// pause between two reads, not the time of the whole body.
    client_body_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// The largest body a request may have; a larger one gets 413. 0 is no limit. It says nothing
    /// of what goes through a tunnel.
    client_max_body_size: Offset = "1m", in HTTP | SERVER | LOCATION;

    /// The first buffer for a request's head. It is enough for most; longer heads go on in
    /// `large_client_header_buffers`.
    client_header_buffer_size: Size = "1k", in HTTP | SERVER;

    /// How many larger buffers a head may use, and their size. One line must fit one buffer: a
    /// longer request line gets 414, a longer field 400, and so does a head that needs more
    /// buffers.
    large_client_header_buffers: Buffers = "4 8k", in HTTP | SERVER;

    /// How much of a request's body is kept in memory; a larger body goes to a file in
    /// `client_body_temp_path`.
    client_body_buffer_size: Size = "16k", in HTTP | SERVER | LOCATION;

    /// The folder for bodies that do not fit in `client_body_buffer_size`. It is made when it is
    /// missing; levels of folders are accepted and not used, because files have no names there.
    client_body_temp_path: TempPath = "client_body_temp", in HTTP | SERVER | LOCATION;

    /// Sends small packets of a tunnel at once (`TCP_NODELAY`). Off saves packets and may cost some
    /// 40 ms for each small message. Outside of tunnels packets are never held back.
    tcp_nodelay: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Whether the version shows in error pages and the `Server` field; off leaves the bare name,
    /// and `build` means the same as on.
    server_tokens: Tokens = "on", in HTTP | SERVER | LOCATION;

    /// Accepts field names with underscores. When it is off such fields count as invalid, which
    /// `ignore_invalid_headers` decides about.
    underscores_in_headers: Flag = "off", in HTTP | SERVER;

    /// Drops fields with invalid names and goes on; off passes them to the upstream as they are.
    ignore_invalid_headers: Flag = "on", in HTTP | SERVER;

    /// Makes one slash of several in the path before locations are looked up. Off is for upstreams
    /// whose paths need them.
    merge_slashes: Flag = "on", in HTTP | SERVER;

    /// Redirects made here name scheme and host; off leaves the path alone in `Location`.
    absolute_redirect: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Redirects made here name the port that the request came to. Off is for a server behind
    /// another that listens elsewhere.
    port_in_redirect: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Redirects made here name the first `server_name` instead of the host that the request named.
    server_name_in_redirect: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Pads the built-in pages of 4xx and 5xx to 512 bytes for old browsers that hide shorter ones.
    msie_padding: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Writes a line to the error log for each file that was not found.
    log_not_found: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Only internal redirects (`error_page`, `index`) reach this location; to requests from
    /// outside it answers 404.
    internal: Presence = "", in LOCATION;

    /// How long to wait for more of a body that nobody wants, before the connection is closed.
    /// Closing at once would reset the connection and lose the response.
    lingering_timeout: Time = "5s", in HTTP | SERVER | LOCATION;

    /// How long a body that nobody wants is read and thrown away, at most.
    lingering_time: Time = "30s", in HTTP | SERVER | LOCATION;

    /// Closes connections that timed out with a reset, so that the system keeps nothing of them.
    reset_timedout_connection: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Whether a request must satisfy all of `allow`/`deny`, `auth_basic` and `auth_request`, or any
    /// one of them.
    satisfy: Satisfy = "all", in HTTP | SERVER | LOCATION;

    /// Holds 401 back for so long, so that passwords cannot be tried quickly.
    auth_delay: Time = "0s", in HTTP | SERVER | LOCATION;

    /// How many bytes of a response a client gets in a second; 0 is no limit. It holds for one
    /// request, so a client with several connections gets several times as much, and says nothing of
    /// tunnels. It may hold variables.
    limit_rate: ComputedSize = "0", in HTTP | SERVER | LOCATION | LOCATION_IF;

    /// How many bytes of a response go at full speed before `limit_rate` begins.
    limit_rate_after: ComputedSize = "0", in HTTP | SERVER | LOCATION | LOCATION_IF;
}

choice! {
    /// Which guards must let a request in.
    pub enum Satisfy { All = "all", Any = "any" }
}

/// What can only be said of a whole statement: `root` and `alias` cannot depend on themselves, and
/// only one of them can be had.
pub fn check(statement: &Statement, before: &Written) -> Option<Fault> {
    let is_path = statement.name.is("root") || statement.name.is("alias");
    let word = statement.args.first().filter(|_| is_path)?;
    let name = statement.name.text();
    for (other, is_there) in [("alias", before.alias.is_some()), ("root", before.root.is_some())] {
        if is_there && !statement.name.is(other) {
            let place = statement.name.place;
            return Some(Fault::new(
                place,
                format!(
                    "\"{name}\" directive is duplicate, \"{other}\" directive was specified earlier"
                ),
            ));
        }
    }
    let variable = ["document_root", "realpath_root"].into_iter().find(|name| {
        let text = word.text();
        text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"))
    })?;
    let message = format!("the ${variable} variable cannot be used in the \"{name}\" directive");
    Some(Fault::new(word.place, message))
}

/// The path of `alias`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias(pub Template);

impl Value for Alias {
    const SYNTAX: &'static str = "path";
    const ARITY: Arity = Arity::exactly(1);
    // It stands for the name of its own location. What is inside has it from there.
    const INHERITS: bool = false;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Template::compile(&args[0], reader.names).map(Self)
    }
}

perdura_conf::choice! {
    /// What `if_modified_since` compares.
    pub enum Since { Off = "off", Exact = "exact", Before = "before" }
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
