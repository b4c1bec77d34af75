//! What the kernel knows about a leg: how far it was read and written, and whether something is
//! unsent.
//!
//! Asked at the switch, at adoption and at the end, never per message. The engine calls it.

use std::io;

use crate::poll::Leg;

/// Both counters of a socket, without FINs and without the SYN rule: bases are to be subtracted by
/// the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Bytes taken out of the socket.
    pub(crate) read: u64,
    /// Bytes handed to the socket.
    pub(crate) written: u64,
    /// False after the connection is over, when a FIN and a reset cannot always be told apart.
    pub(crate) certain: bool,
}

/// What the record knows and the kernel may have forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    /// The peer's FIN was seen.
    pub(crate) finned: bool,
    /// A call has failed and took the socket's error away.
    pub(crate) failed: bool,
}

/// The counters of a leg, or `None` if it is no TCP socket: then the record's own positions count.
///
/// # Errors
/// The kernel's, or `WouldBlock` if the counters did not come to rest.
pub(crate) fn counts(leg: Leg, hint: Hint) -> io::Result<Option<Counts>> {
    for _ in 0..SETTLE_MAX {
        let unacked = ask_of_any(leg, libc::TIOCOUTQ)?;
        let look = match info(leg) {
            Err(error) if is_not_tcp(&error) => return Ok(None),
            result => result?,
        };
        let unread = ask(leg, libc::FIONREAD)?;
        // Nobody reads or writes here meanwhile, so what is unacknowledged can only become less and
        // what is unread only more. Nothing unacknowledged before the look and nothing unread
        // behind it means nothing of either at the look.
        let is_quiet = unacked == Some(0) && unread == 0;
        // Else the peer may have sent or acknowledged in between: the answers must hold around a
        // look that is the same again.
        if is_quiet {
            return Ok(Some(look.counts(0, 0, || has_error(leg), hint)));
        }
        let unacked = ask(leg, libc::TIOCOUTQ)?;
        if info(leg)? == look {
            return Ok(Some(look.counts(unread, unacked, || has_error(leg), hint)));
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Whether bytes handed to the leg have not been acknowledged; false if the kernel does not know.
pub(crate) fn has_unsent(leg: Leg) -> bool {
    ask(leg, libc::TIOCOUTQ).is_ok_and(|bytes| bytes > 0)
}

/// The part of TCP_INFO that is used.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Info {
    state: u8,
    acked: u64,
    received: u64,
}

impl Info {
    /// The peer's FIN adds 1 to what was received and is not counted as unread; ours adds 1 to what
    /// was written.
    fn counts(self, unread: u64, unacked: u64, has_error: impl Fn() -> bool, hint: Hint) -> Counts {
        let fin_received = match self.state {
            TIME_WAIT | CLOSE_WAIT | LAST_ACK | CLOSING => true,
            // After both FINs, or after a reset: only the latter leaves an error.
            CLOSE => hint.finned || (!hint.failed && !has_error()),
            _ => false,
        };
        let fin_sent = matches!(self.state, FIN_WAIT1 | FIN_WAIT2 | TIME_WAIT | LAST_ACK | CLOSING);
        Counts {
            read: self.received.saturating_sub(unread + u64::from(fin_received)),
            written: (self.acked + unacked).saturating_sub(u64::from(fin_sent)),
            certain: self.state != CLOSE,
        }
    }
}

fn info(leg: Leg) -> io::Result<Info> {
    // struct tcp_info of linux/tcp.h: tcpi_state is its first byte, tcpi_bytes_acked and
    // tcpi_bytes_received are the 16th and 17th of its 64-bit words (Linux 4.1).
    let mut words = [0_u64; INFO_WORDS];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: `words` is writable for `len` bytes, and any bytes are valid in it.
    let done = unsafe {
        libc::getsockopt(
            leg.number(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            words.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    if (len as usize) < size_of_val(&words) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Info { state: words[0].to_ne_bytes()[0], acked: words[15], received: words[16] })
}

fn ask(leg: Leg, question: libc::Ioctl) -> io::Result<u64> {
    let mut answer: libc::c_int = 0;
    // SAFETY: both questions write one int.
    let done = unsafe { libc::ioctl(leg.number(), question, &mut answer) };
    if done != 0 { Err(io::Error::last_os_error()) } else { Ok(answer.max(0) as u64) }
}

/// The same of a leg that may be no TCP socket and then may not know the question.
fn ask_of_any(leg: Leg, question: libc::Ioctl) -> io::Result<Option<u64>> {
    match ask(leg, question) {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Err(error),
        Err(_) => Ok(None),
    }
}

fn has_error(leg: Leg) -> bool {
    let mut poll = libc::pollfd { fd: leg.number(), events: 0, revents: 0 };
    // SAFETY: one valid entry.
    let ready = unsafe { libc::poll(&mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLERR != 0
}

fn is_not_tcp(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOPROTOOPT))
}

/// Nobody reads or writes here meanwhile, so that windows and buffers bring the peer to rest long
/// before.
const SETTLE_MAX: u32 = 4096;
const INFO_WORDS: usize = 17;

// The states of net/tcp_states.h.
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn of(stream: &TcpStream) -> Counts {
        let leg = Leg::from_number(stream.as_raw_fd());
        counts(leg, Hint::default()).unwrap().unwrap()
    }

    #[test]
    fn positions_are_what_was_read_and_written() {
        let (mut near, mut far) = pair();
        let (near_base, far_base) = (of(&near), of(&far));
        near.write_all(&[7; 1000]).unwrap();
        far.read_exact(&mut [0; 400]).unwrap();
        assert_eq!(of(&near).written - near_base.written, 1000);
        assert_eq!(of(&far).read - far_base.read, 400);
        near.shutdown(Shutdown::Write).unwrap();
        // The FIN is there once poll says so; it counts neither as read nor as written.
        let mut poll = libc::pollfd { fd: far.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one valid entry.
        assert_eq!(unsafe { libc::poll(&mut poll, 1, 5000) }, 1);
        assert_eq!(of(&near).written - near_base.written, 1000);
        assert_eq!(of(&far).read - far_base.read, 400);
        far.read_exact(&mut [0; 600]).unwrap();
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(of(&far).read - far_base.read, 1000);
        far.write_all(&[1; 10]).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        near.read_exact(&mut [0; 10]).unwrap();
        assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(of(&near).read - near_base.read, 10);
        assert!(!of(&far).certain, "both have ended: our FIN cannot be told apart any more");
    }

    #[test]
    fn positions_hold_while_the_other_side_does_not_read() {
        let (mut near, far) = pair();
        let (near_base, far_base) = (of(&near), of(&far));
        near.set_nonblocking(true).unwrap();
        let mut written = 0;
        // Until neither its buffer nor the peer's takes more: much stays unread and unacknowledged.
        while let Ok(count) = near.write(&[7; 65536]) {
            written += count as u64;
        }
        assert_eq!(of(&near).written - near_base.written, written);
        assert_eq!(of(&far).read - far_base.read, 0);
    }

    #[test]
    fn after_a_reset_what_arrived_counts() {
        let (mut near, mut far) = pair();
        let far_base = of(&far);
        near.write_all(&[7; 1000]).unwrap();
        far.read_exact(&mut [0; 300]).unwrap();
        Leg::from_number(near.as_raw_fd()).reset_on_close().unwrap();
        drop(near);
        let mut poll = libc::pollfd { fd: far.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one valid entry.
        assert_eq!(unsafe { libc::poll(&mut poll, 1, 5000) }, 1);
        assert_eq!(of(&far).read - far_base.read, 300);
        far.read_exact(&mut [0; 700]).unwrap();
        assert_eq!(of(&far).read - far_base.read, 1000);
    }

    #[test]
    fn a_unix_socket_has_no_counters() {
        let (one, _two) = std::os::unix::net::UnixStream::pair().unwrap();
        let leg = Leg::from_number(one.as_raw_fd());
        assert_eq!(counts(leg, Hint::default()).unwrap(), None);
        assert_eq!(
            counts(Leg::from_number(-1), Hint::default()).unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
    }
}
