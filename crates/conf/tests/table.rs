//! The table of directives as a user of the crate declares it: reading, inheritance, defaults, and
//! what is derived from it.

use perdura_conf::{
    Context, Contexts, Document, Each, Entry, Fault, Files, Flag, Names, Offset, Reader, Size,
    Statement, Text, Time, Word, check_table, manual, render, unknown_directive,
};
use std::io;
use std::path::{Path, PathBuf};

mod modules {
    pub mod basic {
        use perdura_conf::{Each, Flag, Offset, Size, Template, Text, Time, directives};

        directives! {
            /// Sets a flag.
            flag: Flag = "on", in MAIN | HTTP;

            /// Sets a size.
            ///
            /// It has "k" and `m` | more.
            size: Size = "8k", in HTTP;

            /// Sets a limit.
            limit: Option<Offset> = "", in HTTP | SERVER;

            /// Adds to a list.
            list: Each<Text> = "", in HTTP | SERVER;

            /// Sets a time.
            time: Time = "1m", in HTTP;

            /// Has the name of a keyword.
            "return" return_text: Template = "\"a b\"", in SERVER;

            => also {
                /// Adds to the list too.
                "more" list: "string", 1..=1, in HTTP | SERVER;
            }
        }
    }

    pub mod other {
        use perdura_conf::{Text, directives};

        perdura_conf::choice! {
            /// A colour.
            pub enum Colour { Red = "red", Green = "green" }
        }

        directives! {
            /// Has the name of another directive, elsewhere.
            size: Text = "x", in UPSTREAM;

            /// Chooses a colour.
            colour: Colour = "red", in HTTP;
        }
    }

    pub mod broken {
        use perdura_conf::{Number, directives};

        directives! {
            /// No full stop
            number: Number = "x", in HTTP;

            /// Stands twice.
            flag: Number = "", in MAIN;
        }
    }
}

mod good {
    perdura_conf::modules! { basic, other }
}

mod bad {
    perdura_conf::modules! { basic, broken }
}

