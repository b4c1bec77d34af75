//! Files that stand for a folder.

use perdura_conf::{Arity, Each, Fault, Reader, Template, Value, Word, directives};

directives! {
    /// Files that are tried, in order, when a request ends in a slash.
    index: Each<Files> = "index.html", in HTTP | SERVER | LOCATION;
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
                return Err(Fault::new(word.place, "index \"\" in \"index\" directive is invalid"));
            }
            files.push(Template::compile(word, reader.names)?);
        }
        Ok(Self(files))
    }
}
