//! The `upstream` block: a group of servers and the connections kept to them.

use perdura_conf::{Arity, Each, Fault, Number, Reader, Seconds, Time, Value, Word, directives};

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
}

/// One `server` line, before its name is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: Word,
    pub weight: u32,
    pub max_fails: u32,
    pub fail_timeout_ms: u64,
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
                                  [backup] [down]";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut server = Server {
            address: args[0].clone(),
            weight: 1,
            max_fails: 1,
            fail_timeout_ms: 10_000,
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
            "max_fails" => self.max_fails = number().ok_or_else(invalid)?,
            "fail_timeout" => {
                self.fail_timeout_ms =
                    Seconds::parse(value.as_bytes()).ok_or_else(invalid)?.saturating_mul(1000);
            }
            "backup" if text == name => self.role = Role::Backup,
            "down" if text == name => self.down = true,
            "max_conns" | "slow_start" | "resolve" | "route" | "service" | "drain" => {
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
