//! What belongs to one `server` block alone: its addresses and its names.

use perdura_conf::{Arity, Each, Fault, Number, Reader, Seconds, Size, Value, Word, directives};

directives! {
    /// An address, a port or a `unix:` path on which this server answers. Several servers may share
    /// an address: the name that the request asks for decides, and `default_server` (or the first
    /// in the file) answers for unknown names. Options of the socket may be given once for each
    /// address. Without any `listen`, port 80 is taken, or 8000 when not started by root.
    listen: Each<Listen> = "", in SERVER;

    /// The names of this server: exact, `*.example.com`, `.example.com`, `www.example.*` or a
    /// regular expression behind `~`.
    server_name: Each<Names> = "", in SERVER;
}

/// One `listen`, before its address is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: Word,
    pub default_server: bool,
    /// Connections speak TLS.
    pub ssl: bool,
    /// HTTP/2 was asked for, which is not spoken yet.
    pub http2: Option<Word>,
    pub backlog: Option<u32>,
    pub rcvbuf: Option<u64>,
    pub sndbuf: Option<u64>,
    pub ipv6only: Option<bool>,
    pub reuseport: bool,
    pub deferred: bool,
    /// The queue of TCP Fast Open.
    pub fastopen: Option<u32>,
    pub so_keepalive: Option<KeepaliveProbes>,
    /// A balancer in front tells the client's address.
    pub proxy_protocol: bool,
    /// Parameters that belong to the socket were given.
    pub socket_options: bool,
}

impl Value for Listen {
    const SYNTAX: &'static str = "address[:port] | port | unix:path [default_server] [ssl] [backlog=number] \
                                  [rcvbuf=size] [sndbuf=size] [ipv6only=on|off] [reuseport] [deferred] \
                                  [fastopen=number] [so_keepalive=on|off|idle:interval:count] \
                                  [bind] [proxy_protocol]";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut listen = Listen {
            address: args[0].clone(),
            default_server: false,
            ssl: false,
            http2: None,
            backlog: None,
            rcvbuf: None,
            sndbuf: None,
            ipv6only: None,
            reuseport: false,
            deferred: false,
            fastopen: None,
            so_keepalive: None,
            proxy_protocol: false,
            socket_options: false,
        };
        for word in &args[1..] {
            listen.parameter(word)?;
        }
        Ok(listen)
    }
}

impl Listen {
    fn parameter(&mut self, word: &Word) -> Result<(), Fault> {
        let text = word.text();
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        let invalid = |what: &str| Fault::new(word.place, format!("invalid {what} \"{text}\""));
        let bare = BARE.contains(&name);
        let valued = matches!(
            name,
            "backlog" | "rcvbuf" | "sndbuf" | "ipv6only" | "fastopen" | "so_keepalive"
        );
        if (bare && text != name) || (valued && text == name) {
            return Err(invalid("parameter"));
        }
        if !matches!(name, "default_server" | "default" | "proxy_protocol" | "ssl" | "http2") {
            self.socket_options = true;
        }
        match name {
            "default_server" | "default" => self.default_server = true,
            "ssl" => self.ssl = true,
            "backlog" => {
                let backlog = count(value).filter(|&backlog| backlog > 0);
                self.backlog = Some(backlog.ok_or_else(|| invalid("backlog"))?);
            }
            "rcvbuf" => {
                let size = Size::parse(value.as_bytes());
                self.rcvbuf = Some(size.ok_or_else(|| invalid("rcvbuf"))?);
            }
            "sndbuf" => {
                let size = Size::parse(value.as_bytes());
                self.sndbuf = Some(size.ok_or_else(|| invalid("sndbuf"))?);
            }
            "ipv6only" => {
                self.ipv6only = Some(match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(invalid("parameter")),
                });
            }
            "fastopen" => {
                self.fastopen = Some(count(value).ok_or_else(|| invalid("fastopen"))?);
            }
            "so_keepalive" => {
                self.so_keepalive = Some(KeepaliveProbes::parse(value).ok_or_else(|| {
                    let message = format!("invalid so_keepalive value: \"{value}\"");
                    Fault::new(word.place, message).hint("write on, off or idle:interval:count")
                })?);
            }
            "bind" => {}
            "reuseport" => self.reuseport = true,
            "deferred" => self.deferred = true,
            "proxy_protocol" => self.proxy_protocol = true,
            "http2" => self.http2 = Some(word.clone()),
            "quic" | "accept_filter" | "setfib" | "multipath" => {
                return Err(Fault::new(
                    word.place,
                    format!("the \"{name}\" parameter of \"listen\" is not supported yet"),
                ));
            }
            _ => return Err(invalid("parameter")),
        }
        Ok(())
    }
}

/// Parameters that take no value.
const BARE: [&str; 8] = [
    "default_server",
    "default",
    "bind",
    "reuseport",
    "deferred",
    "proxy_protocol",
    "ssl",
    "http2",
];

/// A number that the system takes.
fn count(text: &str) -> Option<u32> {
    let number = i32::try_from(Number::parse(text.as_bytes())?).ok()?;
    u32::try_from(number).ok()
}

/// `so_keepalive=on|off|[idle]:[interval]:[count]`; what is left out is the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepaliveProbes {
    Off,
    On { idle_s: Option<u64>, interval_s: Option<u64>, count: Option<u64> },
}

impl KeepaliveProbes {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "on" => return Some(Self::On { idle_s: None, interval_s: None, count: None }),
            "off" => return Some(Self::Off),
            _ => {}
        }
        let mut parts = text.split(':');
        let mut part = |read: fn(&[u8]) -> Option<u64>| match parts.next() {
            None | Some("") => Some(None),
            Some(text) => read(text.as_bytes()).map(Some),
        };
        let on = Self::On {
            idle_s: part(Seconds::parse)?,
            interval_s: part(Seconds::parse)?,
            count: part(Number::parse)?,
        };
        let nothing = Self::On { idle_s: None, interval_s: None, count: None };
        (parts.next().is_none() && on != nothing && text.contains(':')).then_some(on)
    }
}

/// The words of one `server_name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<Word>);

impl Value for Names {
    const SYNTAX: &'static str = "name ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self(args.to_vec()))
    }
}
