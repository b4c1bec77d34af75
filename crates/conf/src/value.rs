//! The grammars of arguments: what can stand behind a directive's name.
//!
//! A grammar is a type that implements [`Value`]. This folder holds those that belong to the
//! language itself; whoever owns a table of directives adds more beside them.

mod choice;
mod flag;
mod number;
mod path;
mod size;
mod text;
mod time;

pub use choice::read_choice;
pub use flag::Flag;
pub use number::Number;
pub use path::FilePath;
pub use size::{Offset, Size};
pub use text::Text;
pub use time::{Seconds, Time};

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

    /// nginx's wording for sizes and times that do not parse.
    pub fn directive_invalid(&self, word: &Word) -> Fault {
        Fault::new(word.place, format!("\"{}\" directive invalid value", self.directive.text()))
    }

    /// nginx's wording for numbers that do not parse (`ngx_conf_set_num_slot`).
    pub fn invalid_number(&self, word: &Word) -> Fault {
        Fault::new(word.place, format!("\"{}\" directive invalid number", self.directive.text()))
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

    /// Takes parts that the inner block's value leaves out from the outer block's.
    fn complete(&mut self, _outer: &Self) {}

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

    fn again(&mut self, next: Self, reader: &Reader<'_>) -> Result<(), Fault> {
        match (self, next) {
            (Some(first), Some(next)) => first.again(next, reader),
            (first, next) => {
                *first = next;
                Ok(())
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}
