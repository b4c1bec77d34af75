//! Files that stand for a folder.

use perdura_conf::{Arity, Each, Fault, Reader, Statement, Template, Value, Word, directives};

directives! {
    /// Files that are tried, in order, when a path ends in a slash; the first that is there is
    /// served by an internal redirect. The last one may be absolute.
    index: Each<Files> = "index.html", in HTTP | SERVER | LOCATION;
}

/// What can only be said of a whole statement: behind an absolute name nothing is tried.
pub fn check(statement: &Statement) -> Option<Fault> {
    let (_, rest) = statement.args.split_last().filter(|_| statement.name.is("index"))?;
    let word = rest.iter().find(|word| word.bytes.starts_with(b"/"))?;
    let message = "only the last index in \"index\" directive should be absolute";
    Some(Fault::warning(word.place, message))
}

/// The files of one `index` directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files(pub Vec<Template>);

impl Value for Files {
    const SYNTAX: &'static str = "file ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut files = Vec::with_capacity(args.len());
        for word in args {
            if word.bytes.is_empty() {
                // nginx shows the first name, whichever of them is empty.
                let message =
                    format!("index \"{}\" in \"index\" directive is invalid", args[0].text());
                return Err(Fault::new(word.place, message).hint("a name must not be empty"));
            }
            files.push(Template::compile(word, reader.names)?);
        }
        Ok(Self(files))
    }
}
