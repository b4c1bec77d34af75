//! `map`: a variable that depends on others.

use crate::regex::Regex;
use perdura_conf::Template;
use std::collections::HashMap;

/// One `map` block.
#[derive(Clone, Debug)]
pub struct Map {
    pub source: Template,
    pub default: Template,
    /// Keys are in lower case: nginx compares without regard to case.
    pub exact: HashMap<Vec<u8>, Template>,
    /// `*.example.com` and `.example.com` as `.example.com`; only with `hostnames`.
    pub heads: HashMap<Vec<u8>, Template>,
    /// `www.example.*` as `www.example.`.
    pub tails: HashMap<Vec<u8>, Template>,
    pub patterns: Vec<(Regex, Template)>,
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
        let lower = key.to_ascii_lowercase();
        let name = match lower.strip_suffix(b".") {
            Some(name) if self.hostnames => name,
            _ => &lower,
        };
        if let Some(value) = self.exact.get(name) {
            return Ok(Hit::Value(value));
        }
        if self.hostnames
            && let Some(value) = self.wildcard(name)
        {
            return Ok(Hit::Value(value));
        }
        for (regex, value) in &self.patterns {
            if let Some(captures) = regex.captures(key)? {
                return Ok(Hit::Pattern(value, regex, captures));
            }
        }
        Ok(Hit::Value(&self.default))
    }

    fn wildcard(&self, name: &[u8]) -> Option<&Template> {
        let dots: Vec<_> =
            name.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at).collect();
        dots.iter()
            .filter(|at| **at > 0)
            .find_map(|&at| self.heads.get(&name[at..]))
            .or_else(|| dots.iter().rev().find_map(|&at| self.tails.get(&name[..=at])))
    }
}