struct One(&'static str);

impl Files for One {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn glob(&self, _pattern: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

fn document(text: &'static str) -> Document {
    Document::read(&One(text), Path::new("/etc/x/main.conf"), b"")
}

fn with_reader<T>(directive: &Word, use_it: impl FnOnce(&mut Reader<'_>) -> T) -> T {
    let mut names = Names::default();
    use_it(&mut Reader {
        directive,
        names: &mut names,
        files: &One(""),
        prefix: Path::new("/usr/x"),
        conf_prefix: Path::new("/etc/x"),
    })
}

fn set(
    written: &mut good::Written,
    statement: &Statement,
    context: Context,
) -> Option<Result<(), Fault>> {
    with_reader(&statement.name, |reader| written.set(statement, context, reader))
}

/// Reads `text` as the content of `context`; the first fault's message.
fn read(text: &'static str, context: Context) -> Result<good::Written, String> {
    let document = document(text);
    assert!(document.faults.is_empty(), "{:?}", document.faults);
    let mut written = good::Written::default();
    for statement in &document.statements {
        match set(&mut written, statement, context) {
            Some(Ok(())) => {}
            Some(Err(fault)) => return Err(fault.message),
            None => return Err(unknown_directive(statement, names()).message),
        }
    }
    Ok(written)
}

fn names() -> Vec<&'static str> {
    good::entries().iter().map(|(_, entry)| entry.name).collect()
}

fn settle(written: good::Written) -> good::Settings {
    let document = document("x;");
    with_reader(&document.statements[0].name, |reader| written.settle(reader))
}

#[test]
fn what_is_written_holds_and_the_rest_has_its_default() {
    let written = read("size 4k; list a; list b; colour GREEN;", Context::Http);
    let settings = settle(written.expect("a valid text"));
    assert_eq!(settings.basic.size, Size(4096));
    assert_eq!(settings.basic.list, Each(vec![Text(b"a".to_vec()), Text(b"b".to_vec())]));
    assert_eq!(settings.basic.flag, Flag(true));
    assert_eq!(settings.basic.limit, None);
    assert_eq!(settings.basic.time, Time(60_000));
    assert_eq!(settings.basic.return_text.constant(), Some(&b"a b"[..]));
    assert_eq!(settings.other.colour, modules::other::Colour::Green);
}

#[test]
fn an_inner_block_takes_what_it_does_not_have_and_replaces_whole_lists() {
    let outer = read("list a; list b; limit 1g;", Context::Http).expect("a valid text");
    let mut inner = read("list c;", Context::Server).expect("a valid text");
    inner.inherit(&outer);
    let settings = settle(inner);
    assert_eq!(settings.basic.list, Each(vec![Text(b"c".to_vec())]));
    assert_eq!(settings.basic.limit, Some(Offset(1 << 30)));
}

#[test]
fn faults_are_worded_as_nginx_words_them() {
    let cases = [
        ("flag on; flag off;", "\"flag\" directive is duplicate"),
        ("flag on; flag x;", "\"flag\" directive is duplicate"),
        ("flag x;", "invalid value \"x\" in \"flag\" directive, it must be \"on\" or \"off\""),
        ("size 1g;", "\"size\" directive invalid value"),
        ("list;", "invalid number of arguments in \"list\" directive"),
        ("list a b;", "invalid number of arguments in \"list\" directive"),
        ("list a {}", "directive \"list\" is not terminated by \";\""),
        ("return a {}", "\"return\" directive is not allowed here"),
        ("colour blue;", "invalid value \"blue\""),
        ("unheard of;", "unknown directive \"unheard\""),
    ];
    for (text, message) in cases {
        assert_eq!(read(text, Context::Http).err().as_deref(), Some(message), "{text}");
    }
}

#[test]
fn a_name_stands_for_what_its_context_says() {
    let upstream = read("size word;", Context::Upstream).expect("a valid text");
    assert_eq!(upstream.other.size, Some(Text(b"word".to_vec())));
    assert_eq!(upstream.basic.size, None);
    let fault = read("size 1k;", Context::Main).err();
    assert_eq!(fault.as_deref(), Some("\"size\" directive is not allowed here"));
}

#[test]
fn hints_name_what_was_meant_and_where_it_may_stand() {
    let document = document("sise 1k;\nsize 1k;\ncolour gren;\n");
    let mut written = good::Written::default();
    let [first, second, third] = document.statements.as_slice() else {
        panic!("three statements");
    };
    assert!(set(&mut written, first, Context::Http).is_none());
    let fault = unknown_directive(first, names());
    let text = render("perdura", &fault, &document.sources);
    let expected = "perdura: [emerg] unknown directive \"sise\" in /etc/x/main.conf:1\n  |\n\
                    1 | sise 1k;\n  | ^^^^\n  = hint: did you mean \"size\"?";
    assert_eq!(text, expected);
    let fault = set(&mut written, second, Context::Main).and_then(Result::err);
    let hint = fault.and_then(|fault| fault.hint);
    assert_eq!(hint.as_deref(), Some("\"size\" is allowed in: http, upstream"));
    let fault = set(&mut written, third, Context::Http).and_then(Result::err);
    let hint = fault.and_then(|fault| fault.hint);
    assert_eq!(hint.as_deref(), Some("did you mean \"green\"?"));
}

#[test]
fn a_byte_order_mark_is_part_of_a_name_as_in_nginx_and_has_its_hint() {
    let document = document("\u{feff}size 1k;");
    let fault = unknown_directive(&document.statements[0], names());
    assert_eq!(fault.message, "unknown directive \"\u{feff}size\"");
    assert!(fault.hint.is_some_and(|hint| hint.contains("byte order mark")));
}

#[test]
fn a_sound_table_has_no_complaints() {
    assert_eq!(check_table(&good::entries()), Vec::<String>::new());
    let word = document("x;").statements[0].name.clone();
    assert_eq!(with_reader(&word, good::default_faults), Vec::<String>::new());
}

#[test]
fn every_mistake_in_a_table_is_found() {
    let mut table = bad::entries();
    let sound = table[0].1;
    let nameless = Entry { name: "No-Name", contexts: Contexts::NONE, syntax: "", ..sound };
    table.push(("extra", nameless));
    assert_eq!(
        check_table(&table),
        [
            "broken: \"number\" has no sentence of doc that ends in a full stop",
            "broken: \"flag\" stands in \"main\" in module basic as well",
            "extra: \"No-Name\" is not a name of lower-case letters, digits and \"_\"",
            "extra: \"No-Name\" is allowed in no context",
            "extra: \"No-Name\" takes arguments but has no syntax",
        ]
    );
    let word = document("x;").statements[0].name.clone();
    assert_eq!(
        with_reader(&word, bad::default_faults),
        [
            "broken: default of \"number\": \"x\" directive invalid number",
            "broken: default of \"flag\": an empty default needs a grammar that can be absent",
        ]
    );
}

#[test]
fn the_manual_has_a_page_for_each_module() {
    let mut table = good::entries();
    table.extend(good::entries());
    let pages = manual::pages(&table);
    let files: Vec<&str> = pages.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(files, ["README.md", "basic.md", "other.md"]);
    assert!(pages[0].1.contains("* [return](basic.md#return) (server)\n"));
    assert!(
        pages[0].1.contains("* [size](basic.md#size) (http)\n* [size](other.md#size) (upstream)\n")
    );
    let section = "\n## size\n\n```text\nSyntax:  size size;\nDefault: size 8k;\nContext: http\n```\n\n\
                   Sets a size.\n\nIt has \"k\" and `m` | more.\n";
    assert!(pages[1].1.contains(section), "{}", pages[1].1);
    assert!(pages[1].1.contains("Default: -\n"));
    assert_eq!(pages[1].1.matches("\n## size\n").count(), 1, "a module is listed once");
}

#[test]
fn editors_get_the_table_as_json() {
    let json = manual::json(&good::entries());
    let size = "  {\n    \"name\": \"size\",\n    \"module\": \"basic\",\n    \"kind\": \"setting\",\n    \
                \"contexts\": [\"http\"],\n    \"syntax\": \"size size;\",\n    \"least\": 1,\n    \
                \"most\": 1,\n    \"default\": \"8k\",\n    \
                \"doc\": \"Sets a size.\\n\\nIt has \\\"k\\\" and `m` | more.\"\n  }";
    assert!(json.contains(size), "{json}");
    assert!(json.starts_with("[\n  {\n    \"name\": \"colour\"") && json.ends_with("}\n]\n"));
}

#[test]
fn explain_knows_every_directive_of_a_name() {
    let text = manual::explain(&good::entries(), "size").expect("a known name");
    assert!(
        text.starts_with("Syntax:  size size;\nDefault: size 8k;\nContext: http\nModule:  basic\n")
    );
    assert!(text.contains("Context: upstream\nModule:  other\n\nHas the name"));
    assert_eq!(manual::explain(&good::entries(), "nothing"), None);
}
