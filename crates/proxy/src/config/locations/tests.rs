//! Locations against nginx's documentation of `location`, read slowly.

use super::*;
use crate::config::chance::Chance;
use crate::config::{Built, Options, build};
use crate::world::World;
use perdura_conf::Files;
use std::fmt::Write;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A world with one file.
struct One(String);

impl Files for One {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path == Path::new("/conf") {
            true => Ok(self.0.clone().into_bytes()),
            false => Err(io::Error::from_raw_os_error(2)),
        }
    }

    fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

impl World for One {
    fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::Error::from_raw_os_error(2))
    }

    fn user(&self, _: &str) -> Option<(u32, u32)> {
        None
    }

    fn group(&self, _: &str) -> Option<u32> {
        None
    }

    fn groups_of(&self, _: &str, gid: u32) -> Vec<u32> {
        vec![gid]
    }
}

fn built(body: &str) -> Built {
    let text = format!("events {{ }} http {{ server {{ listen 127.0.0.1:1; {body} }} }}");
    let options = Options {
        conf: "/conf".into(),
        prefix: "/".into(),
        globals: String::new(),
        error_log: None,
    };
    build(&One(text), &options)
}

/// One location as it was written.
#[derive(Clone, Debug)]
struct Rule {
    /// `=`, `^~`, `~` or nothing.
    modifier: &'static str,
    name: String,
    /// It passes requests on.
    passes: bool,
    /// The number by which it is known, as its `default_type`.
    number: usize,
    inner: Vec<Rule>,
}

impl Rule {
    fn write(&self, out: &mut String) {
        let (modifier, name, number) = (self.modifier, &self.name, self.number);
        write!(out, "location {modifier} {name} {{ default_type n/{number}; ").unwrap();
        if self.passes {
            out.push_str("proxy_pass http://127.0.0.1:9; ");
        }
        for rule in &self.inner {
            rule.write(out);
        }
        out.push('}');
    }

    fn is_prefix(&self) -> bool {
        matches!(self.modifier, "" | "^~")
    }
}

/// Which rule answers, and whether by a redirect to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Final(usize),
    /// A prefix, which a pattern further out may still overrule.
    Provisional(usize),
    Redirect(usize),
}

/// `ngx_http_core_find_location`, without any tree.
fn slow_find(rules: &[Rule], path: &str) -> Option<Answer> {
    if let Some(rule) = rules.iter().find(|rule| rule.modifier == "=" && rule.name == path) {
        return Some(Answer::Final(rule.number));
    }
    let prefix = rules
        .iter()
        .filter(|rule| rule.is_prefix() && path.starts_with(&rule.name))
        .max_by_key(|rule| rule.name.len());
    let slashed = format!("{path}/");
    let mut redirects =
        rules.iter().filter(|rule| rule.modifier != "~" && rule.passes && rule.name == slashed);
    if prefix.is_none_or(|rule| rule.name != path) {
        let exact = redirects.clone().find(|rule| rule.modifier == "=");
        if let Some(rule) = exact.or_else(|| redirects.next()) {
            return Some(Answer::Redirect(rule.number));
        }
    }
    let mut best = prefix.map(|rule| Answer::Provisional(rule.number));
    if let Some(rule) = prefix {
        match slow_find(&rule.inner, path) {
            Some(found @ (Answer::Final(_) | Answer::Redirect(_))) => return Some(found),
            Some(found) => best = Some(found),
            None => {}
        }
        if rule.modifier == "^~" {
            return best;
        }
    }
    let pattern = rules.iter().find(|rule| rule.modifier == "~" && path.contains(&rule.name));
    let Some(pattern) = pattern else {
        return best;
    };
    Some(Answer::Final(match slow_find(&pattern.inner, path) {
        Some(Answer::Final(number) | Answer::Provisional(number) | Answer::Redirect(number)) => {
            number
        }
        None => pattern.number,
    }))
}

/// Rules below `outer`, which is the text that prefixes must begin with.
fn rules(chance: &mut Chance, outer: &str, depth: usize, number: &mut usize) -> Vec<Rule> {
    let mut list: Vec<Rule> = Vec::new();
    for _ in 0..chance.below(5) {
        let modifier = ["", "", "=", "^~", "~"][chance.below(5)];
        let mut name = if modifier == "~" { String::new() } else { outer.to_owned() };
        for _ in 0..1 + chance.below(3) {
            name.push(['a', 'b', '/'][chance.below(3)]);
        }
        let kind = |modifier: &str| matches!(modifier, "" | "^~");
        let taken = list.iter().any(|rule| {
            rule.name == name
                && (rule.modifier == modifier || kind(rule.modifier) && kind(modifier))
        });
        if taken && modifier != "~" {
            continue;
        }
        *number += 1;
        let own = *number;
        let nests = modifier != "=" && depth < 2;
        let inner = if nests { rules(chance, &name, depth + 1, number) } else { Vec::new() };
        let passes = chance.below(3) == 0;
        list.push(Rule { modifier, name, passes, number: own, inner });
    }
    list
}

fn fast_find(locations: &Locations, path: &str) -> Option<(usize, bool)> {
    let (location, redirects) = match locations.find(path.as_bytes()).unwrap()? {
        Found::Location { location, .. } => (location, false),
        Found::NeedsSlash(location) => (location, true),
    };
    let mime = String::from_utf8(location.settings.core.default_type.0.clone()).unwrap();
    Some((mime.strip_prefix("n/").unwrap().parse().unwrap(), redirects))
}

#[test]
fn a_path_belongs_to_the_location_that_nginx_finds() {
    let seed = Chance::seed();
    let mut chance = Chance::new(seed);
    let mut redirects = 0;
    for round in 0..400 {
        let list = rules(&mut chance, "/", 0, &mut 0);
        let mut body = String::new();
        list.iter().for_each(|rule| rule.write(&mut body));
        let built = built(&body);
        let config = built.config.unwrap_or_else(|| panic!("{body}: {:?}", built.faults));
        let server = &config.endpoints.values().next().unwrap().default;
        for _ in 0..50 {
            let mut path = "/".to_owned();
            for _ in 0..chance.below(7) {
                path.push(['a', 'b', '/'][chance.below(3)]);
            }
            let expected = slow_find(&list, &path).map(|answer| match answer {
                Answer::Final(number) | Answer::Provisional(number) => (number, false),
                Answer::Redirect(number) => (number, true),
            });
            redirects += usize::from(expected.is_some_and(|(_, redirect)| redirect));
            let found = fast_find(&server.locations, &path);
            assert_eq!(found, expected, "seed {seed}, round {round}: {path} in {body}");
        }
    }
    assert!(redirects > 20, "the paths are too tame: {redirects}");
}

#[test]
fn a_location_of_the_whole_name_needs_no_slash() {
    let config = built(
        "location /a { default_type n/1; } \
         location /a/ { default_type n/2; proxy_pass http://127.0.0.1:9; } \
         location = /b/ { default_type n/3; proxy_pass http://127.0.0.1:9; }",
    );
    let config = config.config.unwrap();
    let locations = &config.endpoints.values().next().unwrap().default.locations;
    assert_eq!(fast_find(locations, "/a"), Some((1, false)));
    assert_eq!(fast_find(locations, "/a/"), Some((2, false)));
    assert_eq!(fast_find(locations, "/b"), Some((3, true)));
    assert_eq!(fast_find(locations, "/c"), None);
}
