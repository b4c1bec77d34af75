//! Everything that a configuration reads from outside: files, patterns, names, users.
//!
//! [`Disk`] is the real thing and records every answer; [`Snapshot`] is what it recorded and gives
//! the same answers again, in another process and without touching anything. The master has a
//! short-lived child build from `Disk`, and master and worker build from the child's `Snapshot`: so
//! neither opens a secret nor waits for a name server. Not here: what is done with the answers
//! ([`crate::build`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use perdura_conf::Files;

mod glob;
pub mod wire;

use wire::{Decoder, Encoder, WireFault};

/// What a configuration may ask of the world.
pub trait World: Files {
    /// The addresses of a host name, in the order in which the system gives them, without
    /// duplicates.
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// The uid and the primary gid of a user.
    fn user(&self, name: &str) -> Option<(u32, u32)>;

    /// The gid of a group.
    fn group(&self, name: &str) -> Option<u32>;

    /// Every group that a process of this user is in, `gid` among them: what initgroups(3) sets.
    fn groups_of(&self, user: &str, gid: u32) -> Vec<u32>;
}

/// The longest file that a configuration may read, in bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// The longest encoded [`Snapshot`], in bytes.
pub const SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// Why an answer was none, in a form that travels.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// The number of a system error.
    Errno(i32),
    /// Any other error's text.
    Message(String),
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Failure::Errno(number),
            None => Failure::Message(error.to_string()),
        }
    }

    fn error(&self) -> io::Error {
        match self {
            Failure::Errno(number) => io::Error::from_raw_os_error(*number),
            Failure::Message(text) => io::Error::other(text.clone()),
        }
    }
}

type Answer<T> = Result<T, Failure>;

/// All that was read for one configuration. What is not in it was never asked: `NotFound`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, Answer<Vec<u8>>>,
    globs: BTreeMap<PathBuf, Answer<Vec<PathBuf>>>,
    hosts: BTreeMap<String, Answer<Vec<IpAddr>>>,
    users: BTreeMap<String, Option<(u32, u32)>>,
    groups: BTreeMap<String, Option<u32>>,
    /// By [`membership`].
    memberships: BTreeMap<String, Vec<u32>>,
}

/// The name of one question for groups.
fn membership(user: &str, gid: u32) -> String {
    format!("{gid} {user}")
}

impl Snapshot {
    /// The snapshot as bytes, for [`Snapshot::decode`] of the same version.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(MAGIC);
        out.number(VERSION);
        out.map(&self.files, |out, path, answer| {
            out.path(path);
            encode_answer(out, answer, |out, bytes| out.bytes(bytes));
        });
        out.map(&self.globs, |out, pattern, answer| {
            out.path(pattern);
            encode_answer(out, answer, |out, paths| out.list(paths, |out, path| out.path(path)));
        });
        out.map(&self.hosts, |out, host, answer| {
            out.text(host);
            encode_answer(out, answer, |out, addresses| out.list(addresses, Encoder::address));
        });
        out.map(&self.users, |out, name, ids| {
            out.text(name);
            out.option(ids.as_ref(), |out, (uid, gid)| {
                out.number(*uid);
                out.number(*gid);
            });
        });
        out.map(&self.groups, |out, name, gid| {
            out.text(name);
            out.option(gid.as_ref(), |out, gid| out.number(*gid));
        });
        out.map(&self.memberships, |out, name, gids| {
            out.text(name);
            out.list(gids, |out, gid| out.number(*gid));
        });
        out.into_bytes()
    }

    /// Reads what [`Snapshot::encode`] wrote. The bytes may be anything.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotFault> {
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return Err(SnapshotFault::TooLong);
        }
        let mut input = Decoder::new(bytes);
        if input.raw(MAGIC.len())? != MAGIC {
            return Err(SnapshotFault::NotASnapshot);
        }
        match input.number()? {
            VERSION => {}
            version => return Err(SnapshotFault::OtherVersion { version }),
        }
        let snapshot = Snapshot {
            files: input.map(|input| {
                Ok((input.path()?, decode_answer(input, |input| Ok(input.bytes()?.to_vec()))?))
            })?,
            globs: input.map(|input| {
                Ok((input.path()?, decode_answer(input, |input| input.list(Decoder::path))?))
            })?,
            hosts: input.map(|input| {
                Ok((input.text()?, decode_answer(input, |input| input.list(Decoder::address))?))
            })?,
            users: input.map(|input| {
                let name = input.text()?;
                Ok((name, input.option(|input| Ok((input.number()?, input.number()?)))?))
            })?,
            groups: input.map(|input| Ok((input.text()?, input.option(Decoder::number)?)))?,
            memberships: input.map(|input| Ok((input.text()?, input.list(Decoder::number)?)))?,
        };
        input.end()?;
        Ok(snapshot)
    }
}

