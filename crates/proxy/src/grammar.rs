//! Grammars of arguments that several modules share.

use crate::cidr::{Cidr, Read};
use perdura_conf::{Arity, Fault, Number, Reader, Size, Value, Word};

/// Warns of a network with bits behind its mask, as nginx does.
pub fn low_bits(network: &Word) -> Option<Fault> {
    let message = format!("low address bits of {} are meaningless", network.text());
    let meant = matches!(Cidr::read(&network.text()), Read::LowBits(_));
    meant.then(|| Fault::warning(network.place, message))
}

/// `number size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    pub count: usize,
    pub size: usize,
}

/// Buffers of one kind at most, so that count times size stays a size.
const BUFFERS_MAX: u64 = 1 << 16;

impl Value for Buffers {
    const SYNTAX: &'static str = "number size";
    const ARITY: Arity = Arity::exactly(2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let count = Number::parse(&args[0].bytes).unwrap_or(0);
        let size = Size::parse(&args[1].bytes).filter(|&size| size > 0 && size <= 1 << 30);
        match (count, size) {
            (1..=BUFFERS_MAX, Some(size)) => {
                Ok(Self { count: count as usize, size: size as usize })
            }
            (1..=BUFFERS_MAX, None) => Err(reader.directive_invalid(&args[1])),
            _ => Err(reader.directive_invalid(&args[0])),
        }
    }
}

/// Digits of a file's name that all levels of folders may take together.
const LEVEL_DIGITS_MAX: u64 = 10;

/// `path [level1 [level2 [level3]]]`: hashed folders are accepted and not used, since files are
/// unlinked as soon as they are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempPath(pub std::path::PathBuf);

impl Value for TempPath {
    const SYNTAX: &'static str = "path [level1 [level2 [level3]]]";
    const ARITY: Arity = Arity::between(1, 4);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut digits = 0;
        for level in &args[1..] {
            let count = Number::parse(&level.bytes).filter(|&count| count > 0);
            digits += count.unwrap_or(LEVEL_DIGITS_MAX + 1).min(LEVEL_DIGITS_MAX + 1);
            if digits > LEVEL_DIGITS_MAX {
                return Err(reader
                    .directive_invalid(level)
                    .hint("a level is 1, 2 or 3 digits of the file's name"));
            }
        }
        Ok(Self(reader.path(&args[0])))
    }
}

/// A directive without arguments that is there or not, and holds for its own block only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Presence(pub bool);

impl Value for Presence {
    const SYNTAX: &'static str = "";
    const ARITY: Arity = Arity::NONE;
    const INHERITS: bool = false;

    fn read(_args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self(true))
    }

    fn absent() -> Option<Self> {
        Some(Self(false))
    }
}
