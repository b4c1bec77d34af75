//! `Expires` and `Cache-Control` of responses.
//!
//! The front writes the fields; here is what the configuration says of them.

use perdura_conf::{Arity, Fault, Reader, Seconds, Template, Value, Word, directives};

directives! {
    /// Sets `Expires` and `Cache-Control` of responses with a status of 200, 201, 204, 206, 301, 302,
    /// 303, 304, 307 or 308: a time from now, or from the file's own time behind `modified`; a
    /// negative time forbids keeping; `@` names a time of the day. It may be a variable with one of
    /// these values.
    expires: Expires = "off", in HTTP | SERVER | LOCATION | LOCATION_IF;
}

/// An `expires`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expires {
    Fixed(Term),
    /// The term is read for each request.
    Computed {
        since: Since,
        value: Template,
    },
}

/// How long a response may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Nothing is said.
    Off,
    /// `Thu, 01 Jan 1970 00:00:01 GMT`.
    Epoch,
    /// `Thu, 31 Dec 2037 23:55:55 GMT`.
    Max,
    /// Seconds of the local day.
    Daily(i64),
    Span {
        since: Since,
        seconds: i64,
    },
}

/// What a span begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Access,
    Modification,
}

/// What is wrong with a term, in nginx's words.
pub type TermFault = &'static str;

impl Term {
    /// Reads `off`, `epoch`, `max`, `@15h30m`, `1h`, `+1h` or `-1`.
    pub fn parse(text: &[u8], since: Since) -> Result<Self, TermFault> {
        if since == Since::Access {
            match text {
                b"off" => return Ok(Self::Off),
                b"epoch" => return Ok(Self::Epoch),
                b"max" => return Ok(Self::Max),
                _ => {}
            }
        }
        let span = |text| Seconds::parse(text).and_then(|seconds| i64::try_from(seconds).ok());
        let parsed = |text| span(text).ok_or("invalid value");
        match text {
            [b'@', _rest @ ..] if since == Since::Modification => {
                Err("daily time cannot be used with \"modified\" parameter")
            }
            [b'@', rest @ ..] => match parsed(rest)? {
                seconds if seconds > DAY => Err("daily time value must be less than 24 hours"),
                seconds => Ok(Self::Daily(seconds)),
            },
            [b'+', rest @ ..] => Ok(Self::Span { since, seconds: parsed(rest)? }),
            [b'-', rest @ ..] => Ok(Self::Span { since, seconds: -parsed(rest)? }),
            rest => Ok(Self::Span { since, seconds: parsed(rest)? }),
        }
    }
}

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

impl Value for Expires {
    const SYNTAX: &'static str = "[modified] time | epoch | max | off";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (since, word) = match args {
            [word] => (Since::Access, word),
            [modified, word] if modified.is("modified") => (Since::Modification, word),
            _ => return Err(reader.directive_invalid(&args[0])),
        };
        let value = Template::compile(word, reader.names)?;
        let Some(text) = value.constant() else {
            return Ok(Self::Computed { since, value });
        };
        Term::parse(text, since).map(Self::Fixed).map_err(|what| {
            let message = format!("\"{}\" directive {what}", reader.directive.text());
            Fault::new(word.place, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_those_of_nginx() {
        let of = |text: &str| Term::parse(text.as_bytes(), Since::Access);
        let span = |seconds| Ok(Term::Span { since: Since::Access, seconds });
        assert_eq!(of("off"), Ok(Term::Off));
        assert_eq!(of("1h"), span(3600));
        assert_eq!(of("+1h"), span(3600));
        assert_eq!(of("-1"), span(-1));
        assert_eq!(of("@15h30m"), Ok(Term::Daily(55_800)));
        assert_eq!(of("@25h"), Err("daily time value must be less than 24 hours"));
        for text in ["", "x", "@", "+", "-1x", "@-1", "Off"] {
            assert_eq!(of(text), Err("invalid value"), "{text}");
        }
        assert_eq!(Term::parse(b"max", Since::Modification), Err("invalid value"));
    }
}
