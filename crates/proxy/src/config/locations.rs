//! Which location a path belongs to, in nginx's order.
//!
//! An exact name wins at once. Otherwise the longest prefix is remembered, the locations inside it
//! are looked at, and then, unless the prefix is `^~`, the regular expressions in the order of the
//! file; the first that matches wins over the prefix.

use crate::config::Location;
use crate::known_keys::KnownMap;
use crate::regex::{Captures, Regex};
use std::sync::Arc;

/// How a location matches.
#[derive(Clone, Debug)]
pub enum Match {
    /// The body of a server.
    Base,
    /// `location = /path`.
    Exact,
    /// `location /path`.
    Prefix,
    /// `location ^~ /path`: regular expressions are not tried.
    PrefixFirm,
    Pattern(Regex),
    /// `location @name`.
    Named,
}

/// The locations of one block.
#[derive(Default)]
pub struct Locations {
    exact: KnownMap<Vec<u8>, Arc<Location>>,
    /// Sorted by name; the second value is the index of the longest other name that begins this one.
    prefixes: Vec<(Arc<Location>, Option<usize>)>,
    patterns: Vec<(Regex, Arc<Location>)>,
    /// Locations that pass requests on, by their names without the last slash.
    slashed: KnownMap<Vec<u8>, Arc<Location>>,
}

/// What a path belongs to.
pub enum Found {
    Location {
        location: Arc<Location>,
        captures: Option<(Regex, Captures)>,
    },
    /// The path lacks only its last slash to be this location, which passes requests on: nginx
    /// redirects there.
    NeedsSlash(Arc<Location>),
}

impl Locations {
    /// Sorts the locations of a block. Names are unique; the builder has checked.
    pub fn new(list: Vec<Arc<Location>>) -> Self {
        let mut locations = Self::default();
        let mut prefixes = Vec::new();
        for location in list {
            locations.note_slashed(&location);
            match &location.kind {
                Match::Exact => {
                    locations.exact.insert(location.name.clone(), location);
                }
                Match::Prefix | Match::PrefixFirm => prefixes.push(location),
                Match::Pattern(regex) => locations.patterns.push((regex.clone(), location)),
                Match::Base | Match::Named => {}
            }
        }
        prefixes.sort_by(|a, b| a.name.cmp(&b.name));
        for location in prefixes {
            let parent = locations.longest_below(locations.prefixes.len(), &location.name);
            locations.prefixes.push((location, parent));
        }
        locations
    }

    fn note_slashed(&mut self, location: &Arc<Location>) {
        let exact = matches!(location.kind, Match::Exact);
        let named = exact || matches!(location.kind, Match::Prefix | Match::PrefixFirm);
        let Some(name) = location.name.strip_suffix(b"/").filter(|_| named) else {
            return;
        };
        if location.pass.is_none() {
            return;
        }
        // Of an exact and a prefix location of one name, nginx takes the exact one.
        if exact || !self.slashed.contains_key(name) {
            self.slashed.insert(name.to_vec(), Arc::clone(location));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && self.patterns.is_empty()
    }

    /// The location of `path`, or `None` when only the enclosing block is left.
    pub fn find(&self, path: &[u8]) -> Result<Option<Found>, String> {
        if self.is_empty() {
            return Ok(None);
        }
        if let Some(location) = self.exact.get(path) {
            return Ok(Some(Found::Location { location: Arc::clone(location), captures: None }));
        }
        let prefix = self.longest(path);
        // A location of exactly this name needs no slash.
        let whole = prefix.is_some_and(|location| location.name.len() == path.len());
        if !whole && let Some(found) = self.needs_slash(path) {
            return Ok(Some(found));
        }
        let mut best = prefix
            .map(|location| Found::Location { location: Arc::clone(location), captures: None });
        if let Some(location) = prefix {
            match location.locations.find(path)? {
                // A pattern or an exact name inside ends the search.
                Some(inner) if ends_search(&inner) => return Ok(Some(inner)),
                Some(inner) => best = Some(inner),
                None => {}
            }
            // As in nginx, a `^~` inside this location keeps nobody from trying the patterns here.
            if matches!(location.kind, Match::PrefixFirm) {
                return Ok(best);
            }
        }
        for (regex, location) in &self.patterns {
            if let Some(captures) = regex.captures(path)? {
                let captures = Some((regex.clone(), captures));
                return Ok(Some(inside_pattern(location, captures, path)?));
            }
        }
        Ok(best)
    }

    /// The longest prefix location that begins `path`.
    fn longest(&self, path: &[u8]) -> Option<&Arc<Location>> {
        self.longest_below(self.upper_bound(path), path).map(|at| &self.prefixes[at].0)
    }

    /// The longest name that begins `path` among the first `count`. Every name that begins `path`
    /// sorts at or before it, and begins all names that sort between them, so it is found by
    /// walking up from the last one.
    fn longest_below(&self, count: usize, path: &[u8]) -> Option<usize> {
        let mut at = count.checked_sub(1);
        while let Some(index) = at {
            let (location, parent) = &self.prefixes[index];
            if path.starts_with(&location.name) {
                return Some(index);
            }
            at = *parent;
        }
        None
    }

    fn upper_bound(&self, path: &[u8]) -> usize {
        self.prefixes.partition_point(|(location, _)| location.name.as_slice() <= path)
    }

    /// nginx's `auto_redirect`: `/chat` is sent to `/chat/` when that location passes requests on.
    fn needs_slash(&self, path: &[u8]) -> Option<Found> {
        let slashed = self.slashed.get(path)?;
        Some(Found::NeedsSlash(Arc::clone(slashed)))
    }
}

/// What a path belongs to once a pattern's location has it: nothing further out is looked at, and
/// the captures stay unless a pattern inside makes its own.
fn inside_pattern(
    outer: &Arc<Location>,
    own: Option<(Regex, Captures)>,
    path: &[u8],
) -> Result<Found, String> {
    Ok(match outer.locations.find(path)? {
        Some(Found::Location { location, captures }) => {
            Found::Location { location, captures: captures.or(own) }
        }
        // nginx redirects from prefixes only.
        Some(Found::NeedsSlash(location)) => Found::Location { location, captures: own },
        None => Found::Location { location: Arc::clone(outer), captures: own },
    })
}

fn ends_search(found: &Found) -> bool {
    match found {
        Found::NeedsSlash(_) => true,
        Found::Location { location, captures } => {
            captures.is_some() || matches!(location.kind, Match::Exact | Match::Pattern(_))
        }
    }
}

#[cfg(test)]
mod tests;
