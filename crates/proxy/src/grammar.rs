//! Grammars of arguments that several modules share.

use perdura_conf::{Arity, Fault, Number, Reader, Size, Value, Word};

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
        let Number(count) = Number::read(&args[..1], reader)?;
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

/// `path [level1 [level2 [level3]]]`: hashed folders are accepted and not used, since files are
/// unlinked as soon as they are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempPath(pub std::path::PathBuf);

impl Value for TempPath {
    const SYNTAX: &'static str = "path [level1 [level2 [level3]]]";
    const ARITY: Arity = Arity::between(1, 4);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        for level in &args[1..] {
            if !matches!(level.bytes.as_slice(), b"1" | b"2" | b"3") {
                return Err(Fault::new(level.place, format!("invalid value \"{}\"", level.text()))
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
