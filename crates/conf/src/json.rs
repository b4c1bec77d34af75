//! JSON as it is written (RFC 8259), for [`crate::manual`]. It does not read JSON.

use std::fmt;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Number(usize),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    pub fn text(text: &str) -> Json {
        Json::Text(text.to_owned())
    }

    fn write(&self, depth: usize, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => out.write_str("null"),
            Json::Number(number) => write!(out, "{number}"),
            Json::Text(text) => quoted(text, out),
            // Lists of plain values stay on one line.
            Json::List(list) if !list.iter().any(Json::is_nested) => {
                out.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    out.write_str(if index == 0 { "" } else { ", " })?;
                    value.write(depth, out)?;
                }
                out.write_str("]")
            }
            Json::List(list) => {
                out.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    line(index, depth + 1, out)?;
                    value.write(depth + 1, out)?;
                }
                write!(out, "\n{:1$}]", "", depth * INDENT)
            }
            Json::Object(fields) => {
                out.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    line(index, depth + 1, out)?;
                    quoted(name, out)?;
                    out.write_str(": ")?;
                    value.write(depth + 1, out)?;
                }
                write!(out, "\n{:1$}}}", "", depth * INDENT)
            }
        }
    }

    fn is_nested(&self) -> bool {
        matches!(self, Json::List(_) | Json::Object(_))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(0, out)
    }
}

/// How many spaces a level is indented.
const INDENT: usize = 2;

fn line(index: usize, depth: usize, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let comma = if index == 0 { "" } else { "," };
    write!(out, "{comma}\n{:1$}", "", depth * INDENT)
}

/// RFC 8259, 7: quotation mark, reverse solidus and the controls below U+0020 must be escaped.
fn quoted(text: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    out.write_str("\"")?;
    for char in text.chars() {
        match char {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\0'..='\x1f' => write!(out, "\\u{:04x}", char as u32)?,
            _ => write!(out, "{char}")?,
        }
    }
    out.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_escaped_is() {
        let text = Json::text("a\"b\\c\n\r\t\u{1}\u{e9}\u{1f600}").to_string();
        assert_eq!(text, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\u{e9}\u{1f600}\"");
    }

    #[test]
    fn objects_are_indented_and_lists_of_words_are_not() {
        let list = Json::List(vec![Json::text("a"), Json::Null]);
        let object = Json::Object(vec![("x", list), ("y", Json::Number(3))]);
        let text = Json::List(vec![object.clone(), object]).to_string();
        let one = "  {\n    \"x\": [\"a\", null],\n    \"y\": 3\n  }";
        assert_eq!(text, format!("[\n{one},\n{one}\n]"));
    }
}
