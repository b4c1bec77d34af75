//! `limit_req`: a bucket for each value of a key, which fills with requests and leaks at the zone's
//! rate. The arithmetic is nginx's, in thousandths of a request and milliseconds.

use super::{Verdict, capacity, key_of};
use crate::error_log;
use crate::phase::{Behind, Pause, Step};
use crate::request::Request;
use perdura_conf::Template;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// One zone of one configuration.
pub struct Zone {
    pub name: String,
    pub key: Template,
    /// The key as it was written.
    pub key_text: Vec<u8>,
    /// Thousandths of a request in a second.
    rate: u64,
    bytes: u64,
    buckets: OnceLock<Arc<Mutex<Buckets>>>,
}

/// What holds in one location; in thousandths of a request.
#[derive(Clone)]
pub struct Limit {
    pub zone: Arc<Zone>,
    pub burst: u64,
    pub delay: u64,
}

/// The buckets, which go from configuration to configuration.
#[derive(Default)]
struct Buckets {
    by_key: HashMap<Box<[u8]>, Bucket>,
    /// The keys by the turn in which they were last asked for, the oldest first.
    by_age: BTreeMap<u64, Box<[u8]>>,
    turn: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    excess: i64,
    last_ms: u64,
    /// Requests that have looked here and are still being judged by other zones.
    watched: u32,
    turn: u64,
}

/// The longest key.
const KEY_MAX: usize = 65_535;

/// What nginx keeps for one key, beside the key.
const ENTRY_BYTES: usize = 80;

/// A bucket that was not asked for this long, and is empty, may go.
const IDLE_MS: u64 = 60_000;

/// What a bucket says of one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It fits, with this excess.
    Fits(i64),
    Busy(i64),
    /// The zone holds no more keys.
    Full,
}

/// Whether a look is the last one, which counts at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Last,
    Early,
}

impl Zone {
    pub fn new(name: &str, key: Template, key_text: Vec<u8>, rate: u64, bytes: u64) -> Self {
        let name = name.to_owned();
        Self { name, key, key_text, rate, bytes, buckets: OnceLock::new() }
    }

    /// Goes on with the buckets of the same zone of an older configuration.
    pub fn carry_from(&self, older: &Zone) {
        // Nobody has measured in a configuration that does not hold yet.
        let _ = self.buckets.set(Arc::clone(older.shared()));
    }

    fn shared(&self) -> &Arc<Mutex<Buckets>> {
        self.buckets.get_or_init(Arc::default)
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        // The buckets are plain numbers: a panic elsewhere cannot leave them half-made.
        self.shared().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much is in the bucket when one more request comes.
    fn excess(&self, bucket: &Bucket, now_ms: u64) -> i64 {
        let leaked = self.rate.saturating_mul(now_ms.saturating_sub(bucket.last_ms)) / 1000;
        let leaked = i64::try_from(leaked).unwrap_or(i64::MAX);
        (bucket.excess.saturating_sub(leaked).saturating_add(1000)).max(0)
    }

    fn look(&self, key: &[u8], burst: u64, turn: Turn, now_ms: u64) -> Look {
        let mut buckets = self.lock();
        let Some(bucket) = buckets.touch(key) else {
            return self.first(&mut buckets, key, turn, now_ms);
        };
        let excess = self.excess(bucket, now_ms);
        if excess as u64 > burst {
            return Look::Busy(excess);
        }
        match turn {
            Turn::Last => {
                bucket.excess = excess;
                bucket.last_ms = now_ms;
            }
            Turn::Early => bucket.watched += 1,
        }
        Look::Fits(excess)
    }

    /// The first request of a key finds its bucket empty.
    fn first(&self, buckets: &mut Buckets, key: &[u8], turn: Turn, now_ms: u64) -> Look {
        let max = capacity(self.bytes, ENTRY_BYTES + key.len());
        buckets.expire(1, self.rate, now_ms);
        if buckets.by_key.len() >= max {
            buckets.expire(0, self.rate, now_ms);
            if buckets.by_key.len() >= max {
                return Look::Full;
            }
        }
        let (last_ms, watched) = match turn {
            Turn::Last => (now_ms, 0),
            Turn::Early => (0, 1),
        };
        buckets.insert(key, Bucket { excess: 0, last_ms, watched, turn: 0 });
        Look::Fits(0)
    }

    /// Counts a request where an early look found that it fits; gives the excess.
    fn account(&self, key: &[u8], now_ms: u64) -> i64 {
        let mut buckets = self.lock();
        let Some(bucket) = buckets.by_key.get_mut(key) else {
            return 0;
        };
        bucket.excess = self.excess(bucket, now_ms);
        bucket.last_ms = now_ms;
        bucket.watched = bucket.watched.saturating_sub(1);
        bucket.excess
    }

    /// Takes back an early look.
    fn forget(&self, key: &[u8]) {
        if let Some(bucket) = self.lock().by_key.get_mut(key) {
            bucket.watched = bucket.watched.saturating_sub(1);
        }
    }

    /// How long a request with this excess waits.
    fn delay_ms(&self, excess: i64, delay: u64) -> u64 {
        (excess as u64).saturating_sub(delay).saturating_mul(1000) / self.rate
    }
}

impl Buckets {
    /// The bucket of a key, which is the youngest from now on.
    fn touch(&mut self, key: &[u8]) -> Option<&mut Bucket> {
        let bucket = self.by_key.get_mut(key)?;
        let key = self.by_age.remove(&bucket.turn)?;
        self.turn += 1;
        bucket.turn = self.turn;
        self.by_age.insert(self.turn, key);
        Some(bucket)
    }

