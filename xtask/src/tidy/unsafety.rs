//! `unsafe` stands only where the kernel is spoken to without a safe wrapper.

use super::Violation;
use super::source::Source;

/// Files and folders in which `unsafe` may stand, each with why.
const NAMED: &[(&str, &str)] = &[
    ("crates/tunnel/src/poll/", "epoll over the shared mapping, and raw descriptors"),
    ("crates/tunnel/src/splice.rs", "pipes between raw descriptors"),
    ("crates/tunnel/src/kernel.rs", "what the kernel tells of a socket"),
    ("crates/tunnel/src/table/map.rs", "the mapping of the shared table"),
    ("crates/tunnel/src/engine/tests.rs", "a table that is looked at as raw memory"),
    ("crates/tunnel/tests/", "processes that are made to be killed"),
    ("crates/proxy/src/inherited.rs", "descriptors that the master hands over by number"),
    ("crates/proxy/src/socket.rs", "registration of a descriptor that outlives it"),
    ("crates/proxy/src/world.rs", "names of users"),
    ("crates/proxy/src/world/", "names of users"),
    ("crates/proxy/src/clock.rs", "local time"),
    ("crates/proxy/src/socket_option.rs", "options that no wrapper knows"),
    ("crates/proxy/src/password/libcrypt.rs", "crypt(3)"),
    ("src/master/", "clone, descriptors by number, identity"),
    ("src/daemon.rs", "fork and setsid"),
    ("src/signal.rs", "signal masks"),
];

pub fn check(source: &Source) -> Vec<Violation> {
    if !source.is_rust() || NAMED.iter().any(|(path, _)| source.path.starts_with(path)) {
        return Vec::new();
    }
    let word = |one: char| one.is_alphanumeric() || one == '_';
    let names = |line: &str| line.split(|one: char| !word(one)).any(|word| word == "unsafe");
    let lines =
        source.code_lines().filter(|(_, line)| names(line) && !line.contains("unsafe_code"));
    lines.map(|(number, _)| Violation::new(number, "unsafe stands in named files only")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_outside_the_named_files_is_found() {
        assert_eq!(check(&Source::new("crates/conf/src/a.rs", "unsafe { f() }")).len(), 1);
        assert!(check(&Source::new("src/master/process.rs", "unsafe { f() }")).is_empty());
        assert!(check(&Source::new("a.rs", "// unsafe\n#![forbid(unsafe_code)]")).is_empty());
    }
}
