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
