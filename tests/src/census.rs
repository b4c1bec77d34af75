//! What the processes of a program hold: descriptors and memory, read from /proc.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use rustix::process::Pid;

/// The descriptors of a program at one moment. Master and worker may share one descriptor
/// table: the same table is counted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Number and target of each descriptor, of every distinct table.
    tables: Vec<BTreeMap<u32, String>>,
}

impl Census {
    /// The descriptors of a process and of all below it.
    pub fn take(pid: Pid) -> Self {
        let mut tables = Vec::new();
        for pid in Self::family(pid) {
            let table = descriptors(pid);
            if !table.is_empty() && !tables.contains(&table) {
                tables.push(table);
            }
        }
        Self { tables }
    }

    /// How many descriptors are open.
    pub fn count(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// How many of them are sockets.
    pub fn sockets(&self) -> usize {
        let all = self.tables.iter().flat_map(BTreeMap::values);
        all.filter(|target| target.starts_with("socket:")).count()
    }

    /// The processes whose parent is `pid`.
    pub fn children(pid: Pid) -> Vec<Pid> {
        processes().into_iter().filter(|one| parent(*one) == Some(pid)).collect()
    }

    /// A process and all below it.
    pub fn family(pid: Pid) -> Vec<Pid> {
        let mut family = vec![pid];
        let mut next = 0;
        while next < family.len() {
            family.extend(Self::children(family[next]));
            next += 1;
        }
        family
    }

    /// Whether a process lives and runs this binary.
    pub fn runs(pid: Pid, binary: &std::path::Path) -> bool {
        let link = std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()));
        let binary = binary.canonicalize();
        parent(pid).is_some() && link.is_ok_and(|link| binary.is_ok_and(|path| path == link))
    }
}

/// The memory of a program's processes in KiB: what they allocated and what they share among each
/// other. The pages of the program's file are left out: their share of one process grows when
/// another test's program ends.
pub fn pss_kib(pid: Pid) -> u64 {
    let family = Census::family(pid);
    let own = |pid: Pid| field_kib(pid, "Pss_Anon:") + field_kib(pid, "Pss_Shmem:");
    family.into_iter().map(own).sum()
}

fn field_kib(pid: Pid, name: &str) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn descriptors(pid: Pid) -> BTreeMap<u32, String> {
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect()
}

fn processes() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|data| data.nlink() > 0))
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may hold spaces and brackets; the fields begin after its last bracket.
    let fields = &stat[stat.rfind(')')? + 1..];
    let mut words = fields.split_whitespace();
    if words.next()? == "Z" {
        return None;
    }
    Pid::from_raw(words.next()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_more_is_counted() {
        let myself = rustix::process::getpid();
        let before = descriptors(myself);
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        let after = descriptors(myself);
        assert!(
            after.values().filter(|to| *to == "/dev/null").count()
                > before.values().filter(|to| *to == "/dev/null").count()
        );
        drop(file);
    }

    #[test]
    fn this_process_has_memory_and_a_parent() {
        let myself = rustix::process::getpid();
        assert!(pss_kib(myself) > 0);
        assert!(parent(myself).is_some());
    }
}
