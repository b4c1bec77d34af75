//! Sessions that clients resume: tickets that they keep, and caches here.
//!
//! A session must not be resumed where other rules hold for clients' certificates: rustls binds it
//! to the name that was asked for, and everything here is bound to a context besides, a digest of
//! certificates and rules ([`super::server_config`] makes it), like OpenSSL's session id context.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac, rand};
use rustls::server::{ProducesTickets, StoresServerSessions};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use zeroize::Zeroizing;

/// What a server does for clients that come again.
#[derive(Clone, Debug)]
pub struct Resumption {
    pub tickets: Option<Tickets>,
    pub cache: Option<Cache>,
    pub timeout_s: u64,
}

/// Where the keys of tickets come from.
#[derive(Clone)]
pub enum Tickets {
    /// Made here, and changed from time to time.
    OfProcess,
    /// The contents of files: the first seals, all open.
    OfFiles(Vec<Zeroizing<Vec<u8>>>),
}

/// A cache to keep sessions in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Servers that name the same cache share it; `None` is a cache of the server itself.
    pub name: Option<String>,
    pub sessions: usize,
}

/// A digest of all that must be the same for a session to be resumed.
pub type Context = [u8; digest::SHA256_OUTPUT_LEN];

impl fmt::Debug for Tickets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::OfProcess => "OfProcess",
            Self::OfFiles(_) => "OfFiles",
        })
    }
}

/// Seals and opens tickets.
pub struct Ticketer {
    tickets: Tickets,
    context: Context,
    timeout_s: u64,
}

/// The key of one epoch or file.
struct Key {
    /// What a ticket begins with, so that its key is found.
    name: [u8; NAME],
    key: LessSafeKey,
}

const NAME: usize = 16;

/// Seconds in front of what is sealed, so that its age is known.
const STAMP: usize = 8;

impl Ticketer {
    pub fn new(tickets: Tickets, context: Context, timeout_s: u64) -> Self {
        Self { tickets, context, timeout_s: timeout_s.max(1) }
    }

    /// The keys that open, the one that seals first.
    fn keys(&self, now_s: u64) -> Vec<Key> {
        match &self.tickets {
            Tickets::OfFiles(files) => {
                files.iter().filter_map(|file| Key::derive(file, &self.context, 0)).collect()
            }
            Tickets::OfProcess => {
                let epoch = now_s / self.timeout_s;
                let secret = process_secret();
                let derive = |epoch| Key::derive(secret, &self.context, epoch);
                [Some(epoch), epoch.checked_sub(1)]
                    .into_iter()
                    .flatten()
                    .filter_map(derive)
                    .collect()
            }
        }
    }

    fn seal(&self, session: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let key = self.keys(now_s).into_iter().next()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = [&now_s.to_be_bytes()[..], session].concat();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.key.seal_in_place_append_tag(unique, Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys(now_s).into_iter().find(|key| key.name == *name)?;
        let mut sealed = sealed.to_vec();
        let unique = Nonce::assume_unique_for_key(*nonce);
        let opened = key.key.open_in_place(unique, Aad::from(key.name), &mut sealed).ok()?;
        let (stamp, session) = opened.split_first_chunk::<STAMP>()?;
        let age = now_s.checked_sub(u64::from_be_bytes(*stamp))?;
        (age <= self.timeout_s).then(|| session.to_vec())
    }
}

impl Key {
    fn derive(secret: &[u8], context: &Context, epoch: u64) -> Option<Self> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let part = |label: &[u8]| {
            let mut mac = hmac::Context::with_key(&secret);
            mac.update(label);
            mac.update(context);
            mac.update(&epoch.to_be_bytes());
            mac.sign()
        };
        let name = *part(b"ticket name").as_ref().first_chunk::<NAME>()?;
        let key = UnboundKey::new(&AES_256_GCM, part(b"ticket key").as_ref()).ok()?;
        Some(Self { name, key: LessSafeKey::new(key) })
    }
}

/// What the keys of tickets are made of, when no file is named.
fn process_secret() -> &'static [u8] {
    static SECRET: OnceLock<[u8; 32]> = OnceLock::new();
    SECRET.get_or_init(|| {
        let mut secret = [0; 32];
        // Without random numbers no handshake would have come this far.
        let filled = rand::fill(&mut secret);
        assert!(filled.is_ok(), "the system gives no random numbers");
        secret
    })
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ticketer").field("tickets", &self.tickets).finish_non_exhaustive()
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.timeout_s).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now_s())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now_s())
    }
}

/// Sessions by their numbers, the oldest of which makes room.
struct Kept {
    sessions_max: usize,
    by_key: HashMap<Vec<u8>, (Vec<u8>, Instant)>,
    /// Keys in the order in which they came; some may be gone.
    order: VecDeque<Vec<u8>>,
}

impl Kept {
    fn put(&mut self, key: Vec<u8>, session: Vec<u8>, until: Instant) {
        // Keys that were taken are still in the order: it is bounded as well.
        while self.by_key.len() >= self.sessions_max || self.order.len() >= 2 * self.sessions_max {
            match self.order.pop_front() {
                Some(oldest) => self.by_key.remove(&oldest),
                None => break,
            };
        }
        self.order.push_back(key.clone());
        self.by_key.insert(key, (session, until));
    }
}

