//! Changing a request before it is answered: `rewrite`, `if`, `set` and `break`.
//!
//! Here are their grammars; `script` runs what is read here, in the order of the file. `return` has
//! a file of its own.

mod condition;

pub use condition::{Condition, FileTest, read as read_condition};

use crate::regex::{Case, Regex};
use perdura_conf::{
    Arity, Context, Contexts, Entry, Fault, Flag, Kind, Names, Statement, Template, VariableId,
    Word, directives,
};

directives! {
    /// Writes to the error log, at level `notice`, which pattern of `rewrite` and `if` matched what,
    /// and what a request was rewritten to.
    rewrite_log: Flag = "off", in HTTP | SERVER | LOCATION | SERVER_IF | LOCATION_IF;

    /// Writes a warning to the error log when a variable of `set` is used before it has a value.
    uninitialized_variable_warn: Flag = "on",
        in HTTP | SERVER | LOCATION | SERVER_IF | LOCATION_IF;
}

/// Where `set` and its like may stand.
pub const PLACES: Contexts = Contexts::SERVER.or(Contexts::LOCATION).or(Contexts::IF);

/// The directives that run in the order in which they stand.
pub const ENTRIES: &[Entry] = &[
    action(
        "rewrite",
        "regex replacement [flag]",
        Arity::between(2, 3),
        "Replaces the path when the pattern matches it; arguments of the request go on behind those \
         of the replacement, unless that ends in `?`. `last` looks for a location anew at once, \
         `break` goes on in this one, `redirect` (302) and `permanent` (301) tell the client, as \
         does a replacement that begins with `http://`, `https://` or `$scheme`.",
    ),
    action(
        "set",
        "$variable value",
        Arity::exactly(2),
        "Gives a variable a value, which may hold variables.",
    ),
    action(
        "break",
        "",
        Arity::NONE,
        "Ends the processing of `rewrite`, `set`, `if` and `return` for this request here; a \
         request that was rewritten stays in this location.",
    ),
];

/// The entry of `if`: a block that opens one of two contexts, by where it stands.
pub const IF: Entry = Entry {
    name: "if",
    kind: Kind::Block(Context::LocationIf),
    contexts: Contexts::SERVER.or(Contexts::LOCATION),
    syntax: "(condition)",
    arity: Arity::at_least(1),
    default: "",
    doc: "Runs what it holds when the condition is true: a variable that is neither empty nor `0`; \
          a comparison with `=`, `!=`, or a pattern by `~`, `~*`, `!~`, `!~*`; a test of a file by \
          `-f`, `-d`, `-e`, `-x`, each with `!` in front for its opposite. In a location it is a \
          location itself: its settings replace those around it, and of several `if`s the last one \
          that is true decides.",
};

const fn action(
    name: &'static str,
    syntax: &'static str,
    arity: Arity,
    doc: &'static str,
) -> Entry {
    Entry { name, kind: Kind::Action, contexts: PLACES, syntax, arity, default: "", doc }
}

/// A `set`: the variable's name, as it was written, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub variable: VariableId,
    pub value: Template,
}

impl Set {
    pub fn read(statement: &Statement, names: &mut Names) -> Result<Self, Fault> {
        let [target, value] = statement.args.as_slice() else {
            return Err(invalid_name(&statement.name));
        };
        let name = target.bytes.strip_prefix(b"$").filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| invalid_name(target))?;
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let variable = names.refer(&name, Some(target.place));
        Ok(Self { name, variable, value: Template::compile(value, names)? })
    }
}

fn invalid_name(word: &Word) -> Fault {
    Fault::new(word.place, format!("invalid variable name \"{}\"", word.text()))
}

/// What becomes of a request behind a `rewrite` that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next directive runs; at the end a location is looked for anew.
    GoOn,
    /// `last`: a location is looked for anew.
    FindLocation,
    /// `break`: the request stays in this location.
    Stay,
    /// The client is sent elsewhere, with this status.
    Redirect(u16),
}

/// A `rewrite`.
#[derive(Clone, Debug)]
pub struct Rewrite {
    pub regex: Regex,
    /// The new path; of a redirect, the whole place that the client is sent to.
    pub path: Template,
    /// What stands behind the first `?` of the replacement. A redirect has it in its path too.
    pub args: Option<Template>,
    /// The request's arguments follow those of the replacement.
    pub keeps_args: bool,
    pub then: Then,
}

impl Rewrite {
    pub fn read(statement: &Statement, names: &mut Names) -> Result<Self, Fault> {
        let [pattern, replacement, rest @ ..] = statement.args.as_slice() else {
            return Err(Fault::new(statement.name.place, "empty replacement"));
        };
        if replacement.bytes.is_empty() {
            return Err(Fault::new(replacement.place, "empty replacement"));
        }
        let regex = Regex::compile(&pattern.bytes, pattern, Case::Sensitive, names)?;
        let (text, keeps_args) = match replacement.bytes.strip_suffix(b"?") {
            Some(text) => (text, false),
            None => (replacement.bytes.as_slice(), true),
        };
        let then = then(text, rest.first())?;
        let (path, args) = crate::uri::split_args(text);
        let path = if matches!(then, Then::Redirect(_)) { text } else { path };
        let mut compile = |text: &[u8]| {
            let word = Word { bytes: text.to_vec(), place: replacement.place };
            Template::compile(&word, names)
        };
        let path = compile(path)?;
        let args = args.map(compile).transpose()?;
        Ok(Self { regex, path, args, keeps_args, then })
    }
}

/// What follows, by the replacement's beginning and the flag behind it.
fn then(replacement: &[u8], flag: Option<&Word>) -> Result<Then, Fault> {
    let is_url =
        [&b"http://"[..], b"https://", b"$scheme"].iter().any(|url| replacement.starts_with(url));
    let Some(flag) = flag else {
        return Ok(if is_url { Then::Redirect(302) } else { Then::GoOn });
    };
    match flag.bytes.as_slice() {
        // A URL is sent to the client whatever the flag says.
        b"last" | b"break" if is_url => Ok(Then::Redirect(302)),
        b"last" => Ok(Then::FindLocation),
        b"break" => Ok(Then::Stay),
        b"redirect" => Ok(Then::Redirect(302)),
        b"permanent" => Ok(Then::Redirect(301)),
        _ => Err(Fault::new(flag.place, format!("invalid parameter \"{}\"", flag.text()))
            .hint("flags are: last, break, redirect, permanent")),
    }
}