fn encode_answer<T>(out: &mut Encoder, answer: &Answer<T>, value: impl FnOnce(&mut Encoder, &T)) {
    match answer {
        Ok(inner) => {
            out.raw(&[0]);
            value(out, inner);
        }
        Err(Failure::Errno(number)) => {
            out.raw(&[1]);
            out.raw(&number.to_le_bytes());
        }
        Err(Failure::Message(text)) => {
            out.raw(&[2]);
            out.text(text);
        }
    }
}

fn decode_answer<'a, T>(
    input: &mut Decoder<'a>,
    value: impl FnOnce(&mut Decoder<'a>) -> Result<T, WireFault>,
) -> Result<Answer<T>, WireFault> {
    match input.array()? {
        [0] => Ok(Ok(value(input)?)),
        [1] => Ok(Err(Failure::Errno(i32::from_le_bytes(input.array()?)))),
        [2] => Ok(Err(Failure::Message(input.text()?))),
        _ => Err(WireFault::Malformed),
    }
}

impl Files for Snapshot {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        answered(self.files.get(path))
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        answered(self.globs.get(pattern))
    }
}

impl World for Snapshot {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        answered(self.hosts.get(host))
    }

    fn user(&self, name: &str) -> Option<(u32, u32)> {
        self.users.get(name).copied().flatten()
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied().flatten()
    }

    fn groups_of(&self, user: &str, gid: u32) -> Vec<u32> {
        self.memberships.get(&membership(user, gid)).cloned().unwrap_or_else(|| vec![gid])
    }
}

fn answered<T: Clone>(answer: Option<&Answer<T>>) -> io::Result<T> {
    match answer {
        Some(Ok(value)) => Ok(value.clone()),
        Some(Err(failure)) => Err(failure.error()),
        None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    }
}

/// Why bytes are no [`Snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotFault {
    NotASnapshot,
    OtherVersion {
        version: u32,
    },
    TooLong,
    /// Cut short, or with a byte in it that stands for nothing.
    Wire(WireFault),
}

impl From<WireFault> for SnapshotFault {
    fn from(fault: WireFault) -> Self {
        SnapshotFault::Wire(fault)
    }
}

impl fmt::Display for SnapshotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotFault::NotASnapshot => f.write_str("not a snapshot"),
            SnapshotFault::OtherVersion { version } => {
                write!(f, "a snapshot of version {version}, not {VERSION}")
            }
            SnapshotFault::TooLong => write!(f, "longer than {SNAPSHOT_BYTES_MAX} bytes"),
            SnapshotFault::Wire(fault) => write!(f, "a snapshot that is {fault}"),
        }
    }
}

impl std::error::Error for SnapshotFault {}

/// The machine's own files and names; every answer is recorded.
#[derive(Debug, Default)]
pub struct Disk {
    seen: RefCell<Snapshot>,
}

impl Disk {
    pub fn new() -> Self {
        Self::default()
    }

    /// What was answered so far.
    pub fn into_snapshot(self) -> Snapshot {
        self.seen.into_inner()
    }
}

