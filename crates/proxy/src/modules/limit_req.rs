//! How many requests may come in a time for one key: a bucket that leaks.

use crate::grammar::{RefusalLevel, RefusalStatus, ZoneText, invalid_parameter, zone_again};
use perdura_conf::{
    Arity, Each, Fault, Flag, Number, Reader, Statement, Template, Value, Word, directives,
};

directives! {
    /// A zone that measures the rate of requests for each value of the key. It outlasts a reload.
    limit_req_zone: Each<Zone> = "", in HTTP;

    /// Slows down requests that come faster than the zone's rate, and refuses those that are more
    /// than `burst` too fast. `nodelay` lets the burst through at once, `delay=` a part of it.
    /// Several may stand in one block; a block that has one does not inherit the outer block's.
    limit_req: Each<Limit> = "", in HTTP | SERVER | LOCATION;

    /// The level of the line about a refused request; that about a slowed one is one level lower.
    limit_req_log_level: RefusalLevel = "error", in HTTP | SERVER | LOCATION;

    /// The status that a refused request gets.
    limit_req_status: RefusalStatus = "503", in HTTP | SERVER | LOCATION;

    /// Measures and logs, but neither slows nor refuses.
    limit_req_dry_run: Flag = "off", in HTTP | SERVER | LOCATION;
}

/// One `limit_req_zone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub name: String,
    pub bytes: u64,
    /// Thousandths of a request in a second.
    pub rate: u64,
    pub key: Template,
    pub key_text: Vec<u8>,
    pub place: perdura_conf::Place,
}

impl Value for Zone {
    const SYNTAX: &'static str = "key zone=name:size rate=rate";
    const ARITY: Arity = Arity::exactly(3);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let key = Template::compile(&args[0], reader.names)?;
        let (mut zone, mut rate) = (None, 1000);
        for word in &args[1..] {
            if let Some(read) = ZoneText::read(word, reader.directive)? {
                zone = Some(read);
            } else if let Some(text) = word.bytes.strip_prefix(b"rate=") {
                rate = read_rate(text).ok_or_else(|| {
                    Fault::new(word.place, format!("invalid rate \"{}\"", word.text()))
                        .hint("write a number and \"r/s\" or \"r/m\"")
                })?;
            } else {
                return Err(invalid_parameter(word));
            }
        }
        let Some(zone) = zone else {
            let message = "\"limit_req_zone\" must have \"zone\" parameter";
            return Err(Fault::new(reader.directive.place, message));
        };
        Ok(Self {
            name: zone.name,
            bytes: zone.bytes,
            rate,
            key,
            key_text: args[0].bytes.clone(),
            place: reader.directive.place,
        })
    }
}

/// Thousandths of a request in a second.
fn read_rate(text: &[u8]) -> Option<u64> {
    let (digits, seconds) = match text {
        [digits @ .., b'r', b'/', b's'] => (digits, 1),
        [digits @ .., b'r', b'/', b'm'] => (digits, 60),
        digits => (digits, 1),
    };
    let rate = Number::parse(digits).filter(|&rate| rate > 0)?;
    rate.checked_mul(1000).map(|rate| rate / seconds)
}

/// One `limit_req`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub zone: Word,
    /// Thousandths of a request.
    pub burst: u64,
    pub delay: u64,
}

impl Value for Limit {
    const SYNTAX: &'static str = "zone=name [burst=number] [nodelay | delay=number]";
    const ARITY: Arity = Arity::between(1, 3);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut zone = None;
        let (mut burst, mut delay) = (0, 0);
        for word in args {
            let number = |text: &[u8], what: &str| {
                let number = Number::parse(text).filter(|&number| number > 0);
                let number = number.and_then(|number| number.checked_mul(1000));
                number.ok_or_else(|| {
                    Fault::new(word.place, format!("invalid {what} value \"{}\"", word.text()))
                })
            };
            match word.bytes.as_slice() {
                [b'z', b'o', b'n', b'e', b'=', name @ ..] => {
                    zone = Some(Word { bytes: name.to_vec(), place: word.place });
                }
                [b'b', b'u', b'r', b's', b't', b'=', text @ ..] => burst = number(text, "burst")?,
                [b'd', b'e', b'l', b'a', b'y', b'=', text @ ..] => delay = number(text, "delay")?,
                b"nodelay" => delay = u64::MAX,
                _ => return Err(invalid_parameter(word)),
            }
        }
        let Some(zone) = zone else {
            let message = "\"limit_req\" must have \"zone\" parameter";
            return Err(Fault::new(reader.directive.place, message));
        };
        Ok(Self { zone, burst, delay })
    }
}

/// What can only be said when what stands before in the block is known.
pub fn check(statement: &Statement, before: &Written) -> Option<Fault> {
    if statement.name.is("limit_req") {
        let zone = statement.args.iter().find_map(|word| word.bytes.strip_prefix(b"zone="))?;
        let same = |limit: &Limit| limit.zone.bytes == zone;
        let twice = before.limit_req.iter().flat_map(|each| &each.0).any(same);
        let message = "\"limit_req\" directive is duplicate";
        return twice.then(|| {
            Fault::new(statement.name.place, message).hint("the zone has a limit in this block")
        });
    }
    let zones = before.limit_req_zone.as_ref().filter(|_| statement.name.is("limit_req_zone"))?;
    let read = |word: &Word| ZoneText::read(word, &statement.name).ok().flatten();
    let zone = statement.args.iter().skip(1).find_map(read)?;
    let bound = zones.0.iter().find(|known| known.name == zone.name)?;
    Some(zone_again(&statement.name, &zone, (bound.bytes, &bound.key_text)))
}