    fn insert(&mut self, key: &[u8], bucket: Bucket) {
        self.turn += 1;
        self.by_age.insert(self.turn, key.into());
        self.by_key.insert(key.into(), Bucket { turn: self.turn, ..bucket });
    }

    /// Removes up to two of the oldest buckets that are empty for long; from 0 on also the very
    /// oldest, whatever it holds (`ngx_http_limit_req_expire`).
    fn expire(&mut self, from: u32, rate: u64, now_ms: u64) {
        for number in from..3 {
            let Some((&turn, key)) = self.by_age.first_key_value() else {
                return;
            };
            let Some(bucket) = self.by_key.get(key) else {
                return;
            };
            if bucket.watched > 0 {
                return;
            }
            if number != 0 {
                let idle = now_ms.saturating_sub(bucket.last_ms);
                let leaked = i64::try_from(rate.saturating_mul(idle) / 1000).unwrap_or(i64::MAX);
                if idle < IDLE_MS || bucket.excess.saturating_sub(leaked) > 0 {
                    return;
                }
            }
            if let Some(key) = self.by_age.remove(&turn) {
                self.by_key.remove(&key);
            }
        }
    }
}

/// An early look of a request that is still judged.
struct Watched<'l> {
    limit: &'l Limit,
    key: Box<[u8]>,
}

/// The handler: lets a request pass, makes it wait, or refuses it.
pub fn limit(request: &mut Request) -> Step {
    if request.limit_req.is_some() || request.location.limits.requests.is_empty() {
        return Step::Next;
    }
    let location = Arc::clone(&request.location);
    let now_ms = crate::now_ms();
    let limits = &location.limits.requests;
    let mut watched: Vec<Watched<'_>> = Vec::new();
    // The excess of the last limit, which counts at once.
    let mut last = None;
    for (at, limit) in limits.iter().enumerate() {
        let zone = &limit.zone;
        let Some(key) = key_of(request, &zone.key, &zone.key_text, KEY_MAX) else { continue };
        let turn = if at + 1 == limits.len() { Turn::Last } else { Turn::Early };
        match zone.look(&key, limit.burst, turn, now_ms) {
            Look::Fits(excess) if turn == Turn::Last => last = Some((excess, limit)),
            Look::Fits(_) => watched.push(Watched { limit, key }),
            refused => {
                watched.iter().for_each(|one| one.limit.zone.forget(&one.key));
                return refuse(request, zone, refused);
            }
        }
    }
    if last.is_none() && watched.is_empty() {
        return Step::Next;
    }
    let (mut excess, mut slowest): (i64, Option<&Limit>) =
        last.map_or((0, None), |(excess, limit)| (excess, Some(limit)));
    let mut delay_ms = slowest.map_or(0, |limit| limit.zone.delay_ms(excess, limit.delay));
    for Watched { limit, key } in watched.iter().rev() {
        let own = limit.zone.account(key, now_ms);
        let own_ms = limit.zone.delay_ms(own, limit.delay);
        if own_ms > delay_ms {
            (delay_ms, excess, slowest) = (own_ms, own, Some(*limit));
        }
    }
    match slowest.filter(|_| delay_ms > 0) {
        None => {
            request.limit_req = Some(Verdict::Passed);
            Step::Next
        }
        Some(limit) => delay(request, &limit.zone, excess, delay_ms),
    }
}

fn refuse(request: &mut Request, zone: &Zone, look: Look) -> Step {
    let location = Arc::clone(&request.location);
    let settings = &location.limit_req;
    let dry_run = settings.limit_req_dry_run.0;
    if let Look::Busy(excess) = look {
        let dry = if dry_run { ", dry run" } else { "" };
        let message = format!(
            "limiting requests{dry}, excess: {}.{:03} by zone \"{}\"",
            excess / 1000,
            excess % 1000,
            zone.name
        );
        error_log::request(request, settings.limit_req_log_level.severity(), &message);
    } else {
        let message = format!("could not allocate node in limit_req zone \"{}\"", zone.name);
        error_log::request(request, crate::modules::error_log::Severity::Alert, &message);
    }
    request.limit_req = Some(if dry_run { Verdict::RejectedDryRun } else { Verdict::Rejected });
    if dry_run { Step::Next } else { Step::Refuse(settings.limit_req_status.0) }
}

