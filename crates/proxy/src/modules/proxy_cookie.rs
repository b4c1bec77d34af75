//! Cookies that an upstream sets, made to fit the names under which clients know it.

use crate::grammar::invalid_parameter;
use crate::regex::{Case, Regex};
use crate::request::Request;
use perdura_conf::{Arity, Fault, Reader, Template, Value, Word, directives};

directives! {
    /// Replaces the `domain` attribute of cookies that the upstream sets, when it is this text or
    /// fits this expression (`~`). Several may stand in one block; the first that fits counts.
    proxy_cookie_domain: Rules<Rewrite> = "off", in HTTP | SERVER | LOCATION;

    /// Replaces the beginning of the `path` attribute of cookies that the upstream sets, or all of it
    /// when an expression (`~`, `~*`) fits.
    proxy_cookie_path: Rules<Rewrite> = "off", in HTTP | SERVER | LOCATION;

    /// Sets or takes away flags of the cookies of this name (or fitting `~`): `secure`, `httponly`,
    /// `samesite=strict|lax|none`, and each with `no` in front.
    proxy_cookie_flags: Rules<FlagRule> = "off", in HTTP | SERVER | LOCATION;
}

/// Rules, or an explicit `off`.
#[derive(Clone, Debug)]
pub enum Rules<T> {
    Off,
    List(Vec<T>),
}

impl<T> Rules<T> {
    pub fn rules(&self) -> &[T] {
        match self {
            Self::Off => &[],
            Self::List(list) => list,
        }
    }
}

impl<T: Value> Value for Rules<T> {
    const SYNTAX: &'static str = T::SYNTAX;
    const ARITY: Arity = T::ARITY;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        if let [word] = args
            && word.is("off")
        {
            return Ok(Self::Off);
        }
        Ok(Self::List(vec![T::read(args, reader)?]))
    }

    /// `off` stands alone.
    fn again(&mut self, next: Self, reader: &Reader<'_>) -> Result<(), Fault> {
        match (self, next) {
            (Self::List(list), Self::List(more)) => {
                list.extend(more);
                Ok(())
            }
            _ => {
                let message = format!("\"{}\" directive is duplicate", reader.directive.text());
                Err(Fault::new(reader.directive.place, message)
                    .hint("\"off\" cannot be combined with other rules of the same block"))
            }
        }
    }
}

/// One `proxy_cookie_domain` or `proxy_cookie_path`.
#[derive(Clone, Debug)]
pub enum Rewrite {
    Text { text: Template, replacement: Template },
    Pattern { regex: Regex, replacement: Template },
}

impl Value for Rewrite {
    const SYNTAX: &'static str = "off | text replacement";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let [text, replacement] = args else {
            return Err(invalid_parameter(&args[0]));
        };
        let is_domain = reader.directive.is("proxy_cookie_domain");
        let replacement = Template::compile(replacement, reader.names)?;
        let Some(pattern) = text.bytes.strip_prefix(b"~") else {
            let text = Template::compile(text, reader.names)?;
            return Ok(Self::Text { text, replacement });
        };
        let (case, pattern) = match pattern.strip_prefix(b"*") {
            Some(pattern) if !is_domain => (Case::Insensitive, pattern),
            _ if is_domain => (Case::Insensitive, pattern),
            _ => (Case::Sensitive, pattern),
        };
        let regex = Regex::compile(pattern, text, case, reader.names)?;
        Ok(Self::Pattern { regex, replacement })
    }
}

/// Which cookies a rule concerns.
#[derive(Clone, Debug)]
pub enum Cookie {
    Text(Template),
    Pattern(Regex),
}

impl Cookie {
    pub fn fits(&self, request: &Request, name: &[u8]) -> bool {
        match self {
            Self::Text(text) => request.value(text).eq_ignore_ascii_case(name),
            Self::Pattern(regex) => matches!(regex.captures(name), Ok(Some(_))),
        }
    }
}

/// One `proxy_cookie_flags`.
#[derive(Clone, Debug)]
pub struct FlagRule {
    pub cookie: Cookie,
    pub flags: Vec<Template>,
}

impl Value for FlagRule {
    const SYNTAX: &'static str = "off | cookie [flag ...]";
    const ARITY: Arity = Arity::between(1, 5);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let cookie = match args[0].bytes.strip_prefix(b"~") {
            Some(pattern) => {
                Cookie::Pattern(Regex::compile(pattern, &args[0], Case::Insensitive, reader.names)?)
            }
            None => Cookie::Text(Template::compile(&args[0], reader.names)?),
        };
        let mut flags = Vec::new();
        for word in &args[1..] {
            let template = Template::compile(word, reader.names)?;
            if template.constant().is_some_and(|text| Flag::read(text).is_none()) {
                return Err(Fault::new(
                    word.place,
                    format!("invalid cookie flag \"{}\"", word.text()),
                ));
            }
            flags.push(template);
        }
        Ok(Self { cookie, flags })
    }
}

/// A flag that is set or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    Secure,
    NoSecure,
    HttpOnly,
    NoHttpOnly,
    SameSite(&'static str),
    NoSameSite,
}

impl Flag {
    pub fn read(text: &[u8]) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_slice() {
            b"secure" => Self::Secure,
            b"nosecure" => Self::NoSecure,
            b"httponly" => Self::HttpOnly,
            b"nohttponly" => Self::NoHttpOnly,
            b"samesite=strict" => Self::SameSite("Strict"),
            b"samesite=lax" => Self::SameSite("Lax"),
            b"samesite=none" => Self::SameSite("None"),
            b"nosamesite" => Self::NoSameSite,
            _ => return None,
        })
    }

    /// The attribute, and its value if it has one.
    pub fn attribute(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Secure | Self::NoSecure => ("Secure", None),
            Self::HttpOnly | Self::NoHttpOnly => ("HttpOnly", None),
            Self::SameSite(value) => ("SameSite", Some(value)),
            Self::NoSameSite => ("SameSite", None),
        }
    }

    pub fn is_on(self) -> bool {
        matches!(self, Self::Secure | Self::HttpOnly | Self::SameSite(_))
    }

    pub fn is_of_kind(self, other: Self) -> bool {
        self.attribute().0 == other.attribute().0
    }
}
