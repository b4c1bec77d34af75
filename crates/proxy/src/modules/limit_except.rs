//! `limit_except`: other settings for all but the named methods.

use perdura_conf::{Arity, Context, Contexts, Entry, Fault, Kind, Statement};

/// The entry of the block.
pub const ENTRY: Entry = Entry {
    name: "limit_except",
    kind: Kind::Block(Context::LimitExcept),
    contexts: Contexts::LOCATION,
    syntax: "method ...",
    arity: Arity::at_least(1),
    default: "",
    doc: "What it holds is for requests with other methods than these. `GET` means `HEAD` too. As in \
          nginx, `rewrite`, `if` and `return` of the location are not run for such requests.",
};

/// Methods, as bits of [`bit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(u32);

/// The methods that nginx knows here.
const KNOWN: [&str; 14] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
];

/// The bit of a method; none for one that cannot be named.
pub fn bit(method: &[u8]) -> u32 {
    let position = KNOWN.iter().position(|known| known.as_bytes() == method);
    position.map_or(0, |index| 1 << index)
}

impl Methods {
    /// Whether a method is one of the named ones.
    pub fn allows(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// Reads the words behind the name.
    pub fn read(statement: &Statement) -> Result<Self, Fault> {
        let mut methods = 0;
        for word in &statement.args {
            let bit = bit(&word.bytes.to_ascii_uppercase());
            if bit == 0 {
                let message = format!("invalid method \"{}\"", word.text());
                let hint = format!("methods are: {}", KNOWN.join(", "));
                return Err(Fault::new(word.place, message).hint(hint));
            }
            methods |= bit;
        }
        if methods & self::bit(b"GET") != 0 {
            methods |= self::bit(b"HEAD");
        }
        Ok(Self(methods))
    }
}
