//! What belongs to one `server` block alone: its addresses and its names.

use perdura_conf::{Arity, Each, Fault, Number, Reader, Size, Value, Word, directives};

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
    pub backlog: Option<u32>,
    pub rcvbuf: Option<u64>,
    pub sndbuf: Option<u64>,
    pub ipv6only: Option<bool>,
    pub reuseport: bool,
    pub deferred: bool,
    /// A balancer in front tells the client's address.
    pub proxy_protocol: bool,
    /// Parameters that belong to the socket were given.
    pub socket_options: bool,
}

impl Value for Listen {
    const SYNTAX: &'static str = "address[:port] | port | unix:path [default_server] [ssl] [backlog=number] \
                                  [rcvbuf=size] [sndbuf=size] [ipv6only=on|off] [reuseport] [deferred] \
                                  [bind] [proxy_protocol]";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut listen = Listen {
            address: args[0].clone(),
            default_server: false,
            ssl: false,
            backlog: None,
            rcvbuf: None,
            sndbuf: None,
            ipv6only: None,
            reuseport: false,
            deferred: false,
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
        let bare = matches!(
            name,
            "default_server"
                | "default"
                | "bind"
                | "reuseport"
                | "deferred"
                | "proxy_protocol"
                | "ssl"
        );
        let valued = matches!(name, "backlog" | "rcvbuf" | "sndbuf" | "ipv6only");
        if (bare && text != name) || (valued && text == name) {
            return Err(invalid("parameter"));
        }
        if !matches!(name, "default_server" | "default" | "proxy_protocol" | "ssl") {
            self.socket_options = true;
        }
        match name {
            "default_server" | "default" => self.default_server = true,
            "bind" => {}
            "ssl" => self.ssl = true,
            "backlog" => {
                let backlog = Number::parse(value.as_bytes()).filter(|&backlog| backlog > 0);
                let backlog = backlog.and_then(|backlog| i32::try_from(backlog).ok());
                self.backlog = Some(backlog.ok_or_else(|| invalid("backlog"))? as u32);
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
            "reuseport" => self.reuseport = true,
            "deferred" => self.deferred = true,
            "proxy_protocol" => self.proxy_protocol = true,
            "http2" | "quic" | "so_keepalive" | "fastopen" | "accept_filter" | "setfib"
            | "multipath" => {
                return Err(Fault::new(
                    word.place,
                    format!("the \"{name}\" parameter of \"listen\" is not supported yet"),
                ));
            }
            _ => {
                return Err(invalid("parameter"));
            }
        }
        Ok(())
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
