//! `limit_conn`: places for requests and tunnels, counted for each value of a key.

use super::{Verdict, capacity, key_of};
use crate::error_log;
use crate::phase::Step;
use crate::request::Request;
use perdura_conf::Template;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// One zone of one configuration.
pub struct Zone {
    pub name: Arc<str>,
    pub key: Template,
    /// The key as it was written.
    pub key_text: Vec<u8>,
    bytes: u64,
    counts: OnceLock<Arc<Counts>>,
}

/// The counts, which go from configuration to configuration.
#[derive(Default)]
pub struct Counts(Mutex<HashMap<Box<[u8]>, u32>>);

/// What holds in one location.
#[derive(Clone)]
pub struct Limit {
    pub zone: Arc<Zone>,
    pub connections: u32,
}

/// The longest key.
const KEY_MAX: usize = 255;

/// What nginx keeps for one key, beside the key.
const ENTRY_BYTES: usize = 36;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Limit,
    /// The zone holds no more keys.
    Full,
}

/// A place of one key; it is given back when it is dropped.
pub struct Place {
    zone: Arc<str>,
    counts: Arc<Counts>,
    key: Box<[u8]>,
    is_held: bool,
}

impl Zone {
    pub fn new(name: &str, key: Template, key_text: Vec<u8>, bytes: u64) -> Self {
        Self { name: name.into(), key, key_text, bytes, counts: OnceLock::new() }
    }

    /// Goes on with the counts of the same zone of an older configuration.
    pub fn carry_from(&self, older: &Zone) {
        // Nobody has counted in a configuration that does not hold yet.
        let _ = self.counts.set(Arc::clone(older.counts()));
    }

    fn counts(&self) -> &Arc<Counts> {
        self.counts.get_or_init(Arc::default)
    }

    fn take(&self, key: Box<[u8]>, limit: u32) -> Result<Place, Refusal> {
        let counts = self.counts();
        let mut list = counts.lock();
        let is_full = list.len() >= capacity(self.bytes, ENTRY_BYTES + key.len());
        match list.get_mut(&key) {
            Some(count) if *count >= limit => return Err(Refusal::Limit),
            Some(count) => *count += 1,
            None if is_full => return Err(Refusal::Full),
            None => {
                list.insert(key.clone(), 1);
            }
        }
        drop(list);
        let zone = Arc::clone(&self.name);
        Ok(Place { zone, counts: Arc::clone(counts), key, is_held: true })
    }

    /// Counts a tunnel that was taken over: it has its place, whatever the limit is now.
    pub fn count_again(&self, key: &[u8]) {
        *self.counts().lock().entry(key.into()).or_insert(0) += 1;
    }

    /// Gives back the place of a tunnel that has ended.
    pub fn give_back(&self, key: &[u8]) {
        self.counts().give_back(key);
    }
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, u32>> {
        // The counts are plain numbers: a panic elsewhere cannot leave them half-made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, key: &[u8]) {
        let mut list = self.lock();
        match list.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                list.remove(key);
            }
        }
    }
}

impl Place {
    /// The zone and the key, for a tunnel's account.
    pub fn names(&self) -> (&str, &[u8]) {
        (&self.zone, &self.key)
    }

    /// Leaves the place taken: whoever closes the tunnel's account gives it back.
    pub fn keep(mut self) {
        self.is_held = false;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_held {
            self.counts.give_back(&self.key);
        }
    }
}

/// The handler: takes a place in each zone, or refuses.
pub fn limit(request: &mut Request) -> Step {
    if request.limit_conn.is_some() || request.location.limits.connections.is_empty() {
        return Step::Next;
    }
    let location = Arc::clone(&request.location);
    let settings = &location.limit_conn;
    for limit in &location.limits.connections {
        let zone = &limit.zone;
        let Some(key) = key_of(request, &zone.key, &zone.key_text, KEY_MAX) else { continue };
        request.limit_conn = Some(Verdict::Passed);
        let refusal = match zone.take(key, limit.connections) {
            Ok(place) => {
                request.places.push(place);
                continue;
            }
            Err(refusal) => refusal,
        };
        let dry_run = settings.limit_conn_dry_run.0;
        if refusal == Refusal::Limit {
            let dry = if dry_run { ", dry run," } else { "" };
            let message = format!("limiting connections{dry} by zone \"{}\"", zone.name);
            error_log::request(request, settings.limit_conn_log_level.severity(), &message);
        }
        request.places.clear();
        request.limit_conn = Some(match dry_run {
            true => Verdict::RejectedDryRun,
            false => Verdict::Rejected,
        });
        return if dry_run { Step::Next } else { Step::Refuse(settings.limit_conn_status.0) };
    }
    Step::Next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(bytes: u64) -> Zone {
        Zone::new("z", Template::plain(b"k"), b"k".to_vec(), bytes)
    }

    #[test]
    fn a_place_is_held_until_it_is_dropped() {
        let zone = zone(1 << 20);
        let first = zone.take(b"a"[..].into(), 2).map_err(|_| ()).unwrap();
        let second = zone.take(b"a"[..].into(), 2).map_err(|_| ()).unwrap();
        assert_eq!(zone.take(b"a"[..].into(), 2).err(), Some(Refusal::Limit));
        assert!(zone.take(b"b"[..].into(), 2).is_ok());
        drop(first);
        assert!(zone.take(b"a"[..].into(), 2).is_ok());
        drop(second);
        assert!(zone.counts().lock().is_empty());
    }

    #[test]
    fn a_kept_place_goes_over_a_reload_and_comes_back_by_its_names() {
        let old = zone(1 << 20);
        old.take(b"a"[..].into(), 1).map_err(|_| ()).unwrap().keep();
        let new = zone(1 << 20);
        new.carry_from(&old);
        assert_eq!(new.take(b"a"[..].into(), 1).err(), Some(Refusal::Limit));
        new.give_back(b"a");
        assert!(new.take(b"a"[..].into(), 1).is_ok());
        new.count_again(b"a");
        assert_eq!(old.take(b"a"[..].into(), 1).err(), Some(Refusal::Limit));
    }

    #[test]
    fn a_full_zone_takes_no_new_key() {
        let zone = zone(32 << 10);
        let mut places = Vec::new();
        let mut number = 0u32;
        let refused = loop {
            number += 1;
            match zone.take(number.to_le_bytes()[..].into(), 9) {
                Ok(place) => places.push(place),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refused, Refusal::Full);
        assert!(zone.take(1u32.to_le_bytes()[..].into(), 9).is_ok());
        drop(places.pop());
        assert!(zone.take(number.to_le_bytes()[..].into(), 9).is_ok());
    }
}
