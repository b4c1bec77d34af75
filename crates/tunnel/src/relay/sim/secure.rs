//! A simulated peer that speaks TLS: it seals the stream that it sends into records of all sizes,
//! among others that carry nothing, and opens what it gets.
//!
//! The false sockets have one each where a leg speaks TLS.

use super::Random;
use crate::table::{Flow, Progress, TunnelId};
use crate::tls::{Content, Keyring, Owner, Secrets, Stop, Suite, Version, open, sample_pair};
use crate::{Limits, Side, Table};

/// One peer's end of TLS.
pub(super) struct Secure {
    table: Table,
    keys: Keyring,
    /// We, as it sees us.
    us: Side,
    version: Version,
    random: Random,
    progress: Progress,
    /// Every byte that it has sent or will send next.
    pub(super) stream: Vec<u8>,
    /// Where its records with content end, and how much content that is in all.
    ends: Vec<(u64, u64)>,
    plain: u64,
    /// What it got and could not open yet.
    got: Vec<u8>,
    /// It was told that nothing follows.
    pub(super) told: u32,
    /// Keys that we changed.
    pub(super) updates: u32,
}

impl Secure {
    /// The peer at the leg `side`, and the secrets of our end.
    pub(super) fn new(side: Side, mut random: Random) -> (Secure, Secrets) {
        let version = [Version::Tls12, Version::Tls13][random.below(2) as usize];
        let suite = Suite::ALL[random.below(3) as usize];
        let limits = Limits { records: 1, chunks: 2, note_bytes: 0, threads: 1 };
        let table = Table::create(limits).unwrap();
        let [ours, theirs] = sample_pair(version, suite, random.below(200) as u8);
        let mut secure = Secure {
            table,
            keys: Keyring::default(),
            us: side.other(),
            version,
            random,
            progress: Progress {
                open_seq: theirs.read.seq(),
                seal_seq: theirs.write.seq(),
                ..Progress::default()
            },
            stream: Vec::new(),
            ends: Vec::new(),
            plain: 0,
            got: Vec::new(),
            told: 0,
            updates: 0,
        };
        let vault = secure.table.vault(0).unwrap();
        let owner = Owner { id: ID, vault, private: false };
        secure.keys.begin(owner, secure.us, &theirs);
        (secure, ours)
    }

    /// Makes records until the stream is `until` bytes long; `byte` is the content by position.
    pub(super) fn extend(&mut self, until: u64, byte: impl Fn(u64) -> u8) {
        while (self.stream.len() as u64) < until {
            let is_13 = self.version == Version::Tls13;
            match self.random.below(14) {
                0 if is_13 => {
                    let asks = self.random.below(2) as u8;
                    self.seal(Content::Handshake, &[24, 0, 0, 1, asks]);
                    self.update();
                }
                1 => self.seal(Content::Data, &[]),
                // Only a server has tickets.
                2 if is_13 && self.us == Side::Client => {
                    let mut tickets = vec![4, 0, 0, 5, 1, 2, 3, 4, 5];
                    tickets.extend([4, 0, 0, 9, 1, 2, 3]);
                    self.seal(Content::Handshake, &tickets);
                    self.seal(Content::Handshake, &[4, 5, 6, 7, 8, 9]);
                }
                _ => {
                    let most = [1, 30, 2_000, 16_384][self.random.below(4) as usize];
                    let length = 1 + self.random.below(most);
                    let content: Vec<u8> = (0..length).map(|at| byte(self.plain + at)).collect();
                    self.seal(Content::Data, &content);
                    self.plain += length;
                    self.ends.push((self.stream.len() as u64, self.plain));
                }
            }
        }
    }

    /// Says that nothing follows.
    pub(super) fn say_close(&mut self) {
        self.seal(Content::Alert, &[1, 0]);
    }

    /// How much content the first `arrived` bytes of the stream carry in whole records.
    pub(super) fn content_of(&self, arrived: u64) -> u64 {
        let whole = self.ends.partition_point(|(end, _)| *end <= arrived);
        whole.checked_sub(1).map_or(0, |last| self.ends[last].1)
    }

    /// Opens what it got.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.got.extend_from_slice(bytes);
        let mut content = Vec::new();
        loop {
            let vault = self.table.vault(0).unwrap();
            let owner = Owner { id: ID, vault, private: false };
            let before = self.progress.open_epoch;
            let opened = open(&mut self.keys, owner, self.us, &mut self.got, &mut self.progress);
            content.extend_from_slice(&self.got[..opened.content]);
            self.got.drain(..opened.used);
            self.updates += self.progress.open_epoch - before;
            if std::mem::take(&mut self.progress.closed) {
                self.told += 1;
            }
            match opened.stop {
                Stop::Refused(misdeed) => return Err(format!("{misdeed:?}")),
                Stop::Partial => return Ok(content),
                Stop::Turn => {}
            }
        }
    }

    /// Whether it holds a part of a record.
    pub(super) fn is_cut(&self) -> bool {
        !self.got.is_empty()
    }

    fn seal(&mut self, content: Content, plain: &[u8]) {
        let vault = self.table.vault(0).unwrap();
        let owner = Owner { id: ID, vault, private: false };
        let epoch = self.progress.seal_epoch;
        let key = self.keys.key(owner, self.us, Flow::Seal, epoch).unwrap();
        key.seal(self.progress.seal_seq, content, plain, &mut self.stream).unwrap();
        self.progress.seal_seq += 1;
    }

    fn update(&mut self) {
        let vault = self.table.vault(0).unwrap();
        let owner = Owner { id: ID, vault, private: false };
        self.keys.prepare_next(owner, self.us, Flow::Seal, self.progress.seal_epoch).unwrap();
        self.progress.seal_epoch += 1;
        self.progress.seal_seq = 0;
    }
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure")
            .field("version", &self.version)
            .field("sent", &(self.stream.len(), self.plain))
            .field("told", &self.told)
            .field("cut", &self.is_cut())
            .finish_non_exhaustive()
    }
}

const ID: TunnelId = TunnelId { index: 0, generation: 1 };
