//! Grammars of arguments that several modules share.

mod bind;

pub use bind::Bind;

use crate::cidr::{Cidr, Read};
use crate::modules::error_log::Severity;
use perdura_conf::{Arity, Fault, Number, Reader, Size, Template, Value, Word};

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

/// `zone=name:size` of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneText {
    pub name: String,
    pub bytes: u64,
}

/// The smallest zone: eight pages of memory.
const ZONE_BYTES_MIN: u64 = 8 * 4096;

impl ZoneText {
    /// Reads a parameter; `None` when it is another one than `zone=`.
    pub fn read(word: &Word, directive: &Word) -> Result<Option<Self>, Fault> {
        let text = word.text();
        let Some(value) = text.strip_prefix("zone=") else {
            return Ok(None);
        };
        let size = value
            .split_once(':')
            .and_then(|(name, size)| Some((name, Size::parse(size.as_bytes())?)));
        let Some((name, bytes)) = size else {
            let message = format!("invalid zone size \"{text}\"");
            return Err(
                Fault::new(word.place, message).hint("write zone=name:size, as zone=one:10m")
            );
        };
        if bytes < ZONE_BYTES_MIN {
            let message = format!("zone \"{text}\" is too small");
            return Err(Fault::new(word.place, message).hint("it must have at least 32k"));
        }
        if name.is_empty() {
            let message = format!("\"{}\" must have \"zone\" parameter", directive.text());
            return Err(Fault::new(directive.place, message));
        }
        Ok(Some(Self { name: name.to_owned(), bytes }))
    }
}

/// What is wrong with a zone that is declared again: its size or its key.
pub fn zone_again(directive: &Word, zone: &ZoneText, (bytes, key_text): (u64, &[u8])) -> Fault {
    let name = &zone.name;
    let message = if bytes == zone.bytes {
        let key = String::from_utf8_lossy(key_text);
        format!("{} \"{name}\" is already bound to key \"{key}\"", directive.text())
    } else {
        let new = zone.bytes;
        format!(
            "the size {new} of shared memory zone \"{name}\" conflicts with already declared size {bytes}"
        )
    };
    Fault::new(directive.place, message)
}

/// A parameter that the directive does not have.
pub fn invalid_parameter(word: &Word) -> Fault {
    Fault::new(word.place, format!("invalid parameter \"{}\"", word.text()))
}

perdura_conf::choice! {
    /// How loud a refusal is.
    pub enum RefusalLevel { Info = "info", Notice = "notice", Warn = "warn", Error = "error" }
}

impl RefusalLevel {
    /// Of a refusal.
    pub fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Notice => Severity::Notice,
            Self::Warn => Severity::Warn,
            Self::Error => Severity::Error,
        }
    }

    /// Of what is less than a refusal: one level lower.
    pub fn severity_of_delay(self) -> Severity {
        match self {
            Self::Info | Self::Notice => Severity::Info,
            Self::Warn => Severity::Notice,
            Self::Error => Severity::Warn,
        }
    }
}

/// The status of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalStatus(pub u16);

impl Value for RefusalStatus {
    const SYNTAX: &'static str = "code";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match Number::parse(&args[0].bytes) {
            Some(status @ 400..=599) => Ok(Self(status as u16)),
            Some(_) => Err(Fault::new(args[0].place, "value must be between 400 and 599")),
            None => Err(reader.invalid_number(&args[0])),
        }
    }
}

/// A size that may hold variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComputedSize {
    Fixed(u64),
    Computed(Template),
}

impl Value for ComputedSize {
    const SYNTAX: &'static str = "size";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let template = Template::compile(&args[0], reader.names)?;
        match template.constant() {
            None => Ok(Self::Computed(template)),
            Some(text) => Ok(Self::Fixed(
                Size::parse(text).ok_or_else(|| reader.directive_invalid(&args[0]))?,
            )),
        }
    }
}

/// Where a certificate or a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemSource {
    pub word: Word,
    pub template: Template,
}

impl Value for PemSource {
    const SYNTAX: &'static str = "file | data:text";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let word = args[0].clone();
        for scheme in ["engine:", "store:"] {
            if word.bytes.starts_with(scheme.as_bytes()) {
                let message = format!("\"{scheme}\" keys are not supported in \"{}\"", word.text());
                return Err(Fault::new(word.place, message)
                    .hint("there are no engines and stores of OpenSSL: name a file"));
            }
        }
        let template = Template::compile(&word, reader.names)?;
        Ok(Self { word, template })
    }
}

/// The versions of TLS that were named and exist here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocols {
    pub tls12: bool,
    pub tls13: bool,
    /// One that is not spoken was named too.
    pub older: Option<Word>,
}

impl Value for Protocols {
    const SYNTAX: &'static str = "[SSLv2] [SSLv3] [TLSv1] [TLSv1.1] [TLSv1.2] [TLSv1.3]";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut protocols = Self { tls12: false, tls13: false, older: None };
        for word in args {
            match word.bytes.to_ascii_lowercase().as_slice() {
                b"tlsv1.2" => protocols.tls12 = true,
                b"tlsv1.3" => protocols.tls13 = true,
                b"sslv2" | b"sslv3" | b"tlsv1" | b"tlsv1.1" => {
                    protocols.older.get_or_insert_with(|| word.clone());
                }
                _ => {
                    let message = format!("invalid value \"{}\"", word.text());
                    return Err(Fault::new(word.place, message)
                        .hint("write one or both of: TLSv1.2, TLSv1.3"));
                }
            }
        }
        if !protocols.tls12 && !protocols.tls13 {
            let name = reader.directive.text();
            let message = format!("no protocol of \"{name}\" is supported");
            return Err(Fault::new(args[0].place, message)
                .hint("TLSv1.2 and TLSv1.3 are spoken; older versions are broken"));
        }
        Ok(protocols)
    }
}
