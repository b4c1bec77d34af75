//! Which crate may name which: the arrows that the design forbids.

use super::Violation;
use super::source::Source;

/// Code below `folder` must not name any of `names`, but for the files of `except`.
struct Ban {
    folder: &'static str,
    names: &'static [&'static str],
    except: &'static [&'static str],
}

const BANS: &[Ban] = &[
    Ban {
        folder: "crates/conf/",
        names: &["perdura_tunnel", "perdura_proxy", "tokio", "std::net", "rustix"],
        except: &[],
    },
    Ban {
        folder: "crates/tunnel/",
        names: &["perdura_conf", "perdura_proxy", "tokio"],
        except: &["crates/tunnel/src/stream.rs"],
    },
    Ban { folder: "crates/proxy/", names: &["lexopt"], except: &[] },
    Ban {
        folder: "tests/",
        names: &["perdura_proxy", "perdura_conf", "perdura_tunnel"],
        except: &[],
    },
    Ban {
        folder: "bench/",
        names: &["perdura_proxy", "perdura_conf", "perdura_tunnel"],
        except: &[],
    },
];

/// A module of the proxy must not name another module.
const MODULES: &str = "crates/proxy/src/modules/";

pub fn check(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !source.is_rust() {
        return violations;
    }
    for ban in BANS.iter().filter(|ban| source.path.starts_with(ban.folder)) {
        if ban.except.contains(&source.path.as_str()) {
            continue;
        }
        for (number, line) in source.code_lines() {
            for name in ban.names.iter().filter(|name| names(line, name)) {
                violations
                    .push(Violation::new(number, format!("{} must not name {name}", ban.folder)));
            }
        }
    }
    violations.extend(modules(source));
    violations
}

fn modules(source: &Source) -> Vec<Violation> {
    let Some(own) = source.path.strip_prefix(MODULES) else { return Vec::new() };
    if own == "mod.rs" {
        return Vec::new();
    }
    let own = own.split(['/', '.']).next().unwrap_or_default();
    let mut violations = Vec::new();
    for (number, line) in source.code_lines() {
        for path in ["modules::", "super::"] {
            let nested = source.path[MODULES.len()..].contains('/') && path == "super::";
            for (at, _) in line.match_indices(path).filter(|_| !nested) {
                let rest = &line[at + path.len()..];
                let end = rest.find(|one: char| !(one.is_alphanumeric() || one == '_'));
                let name = &rest[..end.unwrap_or(rest.len())];
                let is_module = name.starts_with(char::is_lowercase) && name != own;
                if is_module && rest[name.len()..].starts_with("::") {
                    let what = format!("a module must not name another module: {name}");
                    violations.push(Violation::new(number, what));
                }
            }
        }
    }
    violations
}

/// Whether a line names this crate or path as a whole word.
fn names(line: &str, name: &str) -> bool {
    let word = |one: char| one.is_alphanumeric() || one == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(word) && !after.is_some_and(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_arrows_are_found() {
        for (path, text) in [
            ("crates/conf/src/a.rs", "use perdura_tunnel::Table;"),
            ("crates/conf/src/a.rs", "fn f() { std::net::TcpStream }"),
            ("crates/tunnel/src/relay/mod.rs", "use tokio::io;"),
            ("tests/src/a.rs", "use perdura_proxy::x;"),
            ("crates/proxy/src/modules/log.rs", "use crate::modules::proxy::Settings;"),
            ("crates/proxy/src/modules/log.rs", "use super::proxy::Settings;"),
        ] {
            assert_eq!(check(&Source::new(path, text)).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn allowed_arrows_are_not() {
        for (path, text) in [
            ("crates/conf/src/a.rs", "// tokio in a comment"),
            ("crates/conf/src/a.rs", "let tokio_like = 1;"),
            ("crates/tunnel/src/stream.rs", "use tokio::io;"),
            ("crates/proxy/src/front/a.rs", "use perdura_conf::Fault;"),
            ("crates/proxy/src/modules/log.rs", "use crate::modules::log::Settings;"),
            ("crates/proxy/src/modules/mod.rs", "use super::modules::proxy::x;"),
            ("crates/proxy/src/modules/log.rs", "use super::Settings;"),
        ] {
            assert_eq!(check(&Source::new(path, text)), [], "{path}: {text}");
        }
    }
}
