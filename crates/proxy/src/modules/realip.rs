//! The client's own address, when a trusted proxy in front tells it.

use crate::cidr::{Cidr, Read};
use crate::grammar::low_bits;
use perdura_conf::{Arity, Each, Fault, Flag, Reader, Statement, Value, Word, directives};

directives! {
    /// Trusts what these addresses say of their clients: an address, a network, a name (looked up
    /// when the configuration is read) or `unix:`. From anybody else the field is not believed.
    set_real_ip_from: Each<Trusted> = "", in HTTP | SERVER | LOCATION;

    /// Where the client's address stands: a field, or `proxy_protocol`. The last address of the
    /// field counts.
    real_ip_header: Source = "X-Real-IP", in HTTP | SERVER | LOCATION;

    /// Goes on from the last address of the field to the one before it for as long as they are
    /// trusted ones.
    real_ip_recursive: Flag = "off", in HTTP | SERVER | LOCATION;
}

/// One `set_real_ip_from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    Unix,
    Networks(Vec<Cidr>),
    /// A name that is not looked up yet.
    Name(Word),
}

impl Value for Trusted {
    const SYNTAX: &'static str = "address | CIDR | unix:";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let text = args[0].text();
        if text == "unix:" {
            return Ok(Self::Unix);
        }
        Ok(match Cidr::read(&text) {
            Read::Network(network) | Read::LowBits(network) => Self::Networks(vec![network]),
            Read::Nothing => Self::Name(args[0].clone()),
        })
    }
}

/// Where the address stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A field, in lower case.
    Field(String),
    ForwardedFor,
    ProxyProtocol,
}

impl Value for Source {
    const SYNTAX: &'static str = "field | X-Real-IP | X-Forwarded-For | proxy_protocol";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let text = args[0].text();
        Ok(match &*text {
            "proxy_protocol" => Self::ProxyProtocol,
            field if field.eq_ignore_ascii_case("x-forwarded-for") => Self::ForwardedFor,
            field => Self::Field(field.to_ascii_lowercase()),
        })
    }
}

/// Warns of bits that say nothing.
pub fn check(statement: &Statement) -> Option<Fault> {
    let concerned = statement.name.is("set_real_ip_from");
    statement.args.first().filter(|_| concerned).and_then(low_bits)
}
