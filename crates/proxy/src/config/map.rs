//! `map`: a variable that depends on others.

use crate::config::host_table::HostTable;
use crate::regex::Regex;
use perdura_conf::Template;

/// One `map` block.
#[derive(Clone, Debug)]
pub struct Map {
    pub source: Template,
    /// Empty when the block names none.
    pub default: Template,
    /// Keys without regard to case, as nginx compares them.
    pub keys: HostTable<Template>,
    pub patterns: Vec<(Regex, Template)>,
    /// A last dot of the source says nothing.
    pub hostnames: bool,
    /// The value is made anew each time it is asked for.
    pub volatile: bool,
}

/// The value that a key has.
pub enum Hit<'a> {
    Value(&'a Template),
    Pattern(&'a Template, &'a Regex, crate::regex::Captures),
}

impl Map {
    /// The template of `key`. `Err` is the regular-expression engine's message.
    pub fn find(&self, key: &[u8]) -> Result<Hit<'_>, String> {
        let key = match key.strip_suffix(b".") {
            Some(rest) if self.hostnames => rest,
            _ => key,
        };
        if let Some(value) = self.keys.find(&key.to_ascii_lowercase()) {
            return Ok(Hit::Value(value));
        }
        // nginx tries no pattern on an empty text.
        let patterns = if key.is_empty() { &[][..] } else { &self.patterns };
        for (regex, value) in patterns {
            if let Some(captures) = regex.captures(key)? {
                return Ok(Hit::Pattern(value, regex, captures));
            }
        }
        Ok(Hit::Value(&self.default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::host_table::HostName;
    use crate::regex::Case;
    use perdura_conf::{Names, Place, SourceId, Word};

    /// `a`, `*.b` and what begins with `x`, each with its own key as its value.
    fn map(hostnames: bool) -> Map {
        let mut keys = HostTable::default();
        for key in [&b"a"[..], b"*.b", b""] {
            let _ = keys.add(HostName::read(key).expect("a key"), Template::plain(key));
        }
        let place = Place { source: SourceId(0), line: 1, start: 0, end: 0 };
        let word = Word { bytes: b"~^x(.)".to_vec(), place };
        let regex = Regex::compile(b"^x(.)", &word, Case::Sensitive, &mut Names::default());
        Map {
            source: Template::default(),
            default: Template::plain(b"none"),
            keys,
            patterns: vec![(regex.expect("a pattern"), Template::plain(b"pattern"))],
            hostnames,
            volatile: false,
        }
    }

    fn found(map: &Map, key: &[u8]) -> Template {
        match map.find(key).expect("no limit is reached") {
            Hit::Value(value) | Hit::Pattern(value, ..) => value.clone(),
        }
    }

    #[test]
    fn a_key_wins_over_a_pattern_over_the_default() {
        let map = map(true);
        assert_eq!(found(&map, b"A"), Template::plain(b"a"));
        assert_eq!(found(&map, b"xa"), Template::plain(b"pattern"));
        assert_eq!(found(&map, b"y"), Template::plain(b"none"));
        assert_eq!(found(&map, b"c.b"), Template::plain(b"*.b"));
    }

    #[test]
    fn a_pattern_keeps_its_captures() {
        let map = map(false);
        let Ok(Hit::Pattern(_, _, captures)) = map.find(b"xyz") else {
            panic!("the pattern matches");
        };
        assert_eq!(captures.group(1), Some(&b"y"[..]));
    }

    #[test]
    fn a_last_dot_belongs_to_the_key_unless_it_is_a_host() {
        assert_eq!(found(&map(true), b"a."), Template::plain(b"a"));
        assert_eq!(found(&map(false), b"a."), Template::plain(b"none"));
    }
}
