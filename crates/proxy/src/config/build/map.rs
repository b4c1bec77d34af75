//! `map` and `types` blocks.

use super::Builder;
use crate::config::{Map, Types};
use crate::regex::{Case, Regex};
use perdura_conf::{Fault, Statement, Template, VariableId, Word};
use std::collections::HashMap;
use std::sync::Arc;

impl Builder<'_> {
    /// Reads a `map` block; `None` when its head is wrong.
    pub(super) fn map(&mut self, statement: &Statement) -> Option<(VariableId, Arc<Map>)> {
        let [source, target] = statement.args.as_slice() else {
            return None;
        };
        let name = target.bytes.strip_prefix(b"$").filter(|name| !name.is_empty());
        let Some(name) = name else {
            let fault = format!("invalid variable name \"{}\"", target.text());
            self.faults.push(Fault::new(target.place, fault));
            return None;
        };
        let id = self.names.refer(&String::from_utf8_lossy(name), None);
        let source = match Template::compile(source, &mut self.names) {
            Ok(source) => source,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        let mut map = Map {
            source,
            default: Template::default(),
            exact: HashMap::new(),
            heads: HashMap::new(),
            tails: HashMap::new(),
            patterns: Vec::new(),
            hostnames: false,
            volatile: false,
        };
        let entries = statement.block.as_deref().unwrap_or_default();
        // `hostnames` changes what keys mean wherever it stands in nginx's own example: at the top.
        for entry in entries {
            if let Err(fault) = self.map_entry(&mut map, entry) {
                self.faults.push(fault);
            }
        }
        Some((id, Arc::new(map)))
    }

    fn map_entry(&mut self, map: &mut Map, entry: &Statement) -> Result<(), Fault> {
        let key = &entry.name;
        if entry.block.is_some() {
            return Err(Fault::new(key.place, "unexpected \"{\""));
        }
        let [value] = entry.args.as_slice() else {
            if entry.args.is_empty() && key.is("hostnames") {
                map.hostnames = true;
                return Ok(());
            }
            if entry.args.is_empty() && key.is("volatile") {
                map.volatile = true;
                return Ok(());
            }
            return Err(Fault::new(key.place, "invalid number of the map parameters"));
        };
        let value = Template::compile(value, &mut self.names)?;
        if key.is("default") {
            if map.default != Template::default() {
                return Err(Fault::new(key.place, "duplicate default map parameter"));
            }
            map.default = value;
            return Ok(());
        }
        self.map_key(map, key, value)
    }

    fn map_key(&mut self, map: &mut Map, key: &Word, value: Template) -> Result<(), Fault> {
        if let Some(pattern) = key.bytes.strip_prefix(b"~") {
            let (case, pattern) = match pattern.strip_prefix(b"*") {
                Some(pattern) => (Case::Insensitive, pattern),
                None => (Case::Sensitive, pattern),
            };
            let regex = Regex::compile(pattern, key, case, &mut self.names)?;
            map.patterns.push((regex, value));
            return Ok(());
        }
        // A backslash makes a key of what would be a special word.
        let bytes = match key.bytes.as_slice() {
            [b'\\', rest @ ..] => rest,
            bytes => bytes,
        };
        let lower = bytes.to_ascii_lowercase();
        let duplicate =
            || Fault::new(key.place, format!("conflicting parameter \"{}\"", key.text()));
        if !map.hostnames {
            return match map.exact.insert(lower, value) {
                None => Ok(()),
                Some(_) => Err(duplicate()),
            };
        }
        let lower = lower
            .strip_suffix(b".")
            .filter(|rest| !rest.is_empty())
            .map_or(lower.clone(), <[u8]>::to_vec);
        let before = if let Some(rest) = lower.strip_prefix(b"*") {
            if !rest.starts_with(b".") || rest.len() < 2 {
                return Err(Fault::new(
                    key.place,
                    format!("invalid hostname or wildcard \"{}\"", key.text()),
                ));
            }
            map.heads.insert(rest.to_vec(), value)
        } else if lower.starts_with(b".") && lower.len() > 1 {
            map.exact.insert(lower[1..].to_vec(), value.clone());
            map.heads.insert(lower, value)
        } else if let Some(start) = lower.strip_suffix(b"*") {
            map.tails.insert(start.to_vec(), value)
        } else {
            map.exact.insert(lower, value)
        };
        if before.is_some() { Err(duplicate()) } else { Ok(()) }
    }

    /// Adds a `types` block to what the block has so far.
    pub(super) fn types(&mut self, statement: &Statement, types: &mut Types) {
        for entry in statement.block.as_deref().unwrap_or_default() {
            for ending in &entry.args {
                if types.add(&ending.bytes, &entry.name.bytes) {
                    let message = format!("duplicate extension \"{}\"", ending.text());
                    self.faults.push(
                        Fault::warning(ending.place, message)
                            .hint(format!("it now means \"{}\"", entry.name.text())),
                    );
                }
            }
        }
    }
}
