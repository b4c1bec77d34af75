//! Variable names, interned: a `$name` in a file becomes a small number.
//!
//! The reader of templates refers to names; whoever builds the configuration resolves every name
//! once, at the end, because nginx lets a file use a `map`'s variable before the `map` stands.

use crate::Place;
use std::collections::{HashMap, HashSet};

/// Names one variable of a [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableId(pub u32);

/// All variable names that a configuration mentions.
#[derive(Clone, Debug, Default)]
pub struct Names {
    list: Vec<(String, Option<Place>)>,
    index: HashMap<String, VariableId>,
    /// Names that a named group of a regular expression sets.
    defined: HashSet<VariableId>,
}

impl Names {
    /// The number of `name`; `place` is remembered when this is the first use. Names are compared
    /// in lower case, as nginx does.
    pub fn refer(&mut self, name: &str, place: Option<Place>) -> VariableId {
        let name = name.to_ascii_lowercase();
        if let Some(&id) = self.index.get(&name) {
            let first = &mut self.list[id.0 as usize].1;
            *first = first.or(place);
            return id;
        }
        let id = VariableId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push((name.clone(), place));
        self.index.insert(name, id);
        id
    }

    /// The number of a `name` that a named group of a regular expression sets.
    pub fn define(&mut self, name: &str) -> VariableId {
        let id = self.refer(name, None);
        self.defined.insert(id);
        id
    }

    pub fn is_defined(&self, id: VariableId) -> bool {
        self.defined.contains(&id)
    }

    pub fn find(&self, name: &str) -> Option<VariableId> {
        self.index.get(name).copied()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Every name with its first place, in the order of [`VariableId`].
    pub fn iter(&self) -> impl Iterator<Item = (VariableId, &str, Option<Place>)> {
        self.list
            .iter()
            .enumerate()
            .map(|(index, (name, place))| (VariableId(index as u32), name.as_str(), *place))
    }
}
