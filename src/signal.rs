//! The signals that the master obeys: noted by handlers, taken by the loop.
//!
//! All of them stay blocked but while [`Signals::wait`] waits, so none is missed between a look and
//! the wait. No signalfd: such a descriptor cannot be told from another one, and a worker that
//! shares the table could have replaced it. Not here: what a signal makes the master do.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::PollFlags;

/// A signal, by what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Stop,
    Quit,
    Reload,
    Reopen,
    Upgrade,
    Drain,
    ChildEnded,
}

/// One signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub asked: Asked,
    pub number: i32,
    pub name: &'static str,
    /// The last sender; 0 when it was the kernel.
    pub sender: i32,
}

struct Known {
    number: i32,
    name: &'static str,
    asked: Asked,
}

/// In the order in which several that came together are obeyed: a child's end first, because the
/// others depend on who is alive.
const KNOWN: [Known; 8] = [
    Known { number: libc::SIGCHLD, name: "SIGCHLD", asked: Asked::ChildEnded },
    Known { number: libc::SIGTERM, name: "SIGTERM", asked: Asked::Stop },
    Known { number: libc::SIGINT, name: "SIGINT", asked: Asked::Stop },
    Known { number: libc::SIGQUIT, name: "SIGQUIT", asked: Asked::Quit },
    Known { number: libc::SIGHUP, name: "SIGHUP", asked: Asked::Reload },
    Known { number: libc::SIGUSR1, name: "SIGUSR1", asked: Asked::Reopen },
    Known { number: libc::SIGUSR2, name: "SIGUSR2", asked: Asked::Upgrade },
    Known { number: libc::SIGWINCH, name: "SIGWINCH", asked: Asked::Drain },
];

/// What a terminal or a careless `killall` may send to a worker, which takes orders from its master
/// only. TERM and KILL are not here: they end it, and the next one adopts its tunnels.
const NOT_FOR_WORKERS: [i32; 6] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// One bit per signal number.
static PENDING: AtomicU64 = AtomicU64::new(0);
static SENDERS: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];

/// Proof that the handlers are installed.
pub struct Signals(());

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    Signal,
    Readable,
    Timeout,
}

impl Signals {
    /// Installs the handlers and blocks the signals of the calling thread, from which all later
    /// threads and children inherit that.
    pub fn install() -> io::Result<Signals> {
        hold()?;
        for known in &KNOWN {
            // SAFETY: the structure is all zeroes but for what is set, which is valid for
            // sigaction(2): an empty mask, a handler of the type that SA_SIGINFO asks for.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = note as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                check(libc::sigaction(known.number, &raw const action, std::ptr::null_mut()))?;
            }
        }
        ignore(libc::SIGPIPE)?;
        Ok(Signals(()))
    }

    /// Waits for a signal, for something to happen on a socket, or for the time to pass.
    pub fn wait(
        &self,
        sockets: &[(BorrowedFd<'_>, PollFlags)],
        timeout: Option<Duration>,
    ) -> io::Result<Woken> {
        if PENDING.load(Ordering::Acquire) != 0 {
            return Ok(Woken::Signal);
        }
        let waited = sockets.iter().map(|(socket, events)| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: events.bits().cast_signed(),
            revents: 0,
        });
        let mut waited: Vec<libc::pollfd> = waited.collect();
        let (first, count) = (waited.as_mut_ptr(), waited.len() as libc::nfds_t);
        let time = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let open = empty_set();
        // SAFETY: `first` points to `count` structures and `time` to a time or nowhere; all of it
        // and the mask live until the call returns.
        match check(unsafe { libc::ppoll(first, count, time, &raw const open) }) {
            Ok(0) => Ok(Woken::Timeout),
            Ok(_) => Ok(Woken::Readable),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Woken::Signal),
            Err(error) => Err(error),
        }
    }

    /// The next signal that came and was not yet taken.
    pub fn take(&self) -> Option<Arrived> {
        let pending = PENDING.load(Ordering::Acquire);
        let known = KNOWN.iter().find(|known| pending & bit(known.number) != 0)?;
        PENDING.fetch_and(!bit(known.number), Ordering::AcqRel);
        let sender = SENDERS[known.number as usize % SENDERS.len()].load(Ordering::Relaxed);
        Some(Arrived { asked: known.asked, number: known.number, name: known.name, sender })
    }
}