/// A server's view of a cache.
pub struct Store {
    kept: Arc<Mutex<Kept>>,
    context: Context,
    timeout: Duration,
}

impl Store {
    /// The cache of that name, which outlives the configuration, or one of the context's own.
    pub fn open(cache: &Cache, context: Context, timeout_s: u64) -> Self {
        static CACHES: Mutex<BTreeMap<Vec<u8>, Arc<Mutex<Kept>>>> = Mutex::new(BTreeMap::new());
        let name = match &cache.name {
            Some(name) => name.as_bytes().to_vec(),
            None => context.to_vec(),
        };
        let mut caches = CACHES.lock().unwrap_or_else(PoisonError::into_inner);
        // What no configuration names any more goes.
        caches.retain(|known, kept| *known == name || Arc::strong_count(kept) > 1);
        let kept = Arc::clone(caches.entry(name).or_insert_with(|| {
            let kept = Kept { sessions_max: 1, by_key: HashMap::new(), order: VecDeque::new() };
            Arc::new(Mutex::new(kept))
        }));
        lock(&kept).sessions_max = cache.sessions.max(1);
        Self { kept, context, timeout: Duration::from_secs(timeout_s) }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.context[..], key].concat()
    }
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store").finish_non_exhaustive()
    }
}

impl StoresServerSessions for Store {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let until = Instant::now() + self.timeout;
        lock(&self.kept).put(self.key(&key), value, until);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let kept = lock(&self.kept);
        let (session, until) = kept.by_key.get(&self.key(key))?;
        (Instant::now() < *until).then(|| session.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (session, until) = lock(&self.kept).by_key.remove(&self.key(key))?;
        (Instant::now() < until).then_some(session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticketer(tickets: Tickets, context: u8) -> Ticketer {
        Ticketer::new(tickets, [context; 32], 300)
    }

    fn files(bytes: &[u8]) -> Tickets {
        Tickets::OfFiles(bytes.iter().map(|&byte| vec![byte; 80].into()).collect())
    }

    #[test]
    fn a_ticket_opens_until_it_is_too_old() {
        for tickets in [Tickets::OfProcess, files(&[1])] {
            let ticketer = ticketer(tickets, 1);
            let ticket = ticketer.seal(b"session", 10_000).unwrap();
            assert_eq!(ticketer.open(&ticket, 10_300).as_deref(), Some(&b"session"[..]));
            assert_eq!(ticketer.open(&ticket, 10_301), None);
            assert_eq!(ticketer.open(&ticket, 9_999), None);
        }
    }

    #[test]
    fn a_ticket_opens_in_its_own_context_only() {
        let ticket = ticketer(files(&[1]), 1).seal(b"session", 10).unwrap();
        assert!(ticketer(files(&[1]), 1).open(&ticket, 10).is_some());
        assert!(ticketer(files(&[1]), 2).open(&ticket, 10).is_none());
        assert!(ticketer(files(&[2]), 1).open(&ticket, 10).is_none());
    }

    #[test]
    fn files_rotate() {
        let old = ticketer(files(&[1]), 1).seal(b"session", 10).unwrap();
        assert!(ticketer(files(&[2, 1]), 1).open(&old, 10).is_some());
        let new = ticketer(files(&[2, 1]), 1).seal(b"session", 10).unwrap();
        assert!(ticketer(files(&[2]), 1).open(&new, 10).is_some());
    }

    #[test]
    fn no_bit_of_a_ticket_may_change() {
        let ticketer = ticketer(files(&[1]), 1);
        let ticket = ticketer.seal(b"session", 10).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.open(&changed, 10), None, "byte {at}");
            assert_eq!(ticketer.open(&ticket[..at], 10), None);
        }
    }

    #[test]
    fn a_full_cache_forgets_the_oldest() {
        let cache = Cache { name: Some("full".into()), sessions: 3 };
        let store = Store::open(&cache, [1; 32], 300);
        for key in 0..5u8 {
            store.put(vec![key], vec![key]);
        }
        let known: Vec<bool> = (0..5u8).map(|key| store.get(&[key]).is_some()).collect();
        assert_eq!(known, [false, false, true, true, true]);
        for round in 0..100u8 {
            store.put(vec![9], vec![round]);
            assert!(store.take(&[9]).is_some() && store.take(&[9]).is_none());
        }
        assert!(lock(&store.kept).order.len() <= 6);
    }

    #[test]
    fn a_shared_cache_keeps_contexts_apart_and_outlives_its_users() {
        let cache = Cache { name: Some("shared".into()), sessions: 3 };
        let one = Store::open(&cache, [1; 32], 300);
        one.put(vec![1], vec![1]);
        assert!(Store::open(&cache, [2; 32], 300).get(&[1]).is_none());
        assert!(Store::open(&cache, [1; 32], 300).get(&[1]).is_some());
        let late = Store::open(&cache, [1; 32], 0);
        late.put(vec![2], vec![2]);
        assert!(late.get(&[2]).is_none());
    }
}
