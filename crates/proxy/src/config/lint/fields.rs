//! The `proxy_set_header` lines that hold in a block, and which of them its own lines put out of
//! force.

use super::{Lint, Mistake};
use perdura_conf::{Fault, Statement, Word};
use std::rc::Rc;

/// The `proxy_set_header` lines of one block.
#[derive(Clone, Default)]
pub(super) struct Fields<'s> {
    lines: Rc<[&'s Statement]>,
}

/// The two fields by which a handshake travels: they concern one connection only (RFC 9110, 7.8), so
/// that a proxy passes neither on by itself.
const HANDSHAKE: [&str; 2] = ["Upgrade", "Connection"];

impl<'s> Fields<'s> {
    /// The lines of these statements; `None` when there are none, so that the outer block's hold.
    pub(super) fn of(statements: &'s [Statement]) -> Option<Self> {
        let set = |statement: &&Statement| statement.name.is("proxy_set_header");
        let lines: Rc<[_]> = statements.iter().filter(set).collect();
        (!lines.is_empty()).then_some(Self { lines })
    }

    /// The line that gives `name` a value, and the value.
    pub(super) fn value(&self, name: &str) -> Option<(&'s Statement, &'s Word)> {
        self.lines.iter().find_map(|line| match line.args.as_slice() {
            [field, value] if same(field, name) => Some((*line, value)),
            _ => None,
        })
    }

    /// A client's `Upgrade` goes on to the upstream.
    pub(super) fn passes_upgrade(&self) -> bool {
        self.value(HANDSHAKE[0]).is_some_and(|(_, value)| !value.bytes.is_empty())
    }

    /// Both fields of a handshake go on.
    pub(super) fn makes_handshake(&self) -> bool {
        let connects = self.value(HANDSHAKE[1]).is_some_and(|(_, value)| !value.bytes.is_empty());
        self.passes_upgrade() && connects
    }

    /// Somebody thought of one of the two fields.
    pub(super) fn has_handshake(&self) -> bool {
        HANDSHAKE.iter().any(|name| self.value(name).is_some())
    }
}

impl<'s> Lint<'s> {
    /// A block with a line of its own inherits none: what the outer block set is lost.
    pub(super) fn lost(&mut self, statements: &'s [Statement], outer: &Fields<'s>) {
        let Some(own) = Fields::of(statements) else {
            return;
        };
        let Some(first) = own.lines.first() else {
            return;
        };
        let gone = |line: &&&Statement| {
            line.args.first().is_some_and(|field| own.value(&field.text()).is_none())
        };
        let lost: Vec<&Statement> = outer.lines.iter().filter(gone).copied().collect();
        let Some(last) = lost.last() else {
            return;
        };
        let names: Vec<_> = lost
            .iter()
            .filter_map(|line| Some(format!("\"{}\"", line.args.first()?.text())))
            .collect();
        let message = format!(
            "{} of the outer block (line {}) {} not set here: a block with a \"proxy_set_header\" of \
             its own inherits none",
            names.join(", "),
            last.name.place.line,
            if names.len() == 1 { "is" } else { "are" },
        );
        let place = first.name.place;
        let is_handshake = |line: &&Statement| {
            let field = line.args.first();
            field.is_some_and(|field| HANDSHAKE.iter().any(|name| same(field, name)))
        };
        let breaks = outer.makes_handshake() && lost.iter().any(is_handshake);
        let (mistake, fault) = match breaks {
            true => (Mistake::LostHandshake, Fault::warning(place, message)),
            false => (Mistake::LostFields, Fault::notice(place, message)),
        };
        let lines: Vec<_> = lost.iter().map(|line| written(line)).collect();
        let hint = format!("if it should be, write here as well: {}", lines.join(" "));
        self.found.tell(mistake, place, fault.hint(hint));
    }
}

/// A `proxy_set_header` line as one would write it.
fn written(line: &Statement) -> String {
    let quoted = |word: &Word| {
        let text = word.text().into_owned();
        let bare = !text.is_empty() && !text.contains([' ', ';', '"', '\'', '{', '}', '\t']);
        if bare { text } else { format!("\"{text}\"") }
    };
    let args: Vec<_> = line.args.iter().map(quoted).collect();
    format!("proxy_set_header {};", args.join(" "))
}

fn same(field: &Word, name: &str) -> bool {
    field.bytes.eq_ignore_ascii_case(name.as_bytes())
}
