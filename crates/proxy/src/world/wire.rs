//! Numbers, texts and lists as bytes, little-endian, with lengths first.
//!
//! Used by the snapshot, by the messages between master and worker, and by the control socket. The
//! decoder takes any bytes: it neither panics nor reserves memory that the input does not fill.
//! Not here: what is encoded.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFault {
    /// A length points past the end.
    Truncated,
    /// A byte that stands for nothing, or text that is not UTF-8.
    Malformed,
    /// There are bytes behind the last item.
    Trailing,
}

impl fmt::Display for WireFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WireFault::Truncated => "truncated",
            WireFault::Malformed => "malformed",
            WireFault::Trailing => "longer than its content",
        })
    }
}

/// Appends items to bytes.
#[derive(Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn number(&mut self, number: u32) {
        self.raw(&number.to_le_bytes());
    }

    /// A length that does not fit saturates, and the decoder refuses the whole: nothing that keeps
    /// to its size limit can meet it.
    pub fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn path(&mut self, path: &Path) {
        self.bytes(path.as_os_str().as_bytes());
    }

    pub fn list<T>(&mut self, list: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.length(list.len());
        list.iter().for_each(|item| each(self, item));
    }

    pub fn map<K, V>(&mut self, map: &BTreeMap<K, V>, mut each: impl FnMut(&mut Self, &K, &V)) {
        self.length(map.len());
        map.iter().for_each(|(key, value)| each(self, key, value));
    }

    pub fn option<T>(&mut self, option: Option<&T>, value: impl FnOnce(&mut Self, &T)) {
        self.raw(&[u8::from(option.is_some())]);
        if let Some(inner) = option {
            value(self, inner);
        }
    }

    pub fn address(&mut self, address: &IpAddr) {
        match address {
            IpAddr::V4(four) => {
                self.raw(&[4]);
                self.raw(&four.octets());
            }
            IpAddr::V6(six) => {
                self.raw(&[6]);
                self.raw(&six.octets());
            }
        }
    }
}

/// Takes items from bytes, in the order in which they were appended.
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder { rest: bytes }
    }

    /// Everything was taken.
    pub fn end(&self) -> Result<(), WireFault> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireFault::Trailing) }
    }

    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], WireFault> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(WireFault::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireFault> {
        self.raw(N)?.try_into().map_err(|_| WireFault::Truncated)
    }

    pub fn number(&mut self) -> Result<u32, WireFault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], WireFault> {
        let length = self.number()? as usize;
        self.raw(length)
    }

    pub fn text(&mut self) -> Result<String, WireFault> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| WireFault::Malformed)
    }

    pub fn path(&mut self) -> Result<PathBuf, WireFault> {
        Ok(PathBuf::from(OsString::from_vec(self.bytes()?.to_vec())))
    }

    /// Every item is at least one byte, so a hostile count ends at the end of the input, and
    /// nothing is reserved for it before.
    pub fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, WireFault>,
    ) -> Result<Vec<T>, WireFault> {
        let count = self.number()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(each(self)?);
        }
        Ok(list)
    }

    pub fn map<K: Ord, V>(
        &mut self,
        each: impl FnMut(&mut Self) -> Result<(K, V), WireFault>,
    ) -> Result<BTreeMap<K, V>, WireFault> {
        Ok(self.list(each)?.into_iter().collect())
    }

    pub fn option<T>(
        &mut self,
        value: impl FnOnce(&mut Self) -> Result<T, WireFault>,
    ) -> Result<Option<T>, WireFault> {
        match self.array()? {
            [0] => Ok(None),
            [1] => Ok(Some(value(self)?)),
            _ => Err(WireFault::Malformed),
        }
    }

    pub fn address(&mut self) -> Result<IpAddr, WireFault> {
        match self.array()? {
            [4] => Ok(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            [6] => Ok(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            _ => Err(WireFault::Malformed),
        }
    }
}
