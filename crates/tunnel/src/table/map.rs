//! The memory that survives: one sealed memfd, mapped MAP_SHARED, and the only `unsafe` of the
//! table.
//!
//! It knows offsets, not records. Everything structured in it consists of atomics, everything else
//! is reached through `Span`, which never becomes a Rust reference: another process may write at
//! any time.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::record::Record;
use super::station::Station;
use super::vault::Vault;
use super::{Head, TableFault};

/// A mapped memfd of fixed size.
pub(crate) struct Map {
    fd: OwnedFd,
    base: NonNull<u8>,
    len: usize,
}

/// Types that may be looked at in place.
///
/// # Safety
/// `repr(C)`, every field an atomic integer, no padding that matters, valid for every bit pattern.
pub(crate) unsafe trait Shared {}

// SAFETY: all four are repr(C) and made of atomic integers only.
unsafe impl Shared for Head {}
// SAFETY: as above.
unsafe impl Shared for Record {}
// SAFETY: as above.
unsafe impl Shared for Station {}
// SAFETY: as above.
unsafe impl Shared for Vault {}

// SAFETY: the mapping lives as long as the value, and is only reached through atomics and raw
// copies.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// A new, sparse memfd of `len` bytes that can neither grow nor shrink.
    pub(crate) fn create(len: usize) -> io::Result<Map> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(c"perdura-tunnels", flags)?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SEALS)?;
        Map::of(fd, len)
    }

    /// Maps a memfd that came from elsewhere; refuses one whose size could still change (it would
    /// be SIGBUS later).
    pub(crate) fn open(fd: OwnedFd) -> Result<Map, TableFault> {
        let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|_| TableFault::NotMemfd)?;
        if !seals.contains(SEALS) {
            return Err(TableFault::NotSealed);
        }
        let stat = rustix::fs::fstat(&fd).map_err(|_| TableFault::NotMemfd)?;
        let len = usize::try_from(stat.st_size).map_err(|_| TableFault::WrongSize)?;
        if len < size_of::<Head>() {
            return Err(TableFault::WrongSize);
        }
        Map::of(fd, len).map_err(|error| TableFault::Unmappable(error.raw_os_error().unwrap_or(0)))
    }

    fn of(fd: OwnedFd, len: usize) -> io::Result<Map> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice; nothing else refers to it.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, flags, &fd, 0) }?;
        let base: NonNull<u8> = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        // Keys and people's bytes are in no core dump.
        // SAFETY: the mapping that was just made; the advice changes nothing that is read from it.
        unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) }?;
        Ok(Map { fd, base, len })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The `T` at `offset`, which the caller took from a layout that was checked against `len`.
    pub(crate) fn at<T: Shared>(&self, offset: usize) -> &T {
        assert!(offset.is_multiple_of(align_of::<T>()) && offset + size_of::<T>() <= self.len);
        // SAFETY: inside the mapping and aligned (asserted), `Shared` is valid for every bit
        // pattern and atomic.
        unsafe { self.base.add(offset).cast().as_ref() }
    }

    /// `len` bytes at `offset`.
    pub(crate) fn span(&self, offset: usize, len: usize) -> Span<'_> {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: inside the mapping (asserted).
        Span { ptr: unsafe { self.base.add(offset) }, len, map: PhantomData }
    }

    /// Gives the pages of a range back to the system; they read as zeros afterwards.
    pub(crate) fn punch(&self, offset: usize, len: usize) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.fd, flags, offset as u64, len as u64)?)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are of the mapping made in `of`; every Span and reference
        // borrows `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Bytes inside a mapping, for system calls and copies; never a reference.
#[derive(Clone, Copy)]
pub(crate) struct Span<'m> {
    ptr: NonNull<u8>,
    len: usize,
    map: PhantomData<&'m Map>,
}

impl<'m> Span<'m> {
    pub(crate) fn ptr(self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The bytes from `start` to `end`; clamped to what is there.
    pub(crate) fn part(self, start: usize, end: usize) -> Span<'m> {
        let end = end.min(self.len);
        let start = start.min(end);
        // SAFETY: `start` is not beyond this span, which is inside the mapping.
        Span { ptr: unsafe { self.ptr.add(start) }, len: end - start, map: PhantomData }
    }

    /// Copies as much of `bytes` as fits to the start.
    pub(crate) fn fill(self, bytes: &[u8]) {
        let len = bytes.len().min(self.len);
        // SAFETY: `len` bytes are readable in `bytes` and writable here; a private slice cannot
        // overlap the mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.ptr.as_ptr(), len) }
    }

    /// The byte at `at`, if there is one.
    #[inline]
    pub(crate) fn byte(self, at: usize) -> Option<u8> {
        // SAFETY: inside the mapping (checked); another process may write it at any time, which a
        // volatile read of one byte allows.
        (at < self.len).then(|| unsafe { self.ptr.add(at).read_volatile() })
    }

    /// The four bytes from `at` on, if there are as many.
    #[inline]
    pub(crate) fn four(self, at: usize) -> Option<[u8; 4]> {
        let inside = at < self.len && self.len - at >= 4;
        // SAFETY: inside the mapping (checked), unaligned, and every bit pattern is valid; whether
        // another process writes meanwhile does not matter, the bytes are copied once.
        inside.then(|| unsafe { self.ptr.add(at).cast::<[u8; 4]>().read_volatile() })
    }

    /// Copies as much of `other` as fits to the start.
    pub(crate) fn fill_from(self, other: Span<'_>) {
        // SAFETY: both ends are inside mappings; `copy` allows overlap.
        unsafe { std::ptr::copy(other.ptr(), self.ptr(), other.len.min(self.len)) }
    }

    /// Whether both hold the same bytes. What is written meanwhile is seen or not.
    pub(crate) fn equals(self, other: Span<'_>) -> bool {
        self.len == other.len && (0..self.len).all(|at| self.byte(at) == other.byte(at))
    }

    /// A private copy.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut copy = vec![0; self.len];
        // SAFETY: `len` bytes are readable here and writable in the fresh vector.
        unsafe { std::ptr::copy_nonoverlapping(self.ptr(), copy.as_mut_ptr(), self.len) }
        copy
    }
}

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_copy_and_clamp() {
        let map = Map::create(8192).unwrap();
        map.span(0, 8).fill(b"abcdefghij");
        map.span(4096, 8).fill_from(map.span(0, 8).part(2, 100));
        assert_eq!(map.span(4096, 8).to_vec(), b"cdefgh\0\0");
        map.punch(0, 4096).unwrap();
        assert_eq!(map.span(0, 4).to_vec(), [0; 4]);
    }

    #[test]
    fn the_mapping_is_in_no_core_dump() {
        let map = Map::create(8192).unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", map.base.as_ptr() as usize);
        let own = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let flags = own.skip(1).find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.split_whitespace().any(|flag| flag == "dd"), "{flags}");
    }

    #[test]
    fn a_file_that_can_change_its_size_is_refused() {
        let fd = rustix::fs::memfd_create(c"x", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, 65536).unwrap();
        assert_eq!(Map::open(fd).err(), Some(TableFault::NotSealed));
        let (read, _write) = rustix::pipe::pipe().unwrap();
        assert_eq!(Map::open(read).err(), Some(TableFault::NotMemfd));
    }
}
