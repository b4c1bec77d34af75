//! Pages and places for errors.

use perdura_conf::{Arity, Each, Fault, Flag, Reader, Template, Value, Word, directives};

directives! {
    /// Answers the statuses with an internal redirect, a named location or an external redirect;
    /// `=code` changes the status, `=` takes that of the page.
    error_page: Each<Rule> = "", in HTTP | SERVER | LOCATION | LOCATION_IF;

    /// Lets an error page have error pages of its own: off, an error of an error page is shown as
    /// it is.
    recursive_error_pages: Flag = "off", in HTTP | SERVER | LOCATION;
}

/// What becomes of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    Keep,
    /// `=`: the page's own status.
    Page,
    To(u16),
}

/// One `error_page`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub statuses: Vec<u16>,
    pub change: Override,
    pub uri: Template,
    /// The target as text starts with `@`.
    pub named: bool,
}

impl Value for Rule {
    const SYNTAX: &'static str = "code ... [=[response]] uri";
    const ARITY: Arity = Arity::at_least(2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (uri, codes) = args.split_last().ok_or_else(|| reader.directive_invalid(&args[0]))?;
        let mut codes = codes;
        let mut change = Override::Keep;
        if let Some((last, rest)) = codes.split_last()
            && let [b'=', response @ ..] = last.bytes.as_slice()
        {
            if rest.is_empty() {
                return Err(invalid(last));
            }
            codes = rest;
            change = match response {
                [] => Override::Page,
                digits => Override::To(status(digits).ok_or_else(|| invalid(last))?),
            };
        }
        let mut statuses = Vec::with_capacity(codes.len());
        for word in codes {
            let code = status(&word.bytes).ok_or_else(|| invalid(word))?;
            if code == 499 {
                return Err(invalid(word));
            }
            if !(300..=599).contains(&code) {
                return Err(Fault::new(
                    word.place,
                    format!("value \"{}\" must be between 300 and 599", word.text()),
                ));
            }
            // 494 to 496 have pages of their own, but 400's page serves where none is given.
            statuses.push(code);
        }
        Ok(Self {
            statuses,
            change,
            uri: Template::compile(uri, reader.names)?,
            named: uri.bytes.starts_with(b"@"),
        })
    }
}

fn status(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn invalid(word: &Word) -> Fault {
    Fault::new(word.place, format!("invalid value \"{}\"", word.text()))
}
