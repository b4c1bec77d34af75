//! The manual, generated from the table of directives: pages, JSON for editors, `--explain`.
//!
//! It writes no file: whoever owns the table asks for the texts and compares them with what is in
//! `docs/`. The same table gives the same bytes.

use crate::json::Json;
use crate::{Context, Entry, Kind};
use std::fmt::Write;

/// The index (`README.md`) and one page for each module, in the order of the table: the
/// name of the file and its Markdown.
pub fn pages(table: &[(&str, Entry)]) -> Vec<(String, String)> {
    let table = distinct(table);
    let mut pages = vec![index(&table)];
    for module in modules(&table) {
        let mut text = format!("{NOTICE}\n# {}\n", module.replace('_', "\\_"));
        for (_, entry) in table.iter().filter(|(of, _)| *of == module) {
            section(&mut text, entry);
        }
        pages.push((format!("{module}.md"), text));
    }
    pages
}

/// The table as JSON for editors: a list of objects, sorted by name and module.
pub fn json(table: &[(&str, Entry)]) -> String {
    let mut table = distinct(table);
    table.sort_by_key(|(module, entry)| (entry.name, module.to_string()));
    let entries = table.iter().map(|(module, entry)| {
        let contexts = entry.contexts.iter().map(|context| Json::text(context.name()));
        let most = match entry.arity.most {
            usize::MAX => Json::Null,
            most => Json::Number(most),
        };
        let default = match entry.default {
            "" => Json::Null,
            text => Json::text(text),
        };
        Json::Object(vec![
            ("name", Json::text(entry.name)),
            ("module", Json::text(module)),
            ("kind", Json::text(kind(entry.kind))),
            ("contexts", Json::List(contexts.collect())),
            ("syntax", Json::text(&syntax(entry))),
            ("least", Json::Number(entry.arity.least)),
            ("most", most),
            ("default", default),
            ("doc", Json::text(&doc(entry))),
        ])
    });
    let mut text = Json::List(entries.collect()).to_string();
    text.push('\n');
    text
}

/// What `--explain NAME` prints; `None` when the table does not know the name.
pub fn explain(table: &[(&str, Entry)], name: &str) -> Option<String> {
    let mut text = String::new();
    for (module, entry) in distinct(table).iter().filter(|(_, entry)| entry.name == name) {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}\n\n{}", summary(entry, module), doc(entry));
    }
    Some(text).filter(|text| !text.is_empty())
}

/// What is wrong with the table itself: for a test of whoever owns it. Defaults are checked by
/// [`crate::modules!`]'s `default_faults`, which knows their grammars.
pub fn check_table(table: &[(&str, Entry)]) -> Vec<String> {
    let table = distinct(table);
    let mut complaints = Vec::new();
    for (index, (module, entry)) in table.iter().enumerate() {
        let name = entry.name;
        let mut complain = |what: &str| complaints.push(format!("{module}: \"{name}\" {what}"));
        if !is_name(name) {
            complain("is not a name of lower-case letters, digits and \"_\"");
        }
        if entry.contexts.iter().next().is_none() {
            complain("is allowed in no context");
        }
        if entry.arity.least > entry.arity.most {
            complain("wants more arguments than it allows");
        }
        if entry.arity.most > 0 && entry.syntax.is_empty() {
            complain("takes arguments but has no syntax");
        }
        let doc = doc(entry);
        if doc.len() < 2 || !doc.ends_with('.') {
            complain("has no sentence of doc that ends in a full stop");
        }
        for (other_module, other) in &table[..index] {
            let shared = entry.contexts.iter().find(|&context| other.contexts.has(context));
            if let Some(context) = shared
                && other.name == name
            {
                let context = context.name();
                complain(&format!("stands in \"{context}\" in module {other_module} as well"));
            }
        }
    }
    complaints
}

const NOTICE: &str = "<!-- Generated from the table of directives; do not edit. -->\n";

fn index(table: &[(&str, Entry)]) -> (String, String) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(module, entry)| (entry.name, *module));
    let mut text = format!("{NOTICE}\n# Directives\n\n");
    for (module, entry) in entries {
        let (name, contexts) = (entry.name, contexts(entry));
        let shown = name.replace('_', "\\_");
        let _ = writeln!(text, "* [{shown}]({module}.md#{name}) ({contexts})");
    }
    ("README.md".to_owned(), text)
}

fn section(text: &mut String, entry: &Entry) {
    let name = entry.name.replace('_', "\\_");
    let _ = write!(text, "\n## {name}\n\n```text\n{}```\n\n{}\n", facts(entry), doc(entry));
}

fn summary(entry: &Entry, module: &str) -> String {
    format!("{}Module:  {module}", facts(entry))
}

fn facts(entry: &Entry) -> String {
    let default = match entry.default {
        "" => "-".to_owned(),
        text => format!("{} {text};", entry.name),
    };
    let (syntax, contexts) = (syntax(entry), contexts(entry));
    format!("Syntax:  {syntax}\nDefault: {default}\nContext: {contexts}\n")
}

fn syntax(entry: &Entry) -> String {
    let space = if entry.syntax.is_empty() { "" } else { " " };
    let end = if matches!(entry.kind, Kind::Block(_)) { " { ... }" } else { ";" };
    format!("{}{space}{}{end}", entry.name, entry.syntax)
}

fn contexts(entry: &Entry) -> String {
    entry.contexts.iter().map(Context::name).collect::<Vec<_>>().join(", ")
}

/// The doc without the space that stands behind every `///`.
fn doc(entry: &Entry) -> String {
    let lines = entry.doc.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Setting => "setting",
        Kind::Block(_) => "block",
        Kind::Action => "action",
    }
}

fn is_name(name: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase()) && name.bytes().all(lower)
}

/// The modules in the order in which they first occur.
fn modules<'a>(table: &[(&'a str, Entry)]) -> Vec<&'a str> {
    let mut modules = Vec::new();
    for (module, _) in table {
        if !modules.contains(module) {
            modules.push(*module);
        }
    }
    modules
}

/// The table without repetitions: a module that serves two kinds of block is listed in both.
fn distinct<'a>(table: &[(&'a str, Entry)]) -> Vec<(&'a str, Entry)> {
    let mut seen: Vec<(&str, &str, crate::Contexts)> = Vec::new();
    let mut list = Vec::new();
    for &(module, entry) in table {
        let key = (module, entry.name, entry.contexts);
        if !seen.contains(&key) {
            seen.push(key);
            list.push((module, entry));
        }
    }
    list
}
