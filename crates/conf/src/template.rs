//! Strings with variables: `$name`, `${name}`, `$1`.

use crate::value::{Reader, Value};
use crate::{Arity, Fault, Names, VariableId, Word};

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(Box<[u8]>),
    Variable(VariableId),
    /// `$1` to `$9`: a capture of the last regular expression.
    Capture(u8),
}

/// A compiled string with variables. Nothing is parsed when it is evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Template {
    parts: Box<[Part]>,
}

impl Template {
    /// Compiles `word`. As in nginx, `$` before a character that starts no name is a fault
    /// (`invalid variable name`), and so is `${name` without its closing brace.
    pub fn compile(word: &Word, names: &mut Names) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut rest = word.bytes.as_slice();
        while let Some(dollar) = rest.iter().position(|&byte| byte == b'$') {
            text.extend_from_slice(&rest[..dollar]);
            let (part, length) = variable(&rest[dollar + 1..], word, names)?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text).into_boxed_slice()));
            }
            parts.push(part);
            rest = &rest[dollar + 1 + length..];
        }
        text.extend_from_slice(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text.into_boxed_slice()));
        }
        Ok(Self { parts: parts.into_boxed_slice() })
    }

    /// A template of plain text.
    pub fn plain(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        Self { parts: Box::new([Part::Text(text.into())]) }
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text, when the template holds no variable.
    pub fn constant(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// Reads what follows a `$`: the part and how many bytes it took.
fn variable(rest: &[u8], word: &Word, names: &mut Names) -> Result<(Part, usize), Fault> {
    if let Some(digit @ b'1'..=b'9') = rest.first() {
        return Ok((Part::Capture(digit - b'0'), 1));
    }
    let braced = rest.first() == Some(&b'{');
    let start = usize::from(braced);
    if braced
        && let Some(digit @ b'1'..=b'9') = rest.get(1)
        && rest.get(2) == Some(&b'}')
    {
        return Ok((Part::Capture(digit - b'0'), 3));
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let end =
        rest[start..].iter().position(|byte| !is_name(byte)).map_or(rest.len(), |n| start + n);
    if braced && rest.get(end) != Some(&b'}') {
        let name = String::from_utf8_lossy(&rest[start..end]);
        return Err(Fault::new(
            word.place,
            format!("the closing bracket in \"{name}\" variable is missing"),
        ));
    }
    let name = String::from_utf8_lossy(&rest[start..end]);
    if name.is_empty() {
        return Err(Fault::new(word.place, "invalid variable name").hint(
            "nginx has no way to write a literal \"$\"; put it into a variable with \"map\"",
        ));
    }
    Ok((Part::Variable(names.refer(&name, Some(word.place))), end + usize::from(braced)))
}

impl Value for Template {
    const SYNTAX: &'static str = "string";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Template::compile(&args[0], reader.names)
    }
}
