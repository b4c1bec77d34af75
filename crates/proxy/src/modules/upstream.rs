//! The `upstream` block: a group of servers and the connections kept to them.

use crate::grammar::invalid_parameter;
use perdura_conf::{
    Arity, Each, Fault, Number, Reader, Seconds, Size, Template, Time, Value, Word, directives,
};

directives! {
    /// A server of the group: an address with an optional port, a name, or `unix:` and a path. A
    /// name is looked up when the configuration is read. After `max_fails` failures within
    /// `fail_timeout` it is left alone for `fail_timeout`; a `backup` serves only when all others
    /// are down.
    server: Each<Server> = "", in UPSTREAM;

    /// How many idle connections each thread keeps to the group; 0 keeps none. It bounds idle ones
    /// only, never those in use. `local` keeps them to the location that made them.
    keepalive: Keepalive = "32 local", in UPSTREAM;

    /// How many requests one kept connection may carry.
    keepalive_requests: Number = "1000", in UPSTREAM;

    /// How long one connection may be kept for requests.
    keepalive_time: Time = "1h", in UPSTREAM;

    /// How long an idle connection is kept.
    keepalive_timeout: Time = "60s", in UPSTREAM;

    /// Names the memory that the group's state is in. All threads share it in any case, and it
    /// outlasts a reload; the size is checked as nginx checks it, and otherwise without effect.
    zone: Option<Zone> = "", in UPSTREAM;

    /// Chooses the server with the fewest connections for its weight. A tunnel is a connection for
    /// as long as it lives, also after a reload or the death of a worker.
    "least_conn" method: Option<Method> = "", in UPSTREAM;
    => also {
        /// Sends a client to the same server each time, by the network of its IPv4 address (24 bits)
        /// or its IPv6 address.
        "ip_hash" method: "", 0..=0, in UPSTREAM;

        /// Sends the same key to the same server each time; with `consistent` few keys move when a
        /// server comes or goes.
        "hash" method: "key [consistent]", 1..=2, in UPSTREAM;

        /// Chooses by chance, weights obeyed; with `two` the less busy one of two.
        "random" method: "[two [least_conn]]", 0..=2, in UPSTREAM;
    }
}

/// How servers are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    LeastConn,
    IpHash,
    Hash(Template),
    Consistent(Template),
    Random,
    RandomTwo,
}

impl Value for Method {
    const SYNTAX: &'static str = "";
    const ARITY: Arity = Arity::NONE;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let invalid = |word: &Word| invalid_parameter(word);
        match &*reader.directive.text() {
            "ip_hash" => Ok(Self::IpHash),
            "hash" => {
                let key = Template::compile(&args[0], reader.names)?;
                match args.get(1) {
                    None => Ok(Self::Hash(key)),
                    Some(word) if word.is("consistent") => Ok(Self::Consistent(key)),
                    Some(word) => Err(invalid(word)),
                }
            }
            "random" => match args {
                [] => Ok(Self::Random),
                [two] if two.is("two") => Ok(Self::RandomTwo),
                [two, least] if two.is("two") && least.is("least_conn") => Ok(Self::RandomTwo),
                [two, other] if two.is("two") => Err(invalid(other)),
                [other, ..] => Err(invalid(other)),
            },
            _ => Ok(Self::LeastConn),
        }
    }

    /// The last one counts; whoever builds the group warns.
    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        *self = next;
        Ok(())
    }
}

/// `name [size]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub name: Word,
    pub bytes: Option<u64>,
}

/// The smallest zone: eight pages of memory.
const ZONE_BYTES_MIN: u64 = 8 * 4096;

impl Value for Zone {
    const SYNTAX: &'static str = "name [size]";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let name = args[0].clone();
        if name.bytes.is_empty() {
            return Err(Fault::new(name.place, "invalid zone name \"\""));
        }
        let Some(word) = args.get(1) else {
            return Ok(Self { name, bytes: None });
        };
        let invalid = || Fault::new(word.place, format!("invalid zone size \"{}\"", word.text()));
        let bytes = Size::parse(&word.bytes).ok_or_else(invalid)?;
        if bytes < ZONE_BYTES_MIN {
            let message = format!("zone \"{}\" is too small", name.text());
            return Err(Fault::new(name.place, message).hint("it must have at least 32k"));
        }
        Ok(Self { name, bytes: Some(bytes) })
    }

    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        *self = next;
        Ok(())
    }
}

/// One `server` line, before its name is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: Word,
    pub weight: u32,
    pub max_fails: u32,
    pub fail_timeout_ms: u64,
    /// Connections at a time; 0 is no limit.
    pub max_conns: u32,
    pub role: Role,
    pub down: bool,
}

/// Whether a server serves always or only when the others cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    Backup,
}

impl Value for Server {
    const SYNTAX: &'static str = "address [weight=number] [max_fails=number] [fail_timeout=time] \
                                  [max_conns=number] [backup] [down]";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut server = Server {
            address: args[0].clone(),
            weight: 1,
            max_fails: 1,
            fail_timeout_ms: 10_000,
            max_conns: 0,
            role: Role::Primary,
            down: false,
        };
        for word in &args[1..] {
            server.parameter(word)?;
        }
        Ok(server)
    }
}

impl Server {
    fn parameter(&mut self, word: &Word) -> Result<(), Fault> {
        let text = word.text();
        let invalid = || Fault::new(word.place, format!("invalid parameter \"{text}\""));
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        let limit = i32::MAX as u64;
        let number = || Number::parse(value.as_bytes()).map(|number| number.min(limit) as u32);
        match name {
            "weight" => {
                self.weight = number().filter(|weight| *weight > 0).ok_or_else(invalid)?;
            }
            "max_conns" => self.max_conns = number().ok_or_else(invalid)?,
            "max_fails" => self.max_fails = number().ok_or_else(invalid)?,
            "fail_timeout" => {
                self.fail_timeout_ms =
                    Seconds::parse(value.as_bytes()).ok_or_else(invalid)?.saturating_mul(1000);
            }
            "backup" if text == name => self.role = Role::Backup,
            "down" if text == name => self.down = true,
            "slow_start" | "resolve" | "route" | "service" | "drain" => {
                return Err(Fault::new(
                    word.place,
                    format!("\"{name}\" in \"server\" directive is not supported yet"),
                ));
            }
            _ => return Err(invalid()),
        }
        Ok(())
    }
}

/// `keepalive connections [local]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub connections: usize,
    pub local: bool,
}

/// Idle connections kept to one group by one thread, at most.
const KEEPALIVE_MAX: u64 = 65_535;

impl Value for Keepalive {
    const SYNTAX: &'static str = "connections [local]";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let connections = match Number::read(&args[..1], reader) {
            Ok(Number(number)) if number <= KEEPALIVE_MAX => number as usize,
            _ => return Err(reader.invalid(&args[0])),
        };
        let local = match args.get(1) {
            None => false,
            Some(word) if word.is("local") => true,
            Some(word) => {
                return Err(Fault::new(
                    word.place,
                    format!("invalid parameter \"{}\"", word.text()),
                ));
            }
        };
        Ok(Self { connections, local })
    }
}
