//! What a proxy's processes hold in memory, counted once.
//!
//! The formula, per proxy:
//!
//! ```text
//!   sum of Pss over its processes                      (/proc/PID/smaps_rollup)
//! - sum of Pss of their mappings of memfds they hold   (/proc/PID/smaps)
//! + blocks of those memfds, each once, times 512       (stat of /proc/PID/fd/N)
//! ```
//!
//! `Pss` divides a shared page among those who map it, so the sum counts it once; but a page of a
//! memfd that was written and is mapped by nobody is in no `Pss`. The blocks have all of its pages,
//! so what `Pss` has of them is taken off. The kernel's own memory (sockets) is in neither.
//! Called by `measure`.

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::fs::MetadataExt;

use super::fault::Fault;

/// The bytes that the processes `pids` hold.
pub fn held(pids: &[u32]) -> Result<u64, Fault> {
    let mut memfds = BTreeMap::new();
    for &pid in pids {
        find_memfds(pid, &mut memfds)?;
    }
    let mut held: u64 = memfds.values().map(|blocks| blocks * 512).sum();
    let mut twice = 0;
    for &pid in pids {
        held += 1024 * pss_kib(&read(pid, "smaps_rollup")?);
        if !memfds.is_empty() {
            let inodes: Vec<u64> = memfds.keys().map(|&(_, inode)| inode).collect();
            twice += 1024 * memfd_pss_kib(&read(pid, "smaps")?, &inodes);
        }
    }
    Ok(held.saturating_sub(twice))
}

/// Device and inode of a memfd, and its blocks of 512 bytes.
type Memfds = BTreeMap<(u64, u64), u64>;

fn find_memfds(pid: u32, memfds: &mut Memfds) -> Result<(), Fault> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|_| Fault::Vanished { pid })?;
    for entry in folder.flatten() {
        let path = entry.path();
        let is_memfd = fs::read_link(&path)
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"));
        // A descriptor may be closed between the list and the look.
        if is_memfd && let Ok(found) = fs::metadata(&path) {
            memfds.insert((found.st_dev(), found.st_ino()), found.st_blocks());
        }
    }
    Ok(())
}

fn read(pid: u32, name: &str) -> Result<String, Fault> {
    fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(|_| Fault::Vanished { pid })
}

/// The `Pss` of a `smaps_rollup`, in KiB.
fn pss_kib(rollup: &str) -> u64 {
    rollup.lines().find_map(pss_of_line).unwrap_or(0)
}

/// The `Pss` of those mappings of a `smaps` that show a memfd with one of these inodes, in KiB.
fn memfd_pss_kib(smaps: &str, inodes: &[u64]) -> u64 {
    let mut counted = false;
    let mut sum = 0;
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or("");
        if !first.ends_with(':') {
            // `address perms offset dev inode path`: the line that begins a mapping.
            let inode = line.split_whitespace().nth(4).and_then(|inode| inode.parse().ok());
            counted = line.contains(" /memfd:") && inode.is_some_and(|i| inodes.contains(&i));
        } else if counted {
            sum += pss_of_line(line).unwrap_or(0);
        }
    }
    sum
}

fn pss_of_line(line: &str) -> Option<u64> {
    line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mappings_of_held_memfds_are_taken_off() {
        let smaps = "\
7f00-7f10 rw-s 00000000 00:01 1025 /memfd:table (deleted)
Rss:                  12 kB
Pss:                   6 kB
Pss_Dirty:             6 kB
7f10-7f20 rw-s 00000000 00:01 2000 /memfd:closed (deleted)
Pss:                   8 kB
7f20-7f30 rw-p 00000000 00:00 0 
Pss:                 100 kB
7f30-7f40 rw-s 00001000 00:01 1025 /memfd:table (deleted)
Pss:                   1 kB
VmFlags: rd wr
";
        assert_eq!(memfd_pss_kib(smaps, &[1025]), 7);
        assert_eq!(pss_kib("5-7 ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss:    470 kB\n"), 470);
    }

    #[test]
    fn a_memfd_that_nobody_maps_counts_once() {
        use rustix::fs::{MemfdFlags, memfd_create};
        const SIZE: usize = 8 << 20;
        let block = vec![1u8; SIZE];
        let memfd = memfd_create("bench-test", MemfdFlags::CLOEXEC).unwrap();
        let mut written = 0;
        while written < SIZE {
            written += rustix::io::write(&memfd, &block[written..]).unwrap();
        }
        let twin = memfd.try_clone().unwrap();
        let mut memfds = Memfds::new();
        find_memfds(std::process::id(), &mut memfds).unwrap();
        assert_eq!(memfds.values().sum::<u64>() * 512, SIZE as u64);
        assert!(held(&[std::process::id()]).unwrap() >= SIZE as u64);
        drop(twin);
    }
}
