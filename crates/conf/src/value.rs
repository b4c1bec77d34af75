//! The grammars of arguments: what can stand behind a directive's name.
//!
//! A grammar is a type that implements [`Value`]. This file holds those that belong to the language
//! itself; a module of the proxy adds its own beside its directives.

use crate::{Arity, Fault, Files, Names, Word};
use std::path::{Path, PathBuf};

/// What a grammar may consult while it reads.
pub struct Reader<'a> {
    /// The name of the directive that is being read, for messages and their place.
    pub directive: &'a Word,
    /// Variable names of the whole configuration.
    pub names: &'a mut Names,
    /// Files that a directive reads while the configuration is read.
    pub files: &'a dyn Files,
    /// What relative paths are relative to: the prefix (`-p`).
    pub prefix: &'a Path,
    /// The folder of the main configuration file.
    pub conf_prefix: &'a Path,
}

impl Reader<'_> {
    /// The full path of `word` below the prefix, as `ngx_conf_full_name` does.
    pub fn path(&self, word: &Word) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.prefix.join(Path::new(std::ffi::OsStr::from_bytes(&word.bytes)))
    }

    /// `invalid value "x" in "name" directive` and its like share their beginning.
    pub fn invalid(&self, word: &Word) -> Fault {
        Fault::new(
            word.place,
            format!("invalid value \"{}\" in \"{}\" directive", word.text(), self.directive.text()),
        )
    }

    /// nginx's wording for numbers, sizes and times that do not parse.
    pub fn directive_invalid(&self, word: &Word) -> Fault {
        Fault::new(word.place, format!("\"{}\" directive invalid value", self.directive.text()))
    }
}

/// The grammar of one directive's arguments.
pub trait Value: Sized + Clone {
    /// What the manual prints behind the name.
    const SYNTAX: &'static str;
    /// How many arguments there may be; checked before [`Value::read`] is called.
    const ARITY: Arity;

    /// Whether an inner block takes the outer one's value when it has none of its own. A content
    /// handler (`proxy_pass`) belongs to its own block only.
    const INHERITS: bool = true;

    /// Reads the arguments. Their number obeys [`Value::ARITY`], but for the text of a default.
    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault>;

    /// Takes a second occurrence in the same block. A fault unless the grammar collects.
    fn again(&mut self, next: Self, reader: &Reader<'_>) -> Result<(), Fault> {
        let _ = next;
        Err(Fault::new(
            reader.directive.place,
            format!("\"{}\" directive is duplicate", reader.directive.text()),
        ))
    }

    /// The value when neither the block nor an outer one has the directive and its default text is
    /// empty. Only grammars that can be absent have one.
    fn absent() -> Option<Self> {
        None
    }
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

impl Value for Flag {
    const SYNTAX: &'static str = "on | off";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        // nginx compares without regard to case.
        if args[0].bytes.eq_ignore_ascii_case(b"on") {
            return Ok(Flag(true));
        }
        if args[0].bytes.eq_ignore_ascii_case(b"off") {
            return Ok(Flag(false));
        }
        let mut fault = reader.invalid(&args[0]);
        fault.message.push_str(", it must be \"on\" or \"off\"");
        Err(fault)
    }
}

/// A decimal number without sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

impl Value for Number {
    const SYNTAX: &'static str = "number";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let number = decimal(&args[0].bytes);
        number
            .map(Number)
            .ok_or_else(|| Fault::new(args[0].place, "invalid number").hint("write digits only"))
            .map_err(|fault| Fault { place: fault.place.or(Some(reader.directive.place)), ..fault })
    }
}

/// A size in bytes: digits with `k`, `m` or `g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// Parses `8`, `8k`, `8m`, `8g` in either case; `None` on anything else or overflow.
    pub fn parse(text: &[u8]) -> Option<u64> {
        let (digits, scale) = match text.last()?.to_ascii_lowercase() {
            b'k' => (&text[..text.len() - 1], 1u64 << 10),
            b'm' => (&text[..text.len() - 1], 1 << 20),
            b'g' => (&text[..text.len() - 1], 1 << 30),
            _ => (text, 1),
        };
        decimal(digits)?.checked_mul(scale).filter(|&size| size <= i64::MAX as u64)
    }
}

impl Value for Size {
    const SYNTAX: &'static str = "size";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Size::parse(&args[0].bytes).map(Size).ok_or_else(|| reader.directive_invalid(&args[0]))
    }
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub u64);

impl Time {
    /// Parses nginx's times in milliseconds: `60`, `60s`, `500ms`, `1h 30m` (units must fall).
    pub fn parse(text: &[u8]) -> Option<u64> {
        const UNITS: [(&[u8], u64); 8] = [
            (b"y", 365 * 86_400_000),
            (b"M", 30 * 86_400_000),
            (b"w", 7 * 86_400_000),
            (b"d", 86_400_000),
            (b"h", 3_600_000),
            (b"m", 60_000),
            (b"s", 1000),
            (b"ms", 1),
        ];
        let mut total = 0u64;
        let mut rank = 0;
        let mut rest = text;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            let number = decimal(&rest[..digits])?;
            rest = &rest[digits..];
            let letters =
                rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
            // A number without a unit counts seconds and ends the value.
            let unit: &[u8] = if letters == 0 { b"s" } else { &rest[..letters] };
            let found = UNITS.iter().position(|(name, _)| *name == unit)?;
            if found < rank {
                return None;
            }
            rank = found + 1;
            total = total.checked_add(number.checked_mul(UNITS[found].1)?)?;
            rest = &rest[letters..];
            while let [b' ', tail @ ..] = rest {
                rest = tail;
            }
            if letters == 0 && !rest.is_empty() {
                return None;
            }
        }
        Some(total).filter(|&ms| ms <= i64::MAX as u64)
    }
}

impl Value for Time {
    const SYNTAX: &'static str = "time";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Time::parse(&args[0].bytes).map(Time).ok_or_else(|| reader.directive_invalid(&args[0]))
    }
}

/// A word as it stands, without variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl Value for Text {
    const SYNTAX: &'static str = "string";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Text(args[0].bytes.clone()))
    }
}

/// A directive that may stand several times in one block; an inner block that has it at all
/// replaces the whole outer list, as nginx documents for `proxy_set_header` and its like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each<T>(pub Vec<T>);

impl<T: Value> Value for Each<T> {
    const SYNTAX: &'static str = T::SYNTAX;
    const ARITY: Arity = T::ARITY;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Each(vec![T::read(args, reader)?]))
    }

    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        self.0.extend(next.0);
        Ok(())
    }

    fn absent() -> Option<Self> {
        Some(Each(Vec::new()))
    }
}

impl<T: Value> Value for Option<T> {
    const SYNTAX: &'static str = T::SYNTAX;
    const ARITY: Arity = T::ARITY;
    const INHERITS: bool = T::INHERITS;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        T::read(args, reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// Digits only, as `ngx_atoi` reads them; `None` on anything else, an empty text or overflow.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}
