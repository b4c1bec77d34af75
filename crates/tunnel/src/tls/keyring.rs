//! Where a tunnel's keys are found: the secrets in its vault, or in private memory if that was
//! asked for, and a bounded cache of what is expanded from them.
//!
//! One per engine. It decides nothing; the lanes ask for a key by leg, flow and epoch.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::record::Key;
use super::schedule::{self, no_secret};
use super::suite::{IV_BYTES, KEY_BYTES_MAX};
use super::{Secrets, Suite, Traffic, Version};
use crate::Side;
use crate::table::{Flow, SlotWords, TunnelId, Vault};

/// The keys of one engine's tunnels.
#[derive(Default)]
pub(crate) struct Keyring {
    /// By a hash of the name; empty until a tunnel has TLS.
    cache: Vec<Option<Expanded>>,
    /// At most one entry for each record.
    private: HashMap<TunnelId, Box<Slots>>,
}

/// As in the vault: by leg, flow and the epoch's lowest bit.
type Slots = Zeroizing<[[[SlotWords; 2]; 2]; 2]>;

struct Expanded {
    id: TunnelId,
    leg: Side,
    flow: Flow,
    epoch: u32,
    key: Key,
}

/// Whose keys are meant.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'v> {
    pub(crate) id: TunnelId,
    pub(crate) vault: &'v Vault,
    /// The keys are not in the vault.
    pub(crate) private: bool,
}

impl Keyring {
    /// Lets a tunnel have keys. What they have agreed on always lies in the vault; secrets only if
    /// they are not private.
    pub(crate) fn begin(&mut self, owner: Owner<'_>, leg: Side, secrets: &Secrets) {
        owner.vault.set_parameters(leg, pack(secrets.version, secrets.suite));
        for (flow, traffic) in [(Flow::Open, &secrets.read), (Flow::Seal, &secrets.write)] {
            self.set_slot(owner, leg, flow, 0, &to_words(secrets.version, traffic));
        }
    }

    /// Forgets the keys of a tunnel, in this memory and in the vault.
    pub(crate) fn end(&mut self, owner: Owner<'_>) {
        owner.vault.wipe_keys();
        self.private.remove(&owner.id);
        for leg in Side::BOTH {
            for flow in [Flow::Open, Flow::Seal] {
                let place = self.cache.get_mut(place(owner.id, leg, flow));
                if let Some(place) = place.filter(|p| p.as_ref().is_some_and(|e| e.id == owner.id))
                {
                    *place = None;
                }
            }
        }
    }

    /// The key of an epoch that is in use or was prepared; `None` if there is none.
    #[inline]
    pub(crate) fn key(
        &mut self,
        owner: Owner<'_>,
        leg: Side,
        flow: Flow,
        epoch: u32,
    ) -> Option<&Key> {
        if self.cache.is_empty() {
            self.cache.resize_with(CACHE_MAX, || None);
        }
        let at = place(owner.id, leg, flow);
        let fits = |e: &Expanded| (e.id, e.leg, e.flow, e.epoch) == (owner.id, leg, flow, epoch);
        if !self.cache[at].as_ref().is_some_and(fits) {
            let key = self.expand(owner, leg, flow, epoch)?;
            self.cache[at] = Some(Expanded { id: owner.id, leg, flow, epoch, key });
        }
        self.cache[at].as_ref().map(|expanded| &expanded.key)
    }

    /// Prepares the epoch behind `epoch`; doing it again changes nothing. `None` in TLS 1.2.
    pub(crate) fn prepare_next(
        &mut self,
        owner: Owner<'_>,
        leg: Side,
        flow: Flow,
        epoch: u32,
    ) -> Option<()> {
        let (version, suite) = unpack(owner.vault.parameters(leg))?;
        if version != Version::Tls13 {
            return None;
        }
        let words = self.slot(owner, leg, flow, epoch)?;
        let next = schedule::next_secret(suite, &from_words(&words))?;
        let next = Zeroizing::new(words_of(&next[..]));
        self.set_slot(owner, leg, flow, epoch.wrapping_add(1), &next);
        Some(())
    }

