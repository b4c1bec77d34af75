//! `try_files`: the first of several files that is there.
//!
//! The look-up itself is `content`'s.

use perdura_conf::{Arity, Fault, Number, Reader, Template, Value, Word, directives};

directives! {
    /// Serves the first of the files that is there, or the folder when a name ends in a slash; when
    /// none is, the last parameter decides: a path to redirect to internally, a named location, or
    /// `=code`. It is not inherited by locations inside.
    try_files: Option<TryFiles> = "", in SERVER | LOCATION;
}

/// A `try_files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TryFiles {
    pub candidates: Vec<Candidate>,
    pub otherwise: Otherwise,
}

/// One name that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub name: Template,
    pub kind: Kind,
}

/// What must have the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    /// The name was written with a slash at its end, which is not a part of it.
    Folder,
}

/// What happens when no name is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Otherwise {
    Status(u16),
    /// A path with arguments, or a named location.
    Uri(Template),
}

impl Value for TryFiles {
    const SYNTAX: &'static str = "file ... uri | file ... =code";
    const ARITY: Arity = Arity::at_least(2);
    const INHERITS: bool = false;

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let Some((last, names)) = args.split_last() else {
            return Err(reader.directive_invalid(reader.directive));
        };
        let mut candidates = Vec::with_capacity(names.len());
        for word in names {
            let (bytes, kind) = match word.bytes.strip_suffix(b"/") {
                Some(name) => (name, Kind::Folder),
                None => (word.bytes.as_slice(), Kind::File),
            };
            let word = Word { bytes: bytes.to_vec(), place: word.place };
            candidates.push(Candidate { name: Template::compile(&word, reader.names)?, kind });
        }
        let otherwise = match last.bytes.strip_prefix(b"=") {
            None => Otherwise::Uri(Template::compile(last, reader.names)?),
            Some(code) => match Number::parse(code).filter(|&code| code <= CODE_MAX) {
                Some(code) => Otherwise::Status(code as u16),
                None => {
                    let message = format!("invalid code \"{}\"", last.text());
                    return Err(Fault::new(last.place, message));
                }
            },
        };
        Ok(Self { candidates, otherwise })
    }
}

/// The largest code; as in nginx.
const CODE_MAX: u64 = 999;
