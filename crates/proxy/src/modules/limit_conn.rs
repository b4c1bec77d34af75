//! How many requests and tunnels may be open at once for one key.

use crate::grammar::{RefusalLevel, RefusalStatus, ZoneText, invalid_parameter, zone_again};
use perdura_conf::{
    Arity, Each, Fault, Flag, Number, Reader, Statement, Template, Value, Word, directives,
};

directives! {
    /// A zone that counts open requests for each value of the key. The counts outlast a reload, and
    /// a worker that dies: tunnels are counted again.
    limit_conn_zone: Each<Zone> = "", in HTTP;

    /// At most so many requests at a time for each value of the zone's key; one more is refused. A
    /// tunnel holds its place until it ends. Several may stand in one block; a block that has one
    /// does not inherit the outer block's.
    limit_conn: Each<Limit> = "", in HTTP | SERVER | LOCATION;

    /// The level of the line about a refused request.
    limit_conn_log_level: RefusalLevel = "error", in HTTP | SERVER | LOCATION;

    /// The status that a refused request gets.
    limit_conn_status: RefusalStatus = "503", in HTTP | SERVER | LOCATION;

    /// Counts and logs refusals, but lets the request pass.
    limit_conn_dry_run: Flag = "off", in HTTP | SERVER | LOCATION;
}

/// One `limit_conn_zone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub name: String,
    pub bytes: u64,
    pub key: Template,
    pub key_text: Vec<u8>,
    pub place: perdura_conf::Place,
}

impl Value for Zone {
    const SYNTAX: &'static str = "key zone=name:size";
    const ARITY: Arity = Arity::exactly(2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let key = Template::compile(&args[0], reader.names)?;
        let Some(zone) = ZoneText::read(&args[1], reader.directive)? else {
            return Err(invalid_parameter(&args[1]));
        };
        Ok(Self {
            name: zone.name,
            bytes: zone.bytes,
            key,
            key_text: args[0].bytes.clone(),
            place: reader.directive.place,
        })
    }
}

/// One `limit_conn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub zone: Word,
    pub connections: u32,
}

/// The most connections that a limit can name.
const CONNECTIONS_MAX: u64 = 65_535;

impl Value for Limit {
    const SYNTAX: &'static str = "zone number";
    const ARITY: Arity = Arity::exactly(2);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let word = &args[1];
        let invalid =
            || Fault::new(word.place, format!("invalid number of connections \"{}\"", word.text()));
        let number = Number::parse(&word.bytes).filter(|&number| number > 0).ok_or_else(invalid)?;
        if number > CONNECTIONS_MAX {
            return Err(Fault::new(word.place, "connection limit must be less 65536"));
        }
        Ok(Self { zone: args[0].clone(), connections: number as u32 })
    }
}

/// What can only be said when what stands before in the block is known.
pub fn check(statement: &Statement, before: &Written) -> Option<Fault> {
    let word = statement.args.first()?;
    if statement.name.is("limit_conn") {
        let twice = before.limit_conn.iter().flat_map(|each| &each.0);
        let twice = twice.filter(|limit| limit.zone.bytes == word.bytes).count() > 0;
        let message = "\"limit_conn\" directive is duplicate";
        return twice.then(|| {
            Fault::new(statement.name.place, message).hint("the zone has a limit in this block")
        });
    }
    let zones = before.limit_conn_zone.as_ref().filter(|_| statement.name.is("limit_conn_zone"))?;
    let zone = ZoneText::read(statement.args.get(1)?, &statement.name).ok().flatten()?;
    let bound = zones.0.iter().find(|known| known.name == zone.name)?;
    Some(zone_again(&statement.name, &zone, (bound.bytes, &bound.key_text)))
}
