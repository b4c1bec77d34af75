//! When a connection may become a tunnel, and how a half-closed one ends.

use perdura_conf::{Arity, Fault, Reader, Time, Value, Word, directives};

directives! {
    /// `strict` makes a tunnel only when both sides agreed to the same protocol; `compat` makes one
    /// as nginx does, whenever the upstream answers 101 to a request with an `Upgrade` field.
    upgrade_check: Check = "strict", in HTTP | SERVER | LOCATION;

    /// The protocols that may be upgraded to; `any` is every one but h2, h2c, HTTP/* and TLS/*.
    upgrade_protocols: Protocols = "any", in HTTP | SERVER | LOCATION;

    /// How long a tunnel that one side has closed may stay open without traffic.
    upgrade_fin_timeout: Time = "60s", in HTTP | SERVER | LOCATION;
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
    fn http_and_tls_never_travel() {
        for token in ["h2", "H2C", "HTTP/2.0", "tls/1.0", "TLS/1.3", "http"] {
            assert!(!Protocols::Any.allows(token.as_bytes()), "{token}");
        }
        for token in ["websocket", "WebSocket", "SPDY/3.1", "tcp", "h2x"] {
            assert!(Protocols::Any.allows(token.as_bytes()), "{token}");
        }
    }
}
