//! CONNECT: a client asks for a tunnel to a server that it names, and gets one where `tunnel_pass`
//! stands.
//!
//! ```text
//! server {
//!     listen 3128;
//!     resolver 127.0.0.1;
//!     tunnel_pass;
//! }
//! ```

use crate::cidr::{Cidr, Read};
use crate::grammar::Bind;
use crate::guard::{Rule, To};
use perdura_conf::{
    Arity, Each, Fault, Flag, Number, Reader, Size, Template, Time, Value, Word, directives,
};
use std::ops::RangeInclusive;

directives! {
    /// Answers CONNECT with a tunnel to this address or group, to the client's own target
    /// (`$host:$request_port`) when none is given. It stands for its own block only: a `location /`
    /// takes precedence over the server's. Where a server has none at all, CONNECT gets 405; so do
    /// other methods where it stands. Who may use it is for the rules of access to say.
    tunnel_pass: Option<Pass> = "", in SERVER | LOCATION | LOCATION_IF;

    /// Refuses with 403 what a client should not reach through here: addresses that are not on the
    /// public network, this proxy itself, and ports other than 443 and 563. Names are judged by
    /// the addresses that they turn out to have. An address or group that `tunnel_pass` itself
    /// names is not judged. Off is nginx's behaviour: everything that this machine can reach.
    tunnel_guard: Flag = "on", in HTTP | SERVER | LOCATION;

    /// Lets clients reach what `tunnel_guard` refuses: a network (on the usual ports, or on those
    /// that are given), `all`, or further ports of the public network when only ports are given.
    /// This proxy's own listeners are reached by address and port only. A block that has one does
    /// not inherit the outer block's.
    tunnel_allow_upstream: Each<Rule> = "", in HTTP | SERVER | LOCATION;

    /// Refuses these with 403, whatever else allows them and also without `tunnel_guard`: a network,
    /// `all`, or ports.
    tunnel_deny_upstream: Each<Rule> = "", in HTTP | SERVER | LOCATION;

    /// How long the connection to the upstream may take to be made. Then the next address is tried,
    /// or the request gets 504.
    tunnel_connect_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// How long the upstream may take nothing of what is sent to it.
    tunnel_send_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// How long both sides of a tunnel together may be silent.
    tunnel_read_timeout: Time = "60s", in HTTP | SERVER | LOCATION;

    /// When the next address or server of the group is tried: the connection failed, or took too
    /// long.
    tunnel_next_upstream: NextUpstream = "error timeout", in HTTP | SERVER | LOCATION;

    /// How many addresses are tried; 0 is all.
    tunnel_next_upstream_tries: Number = "0", in HTTP | SERVER | LOCATION;

    /// How long addresses are tried; 0 is without limit.
    tunnel_next_upstream_timeout: Time = "0", in HTTP | SERVER | LOCATION;

    /// The address that connections to upstreams come from; it may hold variables. `off` takes back
    /// the outer block's. With `transparent` it may be another machine's, such as the client's
    /// (`$remote_addr`), if the system's routes lead the answers back here.
    tunnel_bind: Bind = "off", in HTTP | SERVER | LOCATION;

    /// Lets the system probe idle connections to the upstream (`SO_KEEPALIVE`).
    tunnel_socket_keepalive: Flag = "off", in HTTP | SERVER | LOCATION;

    /// The size of the system's buffer for what comes from the upstream (`SO_RCVBUF`).
    tunnel_socket_rcvbuf: Option<Size> = "", in HTTP | SERVER | LOCATION;

    /// The size of the system's buffer for what is sent to the upstream (`SO_SNDBUF`).
    tunnel_socket_sndbuf: Option<Size> = "", in HTTP | SERVER | LOCATION;
}

/// The target of `tunnel_pass` when it names none.
const CLIENTS_OWN: &[u8] = b"$host:$request_port";

/// The argument of `tunnel_pass`, before its group is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub word: Word,
    pub template: Template,
}

impl Value for Pass {
    const SYNTAX: &'static str = "[address]";
    const ARITY: Arity = Arity::between(0, 1);
    const INHERITS: bool = false;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let word = match args.first() {
            Some(word) => word.clone(),
            None => Word { bytes: CLIENTS_OWN.to_vec(), place: reader.directive.place },
        };
        let template = Template::compile(&word, reader.names)?;
        Ok(Self { word, template })
    }
}

impl Value for Rule {
    const SYNTAX: &'static str = "[address | CIDR | all] [port=number[-number],...]";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut rule = Rule { to: To::Usual, ports: Vec::new() };
        for (index, word) in args.iter().enumerate() {
            let text = word.text();
            let invalid = || {
                Fault::new(word.place, format!("invalid parameter \"{text}\"")).hint(
                    "such as: 192.168.0.0/16, 10.0.0.5 port=22, all port=443, port=80,8000-8010",
                )
            };
            match text.strip_prefix("port=") {
                Some(list) if rule.ports.is_empty() => {
                    rule.ports = ports(list).ok_or_else(invalid)?;
                }
                None if index == 0 && &*text == "all" => rule.to = To::All,
                None if index == 0 => {
                    rule.to = match Cidr::read(&text) {
                        Read::Network(network) => To::Network(network),
                        Read::LowBits(_) => {
                            let message = format!("low address bits of {text} are meaningless");
                            return Err(Fault::new(word.place, message));
                        }
                        Read::Nothing => return Err(invalid()),
                    };
                }
                _ => return Err(invalid()),
            }
        }
        Ok(rule)
    }
}

/// `80,8000-8010`.
fn ports(list: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let one = |text: &str| {
        let number = Number::parse(text.as_bytes())?;
        u16::try_from(number).ok().filter(|port| *port > 0)
    };
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => Some(one(first)?..=one(last)?).filter(|range| !range.is_empty()),
        None => one(text).map(|port| port..=port),
    };
    list.split(',').map(range).collect()
}

/// Reasons to try the next address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NextUpstream {
    pub on_error: bool,
    pub on_timeout: bool,
    /// It takes back the others, wherever it stands.
    is_off: bool,
}

impl NextUpstream {
    pub fn has_error(self) -> bool {
        self.on_error && !self.is_off
    }

    pub fn has_timeout(self) -> bool {
        self.on_timeout && !self.is_off
    }
}

impl Value for NextUpstream {
    const SYNTAX: &'static str = "error | timeout | off ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut next = Self::default();
        for word in args {
            match word.bytes.as_slice() {
                b"error" => next.on_error = true,
                b"timeout" => next.on_timeout = true,
                b"off" => next.is_off = true,
                _ => {
                    let message = format!("invalid value \"{}\"", word.text());
                    return Err(Fault::new(word.place, message).hint(format!(
                        "syntax: {} {}",
                        reader.directive.text(),
                        Self::SYNTAX
                    )));
                }
            }
        }
        Ok(next)
    }

    /// As in nginx, a second line adds to the first.
    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        self.on_error |= next.on_error;
        self.on_timeout |= next.on_timeout;
        self.is_off |= next.is_off;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_and_ranges() {
        assert_eq!(ports("80"), Some(vec![80..=80]));
        assert_eq!(ports("80,8000-8010"), Some(vec![80..=80, 8000..=8010]));
        assert_eq!(ports("1-65535"), Some(vec![1..=65535]));
        for text in ["", "0", "65536", "80,", "9-8", "a", "-1", "+80", "1-2-3"] {
            assert_eq!(ports(text), None, "{text:?}");
        }
    }
}