/// Keeps the signals waiting until [`Signals`] hears them: whatever is begun now can be ended in
/// order.
pub fn hold() -> io::Result<()> {
    mask(libc::SIG_BLOCK, &known_set())
}

/// In a worker's first moments: it hears its master only, through the control socket.
pub fn reset_in_worker() -> io::Result<()> {
    reset_in_child()?;
    // The standard library's handler lets the first of these pass when it was sent and not caused:
    // a worker should die of it and be succeeded.
    [libc::SIGSEGV, libc::SIGBUS]
        .into_iter()
        .try_for_each(|fatal| disposition(fatal, libc::SIG_DFL))?;
    NOT_FOR_WORKERS.into_iter().try_for_each(ignore)
}

/// In any child's first moments: signals do what they do to any program.
pub fn reset_in_child() -> io::Result<()> {
    for known in &KNOWN {
        disposition(known.number, libc::SIG_DFL)?;
    }
    PENDING.store(0, Ordering::Release);
    mask(libc::SIG_SETMASK, &empty_set())
}

/// A signal's effect from now on is none.
pub fn ignore(number: i32) -> io::Result<()> {
    disposition(number, libc::SIG_IGN)
}

/// Runs in the interrupted thread at any moment, so it touches atomics only.
extern "C" fn note(number: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid structure; `si_pid` reads its first union
    // member, which holds 0 or another number for signals that no process sent.
    let sender = unsafe { info.as_ref().map_or(0, |info| info.si_pid()) };
    SENDERS[number as usize % SENDERS.len()].store(sender, Ordering::Relaxed);
    PENDING.fetch_or(bit(number), Ordering::AcqRel);
}

const fn bit(number: i32) -> u64 {
    1 << (number as u32 % 64)
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: a set of plain integers may be all zeroes, and sigemptyset makes it valid anyway.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        set
    }
}

fn known_set() -> libc::sigset_t {
    let mut set = empty_set();
    for known in &KNOWN {
        // SAFETY: the set was initialised, and the number is a signal's.
        unsafe { libc::sigaddset(&raw mut set, known.number) };
    }
    set
}

fn mask(how: i32, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is valid; the old one is not asked for.
    check(unsafe { libc::sigprocmask(how, set, std::ptr::null_mut()) }).map(drop)
}

fn disposition(number: i32, to: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: `to` is SIG_DFL or SIG_IGN, which need no handler.
    let before = unsafe { libc::signal(number, to) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn raise(number: i32) {
        // SAFETY: raising a signal for which a handler is installed.
        unsafe { libc::raise(number) };
    }

    /// One test, because signals belong to the process.
    #[test]
    fn signals_are_noted_and_taken_once_in_order() {
        let signals = Signals::install().unwrap();
        raise(libc::SIGHUP);
        assert!(PENDING.load(Ordering::Acquire) & bit(libc::SIGHUP) == 0, "not before a wait");
        raise(libc::SIGTERM);
        raise(libc::SIGTERM);
        assert_eq!(signals.wait(&[], None).unwrap(), Woken::Signal);
        let mut taken: Vec<_> = std::iter::from_fn(|| {
            let _ = signals.wait(&[], Some(Duration::ZERO));
            signals.take()
        })
        .collect();
        taken.retain(|arrived| arrived.asked != Asked::ChildEnded);
        let asked: Vec<_> = taken.iter().map(|arrived| arrived.asked).collect();
        assert!(asked.contains(&Asked::Stop) && asked.contains(&Asked::Reload), "{asked:?}");
        assert_eq!(asked.len(), 2, "two of one kind are one: {asked:?}");
        assert_eq!(taken[0].sender, std::process::id().cast_signed());

        let (ours, theirs) = perdura_proxy::control::pair().unwrap();
        perdura_proxy::control::send(theirs.as_fd(), b"x").unwrap();
        // Other tests have children, whose ends may come here as well.
        while signals.wait(&[(ours.as_fd(), PollFlags::IN)], None).unwrap() == Woken::Signal {
            assert_eq!(signals.take().map(|arrived| arrived.asked), Some(Asked::ChildEnded));
        }
    }
}
