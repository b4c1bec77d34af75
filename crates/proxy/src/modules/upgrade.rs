//! When a connection may become a tunnel, and how a half-closed one ends.

use perdura_conf::{Arity, Fault, Flag, Number, Reader, Time, Value, Word, directives};

directives! {
    /// `strict` makes a tunnel only when both sides agreed to the same protocol; `compat` makes one
    /// as nginx does, whenever the upstream answers 101 to a request with an `Upgrade` field.
    upgrade_check: Check = "strict", in HTTP | SERVER | LOCATION;

    /// The protocols that may be upgraded to; `any` is every one but h2, h2c, HTTP/* and TLS/*.
    upgrade_protocols: Protocols = "any", in HTTP | SERVER | LOCATION;

    /// How long a tunnel that one side has closed may stay open without traffic.
    upgrade_fin_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// Whether tunnels with TLS survive the worker. Then their keys lie in memory that the worker
    /// shares with the master and its own successors; whoever can read that can read the tunnel.
    /// `off` keeps them in the worker's own memory: such tunnels end when it dies (`keys-lost` in
    /// the log), and stay with the old program in an upgrade. Keys of a tunnel that has ended are
    /// wiped either way, and are in no core dump.
    ssl_tunnel_survive: Flag = "on", in HTTP | SERVER | LOCATION;

    /// How a graceful end takes leave of tunnels: within the window, no more than `rate` in a
    /// second, each with a WebSocket Close frame of this code to both sides, then FIN, then RST.
    /// The code is 1012 (service restart) when another program serves on, as after an upgrade, and
    /// 1001 (going away) otherwise. Without it, a graceful end waits for the tunnels.
    upgrade_drain: Option<Drain> = "", in HTTP;
}

/// `window=time [code=number] [rate=number]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub window_ms: u64,
    /// RFC 6455, 7.4.1. `None` is `GOING_AWAY` or `SERVICE_RESTART`, whichever is true.
    pub code: Option<u16>,
    /// Tunnels in a second at most; 0 is no limit.
    pub rate: u32,
}

/// What a Close frame says when nothing else is written: the endpoint goes away.
pub const GOING_AWAY: u16 = 1001;

/// The same when it is worth to come back at once: the service restarts (IANA's registry of
/// WebSocket close codes).
pub const SERVICE_RESTART: u16 = 1012;

impl Value for Drain {
    const SYNTAX: &'static str = "window=time [code=number] [rate=number]";
    const ARITY: Arity = Arity::between(1, 3);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut window_ms = None;
        let mut drain = Self { window_ms: 0, code: None, rate: 0 };
        for word in args {
            let invalid = |hint| {
                Fault::new(word.place, format!("invalid parameter \"{}\"", word.text())).hint(hint)
            };
            let text = word.text();
            match text.split_once('=') {
                Some(("window", value)) => {
                    window_ms = Some(
                        Time::parse(value.as_bytes())
                            .ok_or_else(|| invalid("a window is a time: window=30s"))?,
                    );
                }
                Some(("code", value)) => {
                    drain.code = Some(close_code(value).ok_or_else(|| {
                        invalid("a code that a Close frame may have: 1001, 1012, 4000")
                    })?);
                }
                Some(("rate", value)) => {
                    drain.rate = Number::parse(value.as_bytes())
                        .and_then(|number| u32::try_from(number).ok())
                        .filter(|rate| *rate > 0)
                        .ok_or_else(|| invalid("so many tunnels a second: rate=500"))?;
                }
                _ => return Err(invalid("there are window=, code= and rate=")),
            }
        }
        drain.window_ms = window_ms.ok_or_else(|| {
            let message = format!("\"{}\" needs a window", reader.directive.text());
            Fault::new(reader.directive.place, message).hint("write window=30s")
        })?;
        Ok(drain)
    }
}

/// The codes that may be sent (RFC 6455, 7.4.1 and 7.4.2, and the registry that it founds).
fn close_code(text: &str) -> Option<u16> {
    let code = Number::parse(text.as_bytes()).and_then(|number| u16::try_from(number).ok())?;
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(code)
}

/// How closely a switch of protocols is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Strict,
    Compat,
}

impl Value for Check {
    const SYNTAX: &'static str = "strict | compat";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match args[0].bytes.as_slice() {
            b"strict" => Ok(Self::Strict),
            b"compat" => Ok(Self::Compat),
            _ => {
                let mut fault = reader.invalid(&args[0]);
                fault.message.push_str(", it must be \"strict\" or \"compat\"");
                Err(fault)
            }
        }
    }
}

/// Which tokens of `Upgrade` may travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocols {
    Any,
    Of(Vec<Vec<u8>>),
}

impl Protocols {
    /// Whether `token` may be offered to an upstream. HTTP/2 and TLS never may: a proxy that does
    /// not speak them would become a tunnel around its own rules.
    pub fn allows(&self, token: &[u8]) -> bool {
        let name = token.split(|&byte| byte == b'/').next().unwrap_or_default();
        let banned = [&b"h2"[..], b"h2c", b"http", b"tls"];
        if banned.iter().any(|word| name.eq_ignore_ascii_case(word)) {
            return false;
        }
        match self {
            Self::Any => true,
            Self::Of(list) => list.iter().any(|allowed| allowed.eq_ignore_ascii_case(token)),
        }
    }
}

impl Value for Protocols {
    const SYNTAX: &'static str = "any | protocol ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        if args.len() == 1 && args[0].is("any") {
            return Ok(Self::Any);
        }
        for word in args {
            let probe = Self::Any;
            if !probe.allows(&word.bytes) {
                return Err(Fault::new(
                    word.place,
                    format!("protocol \"{}\" cannot be upgraded to", word.text()),
                )
                .hint("h2, h2c, HTTP/* and TLS/* would carry requests past this proxy's rules"));
            }
        }
        Ok(Self::Of(args.iter().map(|word| word.bytes.clone()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_has_a_code_that_may_be_sent() {
        for (text, code) in [("1001", Some(1001)), ("1012", Some(1012)), ("4999", Some(4999))] {
            assert_eq!(close_code(text), code);
        }
        for text in ["1004", "1005", "1006", "1015", "999", "2999", "5000", "70000", "", "x"] {
            assert_eq!(close_code(text), None, "{text}");
        }
    }

    #[test]
    fn http_and_tls_never_travel() {
        for token in ["h2", "H2C", "HTTP/2.0", "tls/1.0", "TLS/1.3", "http"] {
            assert!(!Protocols::Any.allows(token.as_bytes()), "{token}");
        }
        for token in ["websocket", "WebSocket", "SPDY/3.1", "tcp", "h2x"] {
            assert!(Protocols::Any.allows(token.as_bytes()), "{token}");
        }
    }
}
