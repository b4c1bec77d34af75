//! What names were found to be, for as long as the answers hold. It has no clock and asks nobody.

use super::name::Name;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// The answers of one resolver.
#[derive(Default)]
pub struct Cache {
    entries: HashMap<Name, Entry>,
}

struct Entry {
    addresses: Rc<[IpAddr]>,
    until_ms: u64,
}

/// Names that are remembered, at most. What ends first makes room.
pub const NAMES_MAX: usize = 4096;

impl Cache {
    /// The addresses of a name, if they still hold.
    pub fn get(&self, name: &Name, now_ms: u64) -> Option<Rc<[IpAddr]>> {
        let entry = self.entries.get(name)?;
        (entry.until_ms > now_ms).then(|| Rc::clone(&entry.addresses))
    }

    /// Remembers an answer for `ms`; one that holds for no time is not.
    pub fn put(&mut self, name: Name, addresses: Rc<[IpAddr]>, ms: u64, now_ms: u64) {
        if ms == 0 {
            return;
        }
        if self.entries.len() >= NAMES_MAX && !self.entries.contains_key(&name) {
            self.make_room(now_ms);
        }
        let until_ms = now_ms.saturating_add(ms);
        self.entries.insert(name, Entry { addresses, until_ms });
    }

    fn make_room(&mut self, now_ms: u64) {
        self.sweep(now_ms);
        if self.entries.len() < NAMES_MAX {
            return;
        }
        let first = self.entries.iter().min_by_key(|(_, entry)| entry.until_ms);
        if let Some(name) = first.map(|(name, _)| name.clone()) {
            self.entries.remove(&name);
        }
    }

    /// Forgets what no longer holds.
    pub fn sweep(&mut self, now_ms: u64) {
        self.entries.retain(|_, entry| entry.until_ms > now_ms);
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        Name::parse(&format!("n{number}.example")).unwrap()
    }

    fn addresses(last: u8) -> Rc<[IpAddr]> {
        Rc::from([IpAddr::from([192, 0, 2, last])])
    }

    #[test]
    fn an_answer_holds_for_its_time() {
        let mut cache = Cache::default();
        cache.put(name(1), addresses(1), 1000, 50);
        cache.put(name(2), addresses(2), 0, 50);
        assert_eq!(cache.get(&name(1), 1049), Some(addresses(1)));
        assert_eq!(cache.get(&name(1), 1050), None);
        assert_eq!(cache.get(&name(2), 50), None);
        cache.sweep(1050);
        assert!(cache.is_empty());
    }

    #[test]
    fn what_ends_first_makes_room() {
        let mut cache = Cache::default();
        for number in 0..NAMES_MAX {
            cache.put(name(number), addresses(1), 1000 + number as u64, 0);
        }
        cache.put(name(NAMES_MAX), addresses(2), 10, 0);
        assert_eq!(cache.entries.len(), NAMES_MAX);
        assert_eq!(cache.get(&name(0), 0), None);
        assert_eq!(cache.get(&name(NAMES_MAX), 0), Some(addresses(2)));
    }
}