    /// Wipes the place that the current epoch does not use: neither what was before it nor what was
    /// prepared in vain stays.
    pub(crate) fn retire(&mut self, owner: Owner<'_>, leg: Side, flow: Flow, epoch: u32) {
        self.set_slot(owner, leg, flow, epoch.wrapping_add(1), &SlotWords::default());
    }

    /// What a leg agreed on; `None` if it speaks no TLS.
    pub(crate) fn parameters(owner: Owner<'_>, leg: Side) -> Option<(Version, Suite)> {
        unpack(owner.vault.parameters(leg))
    }

    fn expand(&self, owner: Owner<'_>, leg: Side, flow: Flow, epoch: u32) -> Option<Key> {
        let (version, suite) = unpack(owner.vault.parameters(leg))?;
        let words = self.slot(owner, leg, flow, epoch)?;
        let traffic = match version {
            Version::Tls13 => schedule::traffic_of(suite, &from_words(&words))?,
            Version::Tls12 => {
                let bytes = from_words(&words);
                let mut iv = [0; IV_BYTES];
                iv.copy_from_slice(&bytes[KEY_BYTES_MAX..KEY_BYTES_MAX + IV_BYTES]);
                Traffic::tls12(suite, &bytes[..suite.key_bytes()], iv, 0).ok()?
            }
        };
        Key::new(version, suite, &traffic)
    }

    /// `None` if there is no secret: all zeros is none.
    fn slot(
        &self,
        owner: Owner<'_>,
        leg: Side,
        flow: Flow,
        epoch: u32,
    ) -> Option<Zeroizing<SlotWords>> {
        let words = if owner.private {
            self.private.get(&owner.id)?[leg.index()][flow as usize][epoch as usize & 1]
        } else {
            owner.vault.slot(leg, flow, epoch)
        };
        (words != SlotWords::default()).then(|| Zeroizing::new(words))
    }

    fn set_slot(&mut self, owner: Owner<'_>, leg: Side, flow: Flow, epoch: u32, words: &SlotWords) {
        if !owner.private {
            return owner.vault.set_slot(leg, flow, epoch, words);
        }
        let slots = self
            .private
            .entry(owner.id)
            .or_insert_with(|| Box::new(Zeroizing::new([[[SlotWords::default(); 2]; 2]; 2])));
        slots[leg.index()][flow as usize][epoch as usize & 1] = *words;
    }
}

fn place(id: TunnelId, leg: Side, flow: Flow) -> usize {
    (id.index as usize * 4 + leg.index() * 2 + flow as usize) % CACHE_MAX
}

/// Version and suite as one word; 0 is neither.
fn pack(version: Version, suite: Suite) -> u32 {
    let version = match version {
        Version::Tls12 => 0x0303,
        Version::Tls13 => 0x0304,
    };
    let suite = Suite::ALL.iter().position(|one| *one == suite).unwrap_or(0);
    version << 8 | suite as u32
}

fn unpack(word: u32) -> Option<(Version, Suite)> {
    let suite = *Suite::ALL.get(word as usize & 0xff)?;
    match word >> 8 {
        0x0303 => Some((Version::Tls12, suite)),
        0x0304 => Some((Version::Tls13, suite)),
        _ => None,
    }
}

/// TLS 1.3 goes on from its secret; TLS 1.2 has a key and an IV.
fn to_words(version: Version, traffic: &Traffic) -> Zeroizing<SlotWords> {
    let mut bytes = no_secret();
    match version {
        Version::Tls13 => bytes.copy_from_slice(&traffic.secret[..]),
        Version::Tls12 => {
            bytes[..KEY_BYTES_MAX].copy_from_slice(&traffic.key[..]);
            bytes[KEY_BYTES_MAX..KEY_BYTES_MAX + IV_BYTES].copy_from_slice(&traffic.iv[..]);
        }
    }
    Zeroizing::new(words_of(&bytes[..]))
}

fn words_of(bytes: &[u8]) -> SlotWords {
    let mut words = SlotWords::default();
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

fn from_words(words: &SlotWords) -> schedule::Secret {
    let mut bytes = no_secret();
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// Expanded keys at a time: about 600 bytes each, for 256 tunnels with TLS on both sides.
const CACHE_MAX: usize = 1024;
