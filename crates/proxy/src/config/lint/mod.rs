//! What a configuration says well and still means badly: mistakes around WebSockets that nginx keeps
//! silent about. Each is a warning or a notice with its reason and the line to write instead.
//!
//! It walks the statements once more, after the builder has found them sound, because a compiled
//! location no longer knows which line gave it what. Nothing here makes a configuration unusable.

mod fields;
mod handshake;
mod host_names;
mod maps;

use fields::Fields;
use maps::Maps;
use perdura_conf::{Fault, Place, Statement};
use std::collections::{HashMap, HashSet};

/// How many faults of one kind are shown; a site with 500 locations makes each mistake 500 times.
const EACH_MAX: usize = 8;

/// The mistakes in these statements of the main context.
pub(super) fn check(statements: &[Statement]) -> Vec<Fault> {
    let http = statements.iter().find(|statement| statement.name.is("http"));
    let Some(inner) = http.and_then(|statement| statement.block.as_deref()) else {
        return Vec::new();
    };
    let mut lint =
        Lint { maps: Maps::of(inner), groups: host_names::groups(inner), found: Found::default() };
    lint.block(inner, &Around::default());
    lint.found.faults
}

/// The kinds of mistakes, each of which is told a few times only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mistake {
    NoConnection,
    NoUpgrade,
    NeverUpgrades,
    OldVersion,
    AlwaysUpgrade,
    ClosesPlain,
    LostHandshake,
    LostFields,
    LooksLike,
    Silence,
    ResolvedOnce,
}

#[derive(Default)]
struct Found {
    faults: Vec<Fault>,
    /// A line that many locations inherit is told of once.
    seen: HashSet<(Mistake, u32, u32)>,
    counts: HashMap<Mistake, usize>,
}

impl Found {
    fn tell(&mut self, mistake: Mistake, place: Place, fault: Fault) {
        if !self.seen.insert((mistake, place.source.0, place.start)) {
            return;
        }
        let count = self.counts.entry(mistake).or_default();
        *count += 1;
        if *count == EACH_MAX {
            let hint = fault.hint.clone().unwrap_or_default();
            self.faults.push(fault.hint(format!("{hint}; more of this kind are not shown")));
        } else if *count < EACH_MAX {
            self.faults.push(fault);
        }
    }
}

/// What holds around a block, as far as it matters here.
#[derive(Clone, Default)]
struct Around<'s> {
    fields: Fields<'s>,
    version: Option<&'s Statement>,
    has_read_timeout: bool,
}

impl<'s> Around<'s> {
    /// What holds inside a block with these statements.
    fn inside(&self, statements: &'s [Statement]) -> Self {
        let last = |name| statements.iter().rev().find(|statement| statement.name.is(name));
        Self {
            fields: Fields::of(statements).unwrap_or_else(|| self.fields.clone()),
            version: last("proxy_http_version").or(self.version),
            has_read_timeout: self.has_read_timeout || last("proxy_read_timeout").is_some(),
        }
    }
}

struct Lint<'s> {
    maps: Maps<'s>,
    /// The names of `upstream` blocks, in lower case.
    groups: HashSet<Vec<u8>>,
    found: Found,
}

impl<'s> Lint<'s> {
    fn block(&mut self, statements: &'s [Statement], outer: &Around<'s>) {
        let around = outer.inside(statements);
        for statement in statements {
            let inner = statement.block.as_deref().unwrap_or_default();
            match statement.name.bytes.as_slice() {
                b"server" => {
                    self.lost(inner, &around.fields);
                    self.block(inner, &around);
                }
                b"location" => {
                    if let Some(pass) = pass_in(inner) {
                        self.lost(inner, &around.fields);
                        self.location(statement, pass, &around.inside(inner), &around);
                    }
                    self.block(inner, &around);
                }
                b"upstream" => self.host_names(inner),
                _ => {}
            }
        }
    }

