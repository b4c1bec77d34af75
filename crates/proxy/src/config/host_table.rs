//! Names of hosts with one wildcard, and which of them a host belongs to: nginx's hash of names.
//!
//! Server names and the keys of a `map` with `hostnames` are looked up in it. Regular expressions
//! are not its business: they come after it and in the order of the file.

use crate::known_keys::KnownMap;

/// A name as it was written, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// `www.example.com`, and the empty name.
    Exact(Vec<u8>),
    /// `*.example.com` as `.example.com`.
    Head(Vec<u8>),
    /// `.example.com` as it stands: `example.com` and all below it.
    Both(Vec<u8>),
    /// `www.example.*` as `www.example.`.
    Tail(Vec<u8>),
}

impl HostName {
    /// Reads a name; `None` when it has an asterisk where nginx does not understand one, an empty
    /// label or a zero byte (`ngx_hash_add_key`).
    pub fn read(name: &[u8]) -> Option<Self> {
        let stars = name.iter().filter(|&&byte| byte == b'*').count();
        if stars > 1 || name.contains(&0) || name.windows(2).any(|pair| pair == b"..") {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        match lower.as_slice() {
            [b'.', _, ..] => Some(Self::Both(lower)),
            [b'*', b'.', _, ..] => Some(Self::Head(lower[1..].to_vec())),
            [_, .., b'.', b'*'] => Some(Self::Tail(lower[..lower.len() - 1].to_vec())),
            _ if stars > 0 => None,
            _ => Some(Self::Exact(lower)),
        }
    }
}

/// Whether a name was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    New,
    /// Another value has the name and keeps it.
    Conflicting,
}

/// Values by name.
#[derive(Clone, Debug)]
pub struct HostTable<V> {
    exact: KnownMap<Vec<u8>, V>,
    heads: KnownMap<Vec<u8>, V>,
    tails: KnownMap<Vec<u8>, V>,
}

impl<V> Default for HostTable<V> {
    fn default() -> Self {
        Self { exact: KnownMap::default(), heads: KnownMap::default(), tails: KnownMap::default() }
    }
}

impl<V: Clone> HostTable<V> {
    /// Adds a name. Of `.example.com` nothing is added when either of its two meanings is taken.
    pub fn add(&mut self, name: HostName, value: V) -> Added {
        let (map, key) = match name {
            HostName::Exact(key) => (&mut self.exact, key),
            HostName::Head(key) => (&mut self.heads, key),
            HostName::Tail(key) => (&mut self.tails, key),
            HostName::Both(key) => {
                if self.exact.contains_key(&key[1..]) || self.heads.contains_key(&key) {
                    return Added::Conflicting;
                }
                self.exact.insert(key[1..].to_vec(), value.clone());
                (&mut self.heads, key)
            }
        };
        if map.contains_key(&key) {
            return Added::Conflicting;
        }
        map.insert(key, value);
        Added::New
    }

    /// Adds a key as it stands, whatever asterisks it has.
    pub fn add_plain(&mut self, key: &[u8], value: V) -> Added {
        self.add(HostName::Exact(key.to_ascii_lowercase()), value)
    }

