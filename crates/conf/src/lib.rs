//! The language of `nginx.conf`, and nothing of what it configures.
//!
//! Text becomes a value in four steps, each a folder's worth of modules in reading order:
//!
//! 1. [`source`] holds the files as they were read and every [`Place`] in them;
//! 2. [`lexer`] cuts a file into [`Word`]s, [`document`] nests them into [`Statement`]s and expands
//!    `include`;
//! 3. [`schema`] is the one table of directives: reading, context and arity checks, inheritance,
//!    defaults and the [`manual`] are derived from it;
//! 4. [`value`] and [`template`] are the grammars of arguments.
//!
//! Whatever is wrong becomes a [`Fault`]: all of a file's faults are collected, and the first line
//! of each is worded as nginx words it ([`render`]).
//!
//! The crate knows no sockets, no clock, no HTTP: files come through the [`Files`] trait.
#![forbid(unsafe_code)]

mod context;
pub mod document;
mod fault;
mod json;
mod lexer;
pub mod manual;
mod names;
mod render;
mod schema;
mod source;
mod suggest;
mod template;
mod value;
mod word;

pub use context::{Context, Contexts};
pub use document::{Document, Statement};
pub use fault::{Fault, Level, errno_text};
pub use manual::check_table;
pub use names::{Names, VariableId};
pub use render::{first_line, render};
pub use schema::{
    Arity, Entry, Kind, Spec, check_default, check_entry, misplaced, read_default, read_into,
    unknown_directive,
};
pub use source::{Files, Place, Source, SourceId, Sources};
pub use suggest::suggest;
pub use template::{Part, Template};
pub use value::{
    Each, FilePath, Flag, Number, Offset, Reader, Seconds, Size, Text, Time, Value, read_choice,
};
pub use word::Word;