    /// A location that passes requests on by `pass`.
    fn location(
        &mut self,
        location: &'s Statement,
        pass: &'s Statement,
        own: &Around<'s>,
        outer: &Around<'s>,
    ) {
        self.passed_to_a_name(pass);
        self.handshake(own);
        let lost = outer.fields.makes_handshake() && !own.fields.makes_handshake();
        if !own.fields.has_handshake() && !lost && handshake::looks_like_websockets(location) {
            self.looks_like(location);
        }
        if own.fields.makes_handshake() && !own.has_read_timeout {
            self.silence(pass);
        }
    }

    /// A tunnel ends after a minute in which nobody says anything.
    fn silence(&mut self, pass: &Statement) {
        let place = pass.name.place;
        let message = "a tunnel through this location ends after 60 seconds of silence";
        let hint = "write: proxy_read_timeout 1h; (or let the application ping more often than \
                    once in a minute)";
        let fault = Fault::notice(place, message).hint(hint);
        self.found.tell(Mistake::Silence, place, fault);
    }
}

/// The `proxy_pass` of a location: its own, or one of an `if` inside it.
fn pass_in(statements: &[Statement]) -> Option<&Statement> {
    let own = statements.iter().find(|statement| statement.name.is("proxy_pass"));
    own.or_else(|| {
        let conditions = statements.iter().filter(|statement| statement.name.is("if"));
        conditions.filter_map(|statement| pass_in(statement.block.as_deref()?)).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use perdura_conf::{Document, Files, Level};
    use std::io;
    use std::path::{Path, PathBuf};

    struct One(String);

    impl Files for One {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(self.0.clone().into_bytes())
        }

        fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }
    }

    fn of(http: &str) -> Vec<Fault> {
        let files = One(format!("http {{ {http} }}"));
        check(&Document::read(&files, Path::new("/conf"), b"").statements)
    }

    #[test]
    fn a_kind_of_mistake_is_told_a_few_times_only() {
        let location = |n| format!("location /{n} {{ proxy_pass http://a; {BAD} }}");
        let locations: String = (0..100).map(location).collect();
        let faults = of(&format!("server {{ {locations} }}"));
        let told = faults.iter().filter(|fault| fault.message.contains("without \"Connection\""));
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), EACH_MAX);
        assert!(told.iter().all(|fault| fault.level == Level::Warn));
        let hint = told.last().and_then(|fault| fault.hint.clone()).unwrap();
        assert!(hint.ends_with("; more of this kind are not shown"), "{hint}");
    }

    const BAD: &str = "proxy_set_header Upgrade $http_upgrade;";

    /// No golden file can have such a name, because it would have to be found everywhere.
    #[test]
    fn names_that_are_looked_up_once() {
        let told = |http: &str| -> Vec<_> {
            let faults = of(http);
            let once = faults.into_iter().filter(|fault| fault.message.contains("looked up once"));
            once.map(|fault| (fault.level, fault.hint.unwrap_or_default())).collect()
        };
        let pass = |to: &str| format!("server {{ location / {{ proxy_pass {to}; }} }}");
        let found = told(&pass("http://app:8080"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Level::Notice);
        assert!(found[0].1.contains("set $upstream_host app;"), "{}", found[0].1);
        assert!(found[0].1.contains("$upstream_host:8080"), "{}", found[0].1);
        assert_eq!(told("upstream a { server app:8080; server 127.0.0.1; }").len(), 1);
        for silent in [
            pass("http://127.0.0.1:8080"),
            pass("http://[::1]:8080"),
            pass("http://localhost:8080"),
            pass("http://unix:/run/app"),
            pass("http://$host"),
            format!("upstream App {{ server 127.0.0.1; }} {}", pass("http://app/x")),
            "upstream a { server app:8080 resolve; server unix:/run/app; }".to_owned(),
        ] {
            assert_eq!(told(&silent), [], "{silent}");
        }
    }
}