/// Gives the recorded answer, or asks and records: one configuration sees one state of the world,
/// however often it asks.
macro_rules! recorded {
    ($self:ident . $map:ident [ $key:expr ] or $ask:expr) => {{
        let known = $self.seen.borrow().$map.get($key).cloned();
        match known {
            Some(answer) => answer,
            None => {
                let answer = $ask;
                $self.seen.borrow_mut().$map.insert($key.to_owned(), answer.clone());
                answer
            }
        }
    }};
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        recorded!(self.files[path] or read_file(path).map_err(|error| Failure::of(&error)))
            .map_err(|failure| failure.error())
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        recorded!(self.globs[pattern] or glob::paths(pattern).map_err(|error| Failure::of(&error)))
            .map_err(|failure| failure.error())
    }
}

impl World for Disk {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        recorded!(self.hosts[host] or look_up(host).map_err(|error| Failure::of(&error)))
            .map_err(|failure| failure.error())
    }

    fn user(&self, name: &str) -> Option<(u32, u32)> {
        recorded!(self.users[name] or user_of_system(name))
    }

    fn group(&self, name: &str) -> Option<u32> {
        recorded!(self.groups[name] or group_of_system(name))
    }

    fn groups_of(&self, user: &str, gid: u32) -> Vec<u32> {
        let name = membership(user, gid);
        recorded!(self.memberships[name.as_str()] or groups_of_system(user, gid))
    }
}

/// A whole file. A directory is EISDIR, as nginx says it; a file past the limit is EFBIG.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(bytes)
}

fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs()? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}

