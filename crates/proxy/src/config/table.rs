//! The whole table of directives, for suggestions, context hints and the manual.

use crate::config::known;
use crate::modules::{
    events_block, limit_except, main_block, return_status, rewrite, scope, server_block,
    upstream_block,
};
use perdura_conf::{Arity, Context, Contexts, Entry, Kind};

/// Directives that open a block.
const BLOCKS: &[Entry] = &[
    block(
        "events",
        Context::Events,
        Contexts::MAIN,
        "",
        Arity::NONE,
        "Holds what concerns connections as such.",
    ),
    block("http", Context::Http, Contexts::MAIN, "", Arity::NONE, "Holds the HTTP servers."),
    block(
        "server",
        Context::Server,
        Contexts::HTTP,
        "",
        Arity::NONE,
        "A virtual server: its addresses, its names and its locations.",
    ),
    block(
        "location",
        Context::Location,
        Contexts::SERVER.or(Contexts::LOCATION),
        "[ = | ~ | ~* | ^~ ] uri | @name",
        Arity::between(1, 2),
        "What holds for requests whose path matches. An exact path wins, then the longest `^~` \
         prefix, then the first regular expression, then the longest prefix.",
    ),
    block(
        "upstream",
        Context::Upstream,
        Contexts::HTTP,
        "name",
        Arity::exactly(1),
        "A group of servers that `proxy_pass` can name.",
    ),
    block(
        "map",
        Context::Table,
        Contexts::HTTP,
        "string $variable",
        Arity::exactly(2),
        "Makes a variable whose value depends on others. Keys are compared without regard to case; \
         `default`, `hostnames`, `volatile`, `include` and regular expressions have their meaning.",
    ),
    block(
        "geo",
        Context::Table,
        Contexts::HTTP,
        "[$address] $variable",
        Arity::between(1, 2),
        "Makes a variable whose value depends on the client's address, or on the one that a variable \
         holds: that of the smallest network that has the address. `default`, `delete` and `include` \
         have their meaning; `ranges` and `proxy` are not there.",
    ),
    block(
        "split_clients",
        Context::Table,
        Contexts::HTTP,
        "string $variable",
        Arity::exactly(2),
        "Makes a variable that has one of several values, shared out by the hash of the string: \
         `0.5% value;`, and `* value;` for the rest.",
    ),
    block(
        "types",
        Context::Table,
        Contexts::HTTP.or(Contexts::SERVER).or(Contexts::LOCATION),
        "",
        Arity::NONE,
        "Maps endings of file names to MIME types.",
    ),
    rewrite::IF,
    limit_except::ENTRY,
];

/// `include` is expanded before anything looks at the table.
const INCLUDE: Entry = Entry {
    name: "include",
    kind: Kind::Setting,
    contexts: Contexts::MAIN
        .or(Contexts::EVENTS)
        .or(Contexts::HTTP)
        .or(Contexts::SERVER)
        .or(Contexts::LOCATION)
        .or(Contexts::IF)
        .or(Contexts::LIMIT_EXCEPT)
        .or(Contexts::UPSTREAM),
    syntax: "file | mask",
    arity: Arity::exactly(1),
    default: "",
    doc: "Reads other files in place; paths are relative to the folder of the main file.",
};

const fn block(
    name: &'static str,
    opens: Context,
    contexts: Contexts,
    syntax: &'static str,
    arity: Arity,
    doc: &'static str,
) -> Entry {
    Entry { name, kind: Kind::Block(opens), contexts, syntax, arity, default: "", doc }
}

/// The block directive of this name.
pub(super) fn block_entry(name: &[u8]) -> Option<&'static Entry> {
    BLOCKS.iter().find(|entry| entry.name.as_bytes() == name)
}

/// A directive that runs in the order of the file.
pub(super) fn action_entry(name: &[u8]) -> Option<&'static Entry> {
    let known = |entry: &&Entry| entry.name.as_bytes() == name;
    let first = Some(&return_status::ENTRY).filter(known);
    first.or_else(|| rewrite::ENTRIES.iter().find(known))
}

/// Every directive with the module that it belongs to, in the order of the manual.
pub fn entries() -> Vec<(&'static str, Entry)> {
    let mut list: Vec<(&'static str, Entry)> = vec![("blocks", INCLUDE)];
    list.extend(BLOCKS.iter().map(|entry| ("blocks", *entry)));
    list.extend(main_block::entries());
    list.extend(events_block::entries());
    list.extend(server_block::entries());
    list.extend(scope::entries());
    list.extend(rewrite::ENTRIES.iter().map(|entry| ("rewrite", *entry)));
    list.push(("return_status", return_status::ENTRY));
    list.extend(upstream_block::entries());
    // `error_log` stands in two lists because two kinds of blocks have it; it is one directive.
    let mut seen = std::collections::HashSet::new();
    list.retain(|(module, entry)| {
        seen.insert((*module, entry.name, entry.contexts.has(Context::Upstream)))
    });
    list
}

/// The pages of the manual: file name and text.
pub fn manual_pages() -> Vec<(String, String)> {
    let mut pages = perdura_conf::manual::pages(&entries());
    pages.push(crate::variables::manual::page());
    pages
}

/// What the manual says of a directive, or of a variable with its `$`. `Err` says why it says
/// nothing.
pub fn explain(name: &str) -> Result<String, String> {
    let table = entries();
    if let Some(variable) = name.strip_prefix('$') {
        let names = crate::variables::manual::names();
        return crate::variables::manual::explain(variable)
            .ok_or_else(|| unknown("variable", variable, "$", names));
    }
    if let Some(text) = perdura_conf::manual::explain(&table, name) {
        return Ok(text);
    }
    if let Some(idle) = known::WITHOUT_MEANING.iter().find(|entry| entry.name == name) {
        let why = idle.doc;
        let text = format!(
            "Syntax:  {name} {};\n\nIt is accepted and has no effect: {why}.\n",
            idle.syntax
        );
        return Ok(text);
    }
    let family = known::NOT_YET_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if family || known::NOT_YET.contains(&name) {
        return Err(format!("directive \"{name}\" is not supported yet"));
    }
    Err(unknown("directive", name, "", table.iter().map(|(_, entry)| entry.name)))
}

/// Every name that can be explained, sorted: for completions.
pub fn explained_names() -> Vec<String> {
    let mut names: Vec<_> = entries().iter().map(|(_, entry)| entry.name.to_owned()).collect();
    names.extend(crate::variables::manual::names().map(|name| format!("${name}")));
    names.sort_unstable();
    names.dedup();
    names
}

fn unknown(
    what: &str,
    name: &str,
    sign: &str,
    known: impl Iterator<Item = &'static str>,
) -> String {
    let near = perdura_conf::suggest(name, known);
    let near = near.map_or(String::new(), |near| format!("; did you mean \"{sign}{near}\"?"));
    format!("unknown {what} \"{sign}{name}\"{near}")
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