    /// The value of `host`, which is in lower case: of the exact name, else of the longest name
    /// that begins with an asterisk, else of the longest one that ends with it.
    pub fn find(&self, host: &[u8]) -> Option<&V> {
        if let Some(value) = self.exact.get(host) {
            return Some(value);
        }
        if self.heads.is_empty() && self.tails.is_empty() {
            return None;
        }
        let mut dots = memchr::memchr_iter(b'.', host);
        let head = dots.find_map(|at| self.heads.get(&host[at..]));
        head.or_else(|| {
            memchr::memrchr_iter(b'.', host).find_map(|at| self.tails.get(&host[..=at]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::chance::Chance;

    /// nginx's documentation of `server_name`, read slowly: every name that could be meant is
    /// compared as text, and the rank decides.
    fn slow_find(names: &[&str], host: &str) -> Option<usize> {
        let rank = |name: &str| -> Option<(u8, usize)> {
            if let Some(rest) = name.strip_prefix("*.") {
                return host.ends_with(&format!(".{rest}")).then_some((2, rest.len()));
            }
            if let Some(rest) = name.strip_prefix('.').filter(|rest| !rest.is_empty()) {
                if host == rest {
                    return Some((3, 0));
                }
                return host.ends_with(name).then_some((2, rest.len()));
            }
            if let Some(start) = name.strip_suffix(".*") {
                return host.starts_with(&format!("{start}.")).then_some((1, start.len()));
            }
            (name == host).then_some((3, 0))
        };
        let mut best: Option<((u8, usize), usize)> = None;
        for (index, name) in names.iter().enumerate() {
            if let Some(rank) = rank(name)
                && best.is_none_or(|(other, _)| rank > other)
            {
                best = Some((rank, index));
            }
        }
        best.map(|(_, index)| index)
    }

    #[test]
    fn a_host_belongs_to_the_name_that_the_documentation_says() {
        const LABELS: [&str; 4] = ["a", "b", "ab", "c"];
        let seed = Chance::seed();
        let mut chance = Chance::new(seed);
        for round in 0..3000 {
            let dotted = |chance: &mut Chance| {
                let count = 1 + chance.below(3);
                (0..count).map(|_| LABELS[chance.below(4)]).collect::<Vec<_>>().join(".")
            };
            let mut table = HostTable::default();
            let mut kept: Vec<String> = Vec::new();
            for _ in 0..chance.below(6) {
                let base = dotted(&mut chance);
                let name = match chance.below(4) {
                    0 => base,
                    1 => format!("*.{base}"),
                    2 => format!(".{base}"),
                    _ => format!("{base}.*"),
                };
                let read = HostName::read(name.as_bytes()).expect("a name");
                if table.add(read, kept.len()) == Added::New {
                    kept.push(name);
                }
            }
            let host = dotted(&mut chance);
            let names: Vec<_> = kept.iter().map(String::as_str).collect();
            assert_eq!(
                table.find(host.as_bytes()).copied(),
                slow_find(&names, &host),
                "seed {seed}, round {round}: {host} among {names:?}"
            );
        }
    }

    /// Each outcome was compared with nginx 1.22.1.
    #[test]
    fn names_that_nginx_does_not_understand_are_none() {
        for bad in ["a*", "*a", "a*.b", "a.*.b", "*.a.*", "*.*", "a..b", "*.a..b", "*", "a\0"] {
            assert_eq!(HostName::read(bad.as_bytes()), None, "{bad:?}");
        }
        let exact = |name: &str| Some(HostName::Exact(name.as_bytes().to_vec()));
        assert_eq!(HostName::read(b""), exact(""));
        assert_eq!(HostName::read(b"."), exact("."));
        assert_eq!(HostName::read(b"A.b."), exact("a.b."));
        assert_eq!(HostName::read(b"*.A"), Some(HostName::Head(b".a".to_vec())));
        assert_eq!(HostName::read(b"A.*"), Some(HostName::Tail(b"a.".to_vec())));
    }

    #[test]
    fn names_conflict_as_in_nginx() {
        let conflicts = |first: &str, second: &str| {
            let mut table = HostTable::default();
            let read = |name: &str| HostName::read(name.as_bytes()).expect("a name");
            assert_eq!(table.add(read(first), 1), Added::New);
            table.add(read(second), 2) == Added::Conflicting
        };
        for (first, second) in [("a", "A"), (".a", "a"), ("a", ".a"), ("*.a", ".a"), (".a", "*.a")]
        {
            assert!(conflicts(first, second), "{first} {second}");
        }
        assert!(!conflicts("*.a", "a"));
        assert!(!conflicts("a.*", "*.a"));
    }
}
