//! The value of `proxy_bind` and `tunnel_bind`: the address that connections to upstreams come from.

use super::invalid_parameter;
use crate::cidr::parse_address;
use perdura_conf::{Arity, Fault, Reader, Template, Value, Word};
use std::net::SocketAddr;

/// `address [transparent]`, or `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    Off,
    To { address: Template, transparent: bool },
}

impl Value for Bind {
    const SYNTAX: &'static str = "address [transparent] | off";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        if let [word] = args
            && word.is("off")
        {
            return Ok(Self::Off);
        }
        let transparent = match args.get(1) {
            None => false,
            Some(word) if word.is("transparent") => true,
            Some(word) => return Err(invalid_parameter(word)),
        };
        let address = Template::compile(&args[0], reader.names)?;
        if let Some(text) = address.constant()
            && Self::address(text).is_none()
        {
            let message = format!("invalid address \"{}\"", args[0].text());
            return Err(Fault::new(args[0].place, message));
        }
        Ok(Self::To { address, transparent })
    }
}

impl Bind {
    /// `address` or `address:port`; without a port the system chooses one.
    pub fn address(text: &[u8]) -> Option<SocketAddr> {
        let text = std::str::from_utf8(text).ok()?;
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let ip = parse_address(bare).map(|ip| SocketAddr::new(ip, 0));
        ip.or_else(|| text.parse().ok())
    }

    /// Whether connections may come from addresses of other machines.
    pub fn is_transparent(&self) -> bool {
        matches!(self, Self::To { transparent: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_come_from() {
        let text = |text: &str| Bind::address(text.as_bytes()).map(|address| address.to_string());
        assert_eq!(text("127.0.0.1").as_deref(), Some("127.0.0.1:0"));
        assert_eq!(text("127.0.0.1:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(text("[::1]").as_deref(), Some("[::1]:0"));
        assert_eq!(text("::1").as_deref(), Some("[::1]:0"));
        assert_eq!(text("localhost"), None);
    }
}
