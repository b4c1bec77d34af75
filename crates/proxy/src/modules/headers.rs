//! Header fields that are added to responses.

use perdura_conf::{Arity, Each, Fault, Reader, Template, Value, Word, directives};

directives! {
    /// Adds a field to responses with a status of 200, 201, 204, 206, 301, 302, 303, 304, 307 or
    /// 308, and with `always` to all. A block that has one does not inherit the outer block's.
    add_header: Each<Field> = "", in HTTP | SERVER | LOCATION | LOCATION_IF;

    /// Adds a field behind the body of responses, which then go out in chunks; the statuses are those
    /// of `add_header`. Clients of HTTP/1.0 get none.
    add_trailer: Each<Field> = "", in HTTP | SERVER | LOCATION | LOCATION_IF;
}

/// One `add_header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Vec<u8>,
    pub value: Template,
    pub when: When,
}

/// For which statuses a field is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Usual,
    Always,
}

impl When {
    pub fn holds(self, status: u16) -> bool {
        self == When::Always
            || matches!(status, 200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308)
    }
}

impl Value for Field {
    const SYNTAX: &'static str = "name value [always]";
    const ARITY: Arity = Arity::between(2, 3);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let when = match args.get(2) {
            None => When::Usual,
            Some(word) if word.is("always") => When::Always,
            Some(word) => {
                return Err(Fault::new(
                    word.place,
                    format!("invalid parameter \"{}\"", word.text()),
                )
                .hint("only \"always\" may stand behind the value"));
            }
        };
        Ok(Self {
            name: args[0].bytes.clone(),
            value: Template::compile(&args[1], reader.names)?,
            when,
        })
    }
}
