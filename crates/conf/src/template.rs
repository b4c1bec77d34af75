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

/// Reads what follows a `$`: the part and how many bytes it took. As in nginx
/// (`ngx_http_script_compile`), `$10` is the first capture and a zero, and `${1}` is no capture but
/// a variable of that name, which nobody defines.
fn variable(rest: &[u8], word: &Word, names: &mut Names) -> Result<(Part, usize), Fault> {
    if let Some(digit @ b'1'..=b'9') = rest.first() {
        return Ok((Part::Capture(digit - b'0'), 1));
    }
    let braced = rest.first() == Some(&b'{');
    let start = usize::from(braced);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let end =
        rest[start..].iter().position(|byte| !is_name(byte)).map_or(rest.len(), |n| start + n);
    let name = String::from_utf8_lossy(&rest[start..end]);
    if braced && rest.len() > start && rest.get(end) != Some(&b'}') {
        let message = format!("the closing bracket in \"{name}\" variable is missing");
        return Err(Fault::new(word.place, message));
    }
    if name.is_empty() {
        return Err(Fault::new(word.place, "invalid variable name").hint(
            "there is no way to write a literal \"$\" here: put it into a variable with \"map\"",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, SourceId};

    fn compile(text: &str, names: &mut Names) -> Result<Template, String> {
        let place = Place { source: SourceId(0), line: 1, start: 0, end: 0 };
        let word = Word { bytes: text.as_bytes().to_vec(), place };
        Template::compile(&word, names).map_err(|fault| fault.message)
    }

    #[test]
    fn text_variables_and_captures_alternate() {
        let mut names = Names::default();
        let template = compile("a$b.${C}d$10$b", &mut names).expect("a valid template");
        let b = Part::Variable(names.find("b").expect("b was referred to"));
        let c = Part::Variable(names.find("c").expect("names are in lower case"));
        let text = |text: &str| Part::Text(text.as_bytes().into());
        let parts = [text("a"), b.clone(), text("."), c, text("d"), Part::Capture(1), text("0"), b];
        assert_eq!(template.parts(), parts);
        assert_eq!(template.constant(), None);
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_template_without_variables_is_constant() {
        let mut names = Names::default();
        assert_eq!(compile("", &mut names).expect("valid").constant(), Some(&b""[..]));
        assert_eq!(compile("a}{b", &mut names).expect("valid").constant(), Some(&b"a}{b"[..]));
        assert_eq!(compile("x", &mut names), Ok(Template::plain(b"x")));
    }

    /// Each outcome was compared with nginx 1.22.1.
    #[test]
    fn faults_are_those_of_nginx() {
        let invalid = "invalid variable name".to_owned();
        for text in ["$", "a$", "$-", "${", "${}", "$\u{e9}"] {
            assert_eq!(compile(text, &mut Names::default()), Err(invalid.clone()), "{text}");
        }
        for (text, name) in [("${a", "a"), ("${a-}", "a"), ("${$a}", "")] {
            let missing = format!("the closing bracket in \"{name}\" variable is missing");
            assert_eq!(compile(text, &mut Names::default()), Err(missing), "{text}");
        }
    }
}