fn delay(request: &mut Request, zone: &Zone, excess: i64, delay_ms: u64) -> Step {
    let location = Arc::clone(&request.location);
    let settings = &location.limit_req;
    let dry_run = settings.limit_req_dry_run.0;
    let dry = if dry_run { ", dry run" } else { "" };
    let message = format!(
        "delaying request{dry}, excess: {}.{:03}, by zone \"{}\"",
        excess / 1000,
        excess % 1000,
        zone.name
    );
    error_log::request(request, settings.limit_req_log_level.severity_of_delay(), &message);
    if dry_run {
        request.limit_req = Some(Verdict::DelayedDryRun);
        return Step::Next;
    }
    request.limit_req = Some(Verdict::Delayed);
    let time = Duration::from_millis(delay_ms);
    Step::Wait(Box::new(Pause::Delay { time, behind: Behind::GoOn }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(rate: u64, bytes: u64) -> Zone {
        Zone::new("z", Template::plain(b"k"), b"k".to_vec(), rate, bytes)
    }

    /// One request in a second, a burst of two.
    #[test]
    fn the_bucket_fills_and_leaks() {
        let zone = zone(1000, 1 << 20);
        let look = |now| zone.look(b"a", 2000, Turn::Last, now);
        assert_eq!(look(0), Look::Fits(0));
        assert_eq!(look(0), Look::Fits(1000));
        assert_eq!(look(100), Look::Fits(1900));
        assert_eq!(look(200), Look::Busy(2800));
        assert_eq!(look(300), Look::Busy(2700));
        assert_eq!(look(1100), Look::Fits(1900));
        assert_eq!(look(60_000), Look::Fits(0));
        assert_eq!(zone.look(b"b", 0, Turn::Last, 60_000), Look::Fits(0));
        assert_eq!(zone.delay_ms(1900, 0), 1900);
        assert_eq!(zone.delay_ms(1900, 1000), 900);
        assert_eq!(zone.delay_ms(1900, u64::MAX), 0);
    }

    #[test]
    fn an_early_look_counts_only_when_it_is_accounted() {
        let zone = zone(1000, 1 << 20);
        assert_eq!(zone.look(b"a", 0, Turn::Early, 10), Look::Fits(0));
        zone.forget(b"a");
        assert_eq!(zone.look(b"a", 0, Turn::Early, 70_000), Look::Fits(0));
        assert_eq!(zone.account(b"a", 70_000), 0);
        assert_eq!(zone.look(b"a", 0, Turn::Early, 70_500), Look::Busy(500));
    }

    #[test]
    fn a_full_zone_forgets_the_oldest() {
        let zone = zone(1000, 32 << 10);
        let max = capacity(32 << 10, ENTRY_BYTES + 4) as u32;
        for number in 0..=max {
            assert_eq!(zone.look(&number.to_le_bytes(), 0, Turn::Last, 5), Look::Fits(0));
        }
        assert_eq!(zone.lock().by_key.len(), max as usize);
        // The first key was forgotten, and asking for it again forgets the second.
        assert_eq!(zone.look(&0u32.to_le_bytes(), 0, Turn::Last, 5), Look::Fits(0));
        assert_eq!(zone.look(&2u32.to_le_bytes(), 0, Turn::Last, 5), Look::Busy(1000));
    }

    #[test]
    fn a_zone_whose_oldest_bucket_is_watched_is_full() {
        let zone = zone(1000, 32 << 10);
        let max = capacity(32 << 10, ENTRY_BYTES + 4) as u32;
        assert_eq!(zone.look(&0u32.to_le_bytes(), 0, Turn::Early, 5), Look::Fits(0));
        for number in 1..max {
            assert_eq!(zone.look(&number.to_le_bytes(), 0, Turn::Last, 5), Look::Fits(0));
        }
        assert_eq!(zone.look(&max.to_le_bytes(), 0, Turn::Last, 5), Look::Full);
    }

    #[test]
    fn buckets_go_over_a_reload() {
        let (old, new) = (zone(1000, 1 << 20), zone(1000, 1 << 20));
        assert_eq!(old.look(b"a", 0, Turn::Last, 5), Look::Fits(0));
        new.carry_from(&old);
        assert_eq!(new.look(b"a", 0, Turn::Last, 5), Look::Busy(1000));
    }
}
