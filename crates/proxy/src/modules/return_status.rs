//! `return`: ends a request with a status, a text or a redirect.

use perdura_conf::{Arity, Contexts, Entry, Fault, Kind, Names, Number, Statement, Template};

/// The entry of `return` in the table: an action, because it runs in order with others of its
/// block.
pub const ENTRY: Entry = Entry {
    name: "return",
    kind: Kind::Action,
    contexts: Contexts::SERVER.or(Contexts::LOCATION).or(Contexts::IF),
    syntax: "code [text | URL] | URL",
    arity: Arity::between(1, 2),
    default: "",
    doc: "Ends the request with a status and a text, or with a redirect. 444 closes the connection \
          without an answer.",
};

/// One `return`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    pub status: u16,
    pub text: Option<Template>,
}

/// Reads a `return`, with nginx's rules: a lone URL is a 302.
pub fn read(statement: &Statement, names: &mut Names) -> Result<Return, Fault> {
    let first = &statement.args[0];
    let status = Number::parse(&first.bytes);
    match (status, statement.args.get(1)) {
        (Some(code), text) => {
            if code > 999 {
                return Err(Fault::new(
                    first.place,
                    format!("invalid return code \"{}\"", first.text()),
                ));
            }
            let text = text.map(|word| Template::compile(word, names)).transpose()?;
            Ok(Return { status: code as u16, text })
        }
        (None, None) if is_url(&first.bytes) => {
            Ok(Return { status: 302, text: Some(Template::compile(first, names)?) })
        }
        _ => Err(Fault::new(first.place, format!("invalid return code \"{}\"", first.text()))
            .hint("write a status, or a URL that begins with \"http://\", \"https://\" or \"$scheme\"")),
    }
}

fn is_url(bytes: &[u8]) -> bool {
    [&b"http://"[..], b"https://", b"$scheme"].iter().any(|start| bytes.starts_with(start))
}
