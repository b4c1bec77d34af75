//! The condition of an `if`, read in nginx's order of questions so that faults are worded alike.

use crate::regex::{Case, Regex};
use perdura_conf::{Fault, Names, Statement, Template, VariableId, Word};

/// What an `if` asks.
#[derive(Clone, Debug)]
pub enum Condition {
    /// The variable is neither empty nor `0`.
    Truth(VariableId),
    Equal {
        variable: VariableId,
        value: Template,
        negated: bool,
    },
    Matches {
        variable: VariableId,
        regex: Regex,
        negated: bool,
    },
    File {
        path: Template,
        test: FileTest,
        negated: bool,
    },
}

/// What is asked of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTest {
    Plain,
    Folder,
    Exists,
    Executable,
}

/// Reads the words behind `if`.
pub fn read(statement: &Statement, names: &mut Names) -> Result<Condition, Fault> {
    let words = inner_words(&statement.args)?;
    let [first, rest @ ..] = words.as_slice() else {
        // nginx takes the word that only closes for the condition.
        return Err(match statement.args.last() {
            Some(last) => invalid(&Word { bytes: b")".to_vec(), place: last.place }),
            None => invalid(&statement.name),
        });
    };
    match first.bytes.as_slice() {
        [b'$', _, ..] => of_variable(first, rest, names),
        [b'-', _] | [b'!', b'-', _] => of_file(first, rest, names),
        _ => Err(invalid(first)),
    }
}

/// The words between the parentheses, which may touch them.
fn inner_words(args: &[Word]) -> Result<Vec<Word>, Fault> {
    let mut words = args.to_vec();
    let Some(first) = words.first_mut() else {
        return Ok(words);
    };
    if first.bytes.first() != Some(&b'(') {
        return Err(invalid(first));
    }
    first.bytes.remove(0);
    if first.bytes.is_empty() {
        words.remove(0);
    }
    let Some(last) = words.last_mut() else {
        return Ok(words);
    };
    if last.bytes.last() != Some(&b')') {
        return Err(invalid(last));
    }
    last.bytes.pop();
    if last.bytes.is_empty() {
        words.pop();
    }
    Ok(words)
}

fn of_variable(first: &Word, rest: &[Word], names: &mut Names) -> Result<Condition, Fault> {
    if !matches!(rest.len(), 0 | 2) {
        return Err(invalid(first));
    }
    // Braces are a part of the name, as in nginx, which then finds no such variable.
    let name = String::from_utf8_lossy(&first.bytes[1..]);
    let variable = names.refer(&name, Some(first.place));
    let [operator, value] = rest else {
        return Ok(Condition::Truth(variable));
    };
    let negated = operator.bytes.first() == Some(&b'!');
    match operator.bytes.as_slice() {
        b"=" | b"!=" => {
            let value = Template::compile(value, names)?;
            Ok(Condition::Equal { variable, value, negated })
        }
        b"~" | b"~*" | b"!~" | b"!~*" => {
            let case = match operator.bytes.ends_with(b"*") {
                true => Case::Insensitive,
                false => Case::Sensitive,
            };
            let regex = Regex::compile(&value.bytes, value, case, names)?;
            Ok(Condition::Matches { variable, regex, negated })
        }
        _ => {
            let message = format!("unexpected \"{}\" in condition", operator.text());
            Err(Fault::new(operator.place, message)
                .hint("comparisons are: = != ~ ~* !~ !~*, with a blank on both sides"))
        }
    }
}

fn of_file(first: &Word, rest: &[Word], names: &mut Names) -> Result<Condition, Fault> {
    let [path] = rest else {
        return Err(invalid(first));
    };
    let path = Template::compile(path, names)?;
    let test = match first.bytes.last() {
        Some(b'f') => FileTest::Plain,
        Some(b'd') => FileTest::Folder,
        Some(b'e') => FileTest::Exists,
        Some(b'x') => FileTest::Executable,
        _ => return Err(invalid(first)),
    };
    Ok(Condition::File { path, test, negated: first.bytes.starts_with(b"!") })
}

fn invalid(word: &Word) -> Fault {
    Fault::new(word.place, format!("invalid condition \"{}\"", word.text()))
        .hint("write ($variable), ($variable = value), ($variable ~ pattern) or (-f file)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use perdura_conf::{Place, SourceId};

    fn fault(text: &str) -> Option<String> {
        let place = Place { source: SourceId(0), line: 1, start: 0, end: 0 };
        let word = |text: &str| Word { bytes: text.as_bytes().to_vec(), place };
        let args = text.split(' ').map(word).collect();
        let statement = Statement { name: word("if"), args, block: None, closed_at: None };
        read(&statement, &mut Names::default()).err().map(|fault| fault.message)
    }

    /// Each outcome was compared with nginx 1.22.1.
    #[test]
    fn faults_are_those_of_nginx() {
        let sound = ["( $uri )", "($uri = a)", "($uri !~* a)", "(!-f $uri)", "( -d x )"];
        for text in sound {
            assert_eq!(fault(text), None, "{text}");
        }
        for (text, word) in [
            ("()", ")"),
            ("x", "x"),
            ("(-f)", "-f"),
            ("(-f $uri", "$uri"),
            ("(-z $uri)", "-z"),
            ("($ ~ a)", "$"),
            ("($uri = a b)", "$uri"),
            ("(!$uri)", "!$uri"),
            ("(-f a b)", "-f"),
            ("(-ff a)", "-ff"),
            ("(!-z a)", "!-z"),
            ("($uri) x", "x"),
        ] {
            assert_eq!(fault(text), Some(format!("invalid condition \"{word}\"")), "{text}");
        }
        assert_eq!(fault("($uri == a)"), Some("unexpected \"==\" in condition".to_owned()));
    }
}
