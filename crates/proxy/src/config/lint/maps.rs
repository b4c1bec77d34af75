//! The `map` blocks that turn a client's `Upgrade` into the `Connection` that is sent.

use perdura_conf::{Statement, Word};
use std::collections::HashMap;

/// The maps of `$http_upgrade`, by the name of the variable that each makes.
pub(super) struct Maps<'s> {
    by_name: HashMap<Vec<u8>, &'s [Statement]>,
    first: Option<&'s Word>,
}

impl<'s> Maps<'s> {
    pub(super) fn of(http: &'s [Statement]) -> Self {
        let mut maps = Self { by_name: HashMap::new(), first: None };
        for statement in http.iter().filter(|statement| statement.name.is("map")) {
            if let [source, made] = statement.args.as_slice()
                && source.bytes.eq_ignore_ascii_case(b"$http_upgrade")
            {
                let entries = statement.block.as_deref().unwrap_or_default();
                maps.by_name.insert(made.bytes.to_ascii_lowercase(), entries);
                maps.first = maps.first.or(Some(made));
            }
        }
        maps
    }

    /// What a request without `Upgrade` gets from the map that makes the variable `value`: the line
    /// that says so and its value. `None` when it is no variable of these maps.
    pub(super) fn of_plain_requests(&self, value: &Word) -> Option<(&'s Statement, &'s Word)> {
        let entries = self.by_name.get(&value.bytes.to_ascii_lowercase())?;
        let named = |name: &str| entries.iter().find(|entry| entry.name.is(name));
        let entry = named("").or_else(|| named("default"))?;
        Some((entry, entry.args.first()?))
    }

    /// The line that sends `Connection` as it should be, and the map that it needs.
    pub(super) fn advice(&self) -> String {
        match self.first {
            Some(made) => format!("write: proxy_set_header Connection {};", made.text()),
            None => "write: proxy_set_header Connection $connection_upgrade; and in http: \
                     map $http_upgrade $connection_upgrade { default upgrade; '' ''; }"
                .to_owned(),
        }
    }
}