fn user_of_system(name: &str) -> Option<(u32, u32)> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` ends in NUL, and the answer is copied before anything else may ask again;
    // `Disk` lives in a process with one thread, because it is not `Sync`.
    let entry = unsafe { libc::getpwnam(name.as_ptr()).as_ref()? };
    Some((entry.pw_uid, entry.pw_gid))
}

fn group_of_system(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: as in `user_of_system`.
    let entry = unsafe { libc::getgrnam(name.as_ptr()).as_ref()? };
    Some(entry.gr_gid)
}

fn groups_of_system(user: &str, gid: u32) -> Vec<u32> {
    let Ok(user) = CString::new(user) else { return vec![gid] };
    let mut gids: Vec<libc::gid_t> = vec![0; GROUPS_FIRST];
    loop {
        let mut count = libc::c_int::try_from(gids.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `user` ends in NUL, and `gids` has room for `count`; one thread, as in
        // `user_of_system`.
        let got =
            unsafe { libc::getgrouplist(user.as_ptr(), gid, gids.as_mut_ptr(), &raw mut count) };
        let count = usize::try_from(count).unwrap_or(0);
        if got >= 0 {
            gids.truncate(count);
            return gids;
        }
        if gids.len() >= GROUPS_MAX {
            // More than any process can be in: the kernel would refuse them all.
            return gids;
        }
        gids.resize(count.clamp(gids.len() * 2, GROUPS_MAX), 0);
    }
}

/// As many groups as most users are not in.
const GROUPS_FIRST: usize = 64;

/// The kernel's NGROUPS_MAX.
const GROUPS_MAX: usize = 65_536;

const MAGIC: &[u8] = b"perdura-snapshot";
const VERSION: u32 = 2;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn sample() -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.files.insert("/etc/a.conf".into(), Ok(b"events {}\n\xff".to_vec()));
        snapshot.files.insert("/etc/none".into(), Err(Failure::Errno(libc::ENOENT)));
        snapshot.globs.insert("/etc/*.conf".into(), Ok(vec!["/etc/a.conf".into()]));
        snapshot.globs.insert("/root/*".into(), Err(Failure::Errno(libc::EACCES)));
        let addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from(Ipv6Addr::LOCALHOST)];
        snapshot.hosts.insert("localhost".into(), Ok(addresses));
        snapshot.hosts.insert("nowhere".into(), Err(Failure::Message("not known".into())));
        snapshot.users.insert("www".into(), Some((33, 34)));
        snapshot.users.insert("nobody-here".into(), None);
        snapshot.groups.insert("www".into(), Some(33));
        snapshot.memberships.insert(membership("www", 33), vec![33, 4, 27]);
        snapshot
    }

    #[test]
    fn comes_back_as_it_was() {
        let snapshot = sample();
        assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
        assert_eq!(Snapshot::decode(&Snapshot::default().encode()), Ok(Snapshot::default()));
    }

    #[test]
    fn answers_as_it_was_answered() {
        let snapshot = sample();
        assert_eq!(snapshot.read(Path::new("/etc/a.conf")).unwrap(), b"events {}\n\xff");
        let error = snapshot.read(Path::new("/etc/none")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        let error = snapshot.glob(Path::new("/root/*")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        assert_eq!(snapshot.resolve("nowhere").unwrap_err().to_string(), "not known");
        let never_asked = snapshot.read(Path::new("/etc/shadow")).unwrap_err();
        assert_eq!(never_asked.kind(), io::ErrorKind::NotFound);
        assert_eq!(snapshot.user("www"), Some((33, 34)));
        assert_eq!(snapshot.user("nobody-here"), None);
        assert_eq!(snapshot.group("www"), Some(33));
        assert_eq!(snapshot.groups_of("www", 33), [33, 4, 27]);
        assert_eq!(snapshot.groups_of("www", 9), [9], "nobody has asked for that");
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = sample().encode();
        for length in 0..bytes.len() {
            assert!(Snapshot::decode(&bytes[..length]).is_err(), "{length} bytes were accepted");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Snapshot::decode(&longer), Err(SnapshotFault::Wire(WireFault::Trailing)));
    }

    #[test]
    fn another_version_and_another_thing_are_named() {
        let mut bytes = sample().encode();
        bytes[MAGIC.len()] = 9;
        assert_eq!(Snapshot::decode(&bytes), Err(SnapshotFault::OtherVersion { version: 9 }));
        bytes[0] ^= 1;
        assert_eq!(Snapshot::decode(&bytes), Err(SnapshotFault::NotASnapshot));
    }

    #[test]
    fn any_byte_may_be_any_value() {
        let bytes = sample().encode();
        for index in 0..bytes.len() {
            for value in [0, 1, 2, 3, 0x7f, 0x80, 0xff] {
                let mut hostile = bytes.clone();
                hostile[index] = value;
                // Whatever comes out, it comes out soon and does not panic.
                let _ = Snapshot::decode(&hostile);
            }
        }
    }

    #[test]
    fn a_huge_count_reserves_nothing() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(u32::MAX.to_le_bytes());
        assert_eq!(Snapshot::decode(&bytes), Err(SnapshotFault::Wire(WireFault::Truncated)));
    }

    #[test]
    fn the_size_limit_is_reached() {
        let bytes = vec![0; SNAPSHOT_BYTES_MAX + 1];
        assert_eq!(Snapshot::decode(&bytes), Err(SnapshotFault::TooLong));
    }

    #[test]
    fn the_disk_records_what_it_answered_and_answers_once() {
        let folder = std::env::temp_dir().join(format!("perdura-world-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("a.conf");
        std::fs::write(&file, "one").unwrap();
        let disk = Disk::new();
        assert_eq!(disk.read(&file).unwrap(), b"one");
        std::fs::write(&file, "two").unwrap();
        assert_eq!(disk.read(&file).unwrap(), b"one", "one configuration saw two states");
        let error = disk.read(&folder.join("none")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(disk.read(&folder).unwrap_err().raw_os_error(), Some(libc::EISDIR));
        assert_eq!(disk.glob(&folder.join("*.conf")).unwrap(), std::slice::from_ref(&file));
        assert_eq!(disk.user("root"), Some((0, 0)));
        assert_eq!(disk.group("root"), Some(0));
        assert!(disk.groups_of("root", 0).contains(&0));
        assert_eq!(disk.groups_of("no such user", 7), [7]);
        assert_eq!(disk.user("no such user"), None);
        assert_eq!(disk.user("nul\0inside"), None);
        assert_eq!(disk.resolve("127.0.0.1").unwrap(), [IpAddr::from([127, 0, 0, 1])]);
        std::fs::remove_dir_all(&folder).unwrap();

        let again = Snapshot::decode(&disk.into_snapshot().encode()).unwrap();
        assert_eq!(again.read(&file).unwrap(), b"one");
        assert_eq!(again.user("root"), Some((0, 0)));
    }

    #[test]
    fn a_file_past_the_limit_is_refused() {
        let error = read_file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    }
}
