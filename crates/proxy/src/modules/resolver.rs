//! Which name servers are asked for names that are known only when a request comes.

use perdura_conf::{Arity, Fault, Reader, Time, Value, Word, directives};

directives! {
    /// Asks these name servers for names that a variable brings, as in `proxy_pass http://$host` and
    /// `tunnel_pass`. Several are asked in turn. Answers are kept as long as they say, or for
    /// `valid=`. `ipv4=off` and `ipv6=off` leave a family of addresses out. Without it such a
    /// request gets 502. A server should be on a network that can be trusted: an answer that
    /// somebody else forges sends requests elsewhere.
    resolver: Option<Servers> = "", in HTTP | SERVER | LOCATION;

    /// How long a request waits for a name before it gets 502.
    resolver_timeout: Time = "30s", in HTTP | SERVER | LOCATION;
}

/// The arguments of `resolver`, before the servers' own names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    pub addresses: Vec<Word>,
    pub valid_ms: Option<u64>,
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Value for Servers {
    const SYNTAX: &'static str = "address ... [valid=time] [ipv4=on|off] [ipv6=on|off]";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut servers = Self { addresses: Vec::new(), valid_ms: None, ipv4: true, ipv6: true };
        for word in args {
            let text = word.text();
            let invalid = || {
                Fault::new(word.place, format!("invalid parameter: {text}"))
                    .hint(format!("syntax: resolver {}", Self::SYNTAX))
            };
            match text.split_once('=') {
                Some(("valid", value)) => {
                    // nginx counts it in seconds.
                    let valid = perdura_conf::Seconds::parse(value.as_bytes());
                    let seconds = valid.ok_or_else(invalid)?;
                    servers.valid_ms = Some(seconds.saturating_mul(1000));
                }
                Some(("ipv4", value)) => servers.ipv4 = switch(value).ok_or_else(invalid)?,
                Some(("ipv6", value)) => servers.ipv6 = switch(value).ok_or_else(invalid)?,
                Some(("status_zone", _)) => {
                    let what = "the \"status_zone\" parameter is not supported yet";
                    return Err(Fault::new(word.place, what));
                }
                _ => servers.addresses.push(word.clone()),
            }
        }
        let place = reader.directive.place;
        if !servers.ipv4 && !servers.ipv6 {
            let message = "\"ipv4\" and \"ipv6\" cannot both be \"off\"";
            return Err(Fault::new(place, message));
        }
        if servers.addresses.is_empty() {
            return Err(Fault::new(place, "no name servers defined")
                .hint("write an address before the parameters: resolver 127.0.0.1 valid=30s"));
        }
        Ok(servers)
    }
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}
