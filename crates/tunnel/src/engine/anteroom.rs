//! Sockets that may become legs: registered in the engine's epoll instance before there is a
//! tunnel, under the name that it will have.
//!
//! So a leg is registered once in its life, and the switch registers nothing. Until then events only
//! wake whoever waits for them; what was not tried since goes to the tunnel. A worker's death ends
//! all of this: nothing of it is in the shared memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Engine;
use crate::poll::{Epoll, Event, Leg};
use crate::table::Token;
use crate::{Seat, Side};

/// Who waits, by the name of the leg that it may become. At most two for each record.
#[derive(Default)]
pub(super) struct Anteroom {
    guests: RefCell<HashMap<u64, Rc<Guest>>>,
}

struct Guest {
    leg: Leg,
    /// What has happened and was not tried since.
    mask: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

/// A socket's place in the anteroom. Dropping it ends the registration; the descriptor must live
/// until then.
pub struct Lodging {
    guest: Rc<Guest>,
    token: u64,
    anteroom: Rc<Anteroom>,
    epoll: Rc<Epoll>,
    stays: bool,
}

/// What a socket has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes, an end or an error are there.
    pub readable: bool,
    /// It takes bytes, or has an error.
    pub writable: bool,
    /// The peer has ended its direction, or the connection is over.
    pub ended: bool,
    /// The connection has failed.
    pub failed: bool,
}

impl Readiness {
    fn of(mask: u32) -> Readiness {
        let event = Event { token: 0, mask };
        Readiness {
            readable: event.readable(),
            writable: event.writable(),
            ended: event.ending(),
            failed: event.failed(),
        }
    }
}

impl Anteroom {
    /// An event of a leg that is none, or none yet.
    #[cold]
    pub(super) fn stir(&self, event: Event) {
        let guests = self.guests.borrow();
        let Some(guest) = guests.get(&event.token) else { return };
        guest.mask.set(guest.mask.get() | event.mask);
        if let Some(waker) = guest.waker.take() {
            waker.wake();
        }
    }

    /// Lets a socket go over to its tunnel, if it is registered: what was not tried yet.
    pub(super) fn leave(&self, token: Token, leg: Leg) -> Option<u32> {
        let guest = self.guests.borrow_mut().remove(&token.pack())?;
        (guest.leg == leg).then(|| guest.mask.get())
    }
}

impl Engine {
    /// Registers a socket that may become a leg of the tunnel that `seat` is for. One for each
    /// side and seat at a time.
    ///
    /// # Errors
    /// The kernel's.
    pub fn expect(&self, seat: &Seat, side: Side, fd: BorrowedFd<'_>) -> io::Result<Lodging> {
        let token = Token { id: seat.id(), side }.pack();
        let leg = Leg::from_number(fd.as_raw_fd());
        self.epoll.add(leg, token)?;
        // That it takes bytes is assumed; a try in vain tells.
        let guest =
            Guest { leg, mask: Cell::new(libc::EPOLLOUT as u32), waker: RefCell::new(None) };
        let guest = Rc::new(guest);
        self.anteroom.guests.borrow_mut().insert(token, Rc::clone(&guest));
        let (anteroom, epoll) = (Rc::clone(&self.anteroom), Rc::clone(&self.epoll));
        Ok(Lodging { guest, token, anteroom, epoll, stays: false })
    }
}

impl Lodging {
    /// What has happened and was not tried since.
    pub fn readiness(&self) -> Readiness {
        Readiness::of(self.guest.mask.get())
    }

    /// Waits for one of the two; one task at a time.
    pub fn poll(&self, context: &Context<'_>, reads: bool, writes: bool) -> Poll<Readiness> {
        let now = self.readiness();
        if reads && now.readable || writes && now.writable || now.failed {
            return Poll::Ready(now);
        }
        let mut waker = self.guest.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// There is nothing more to read: a later byte makes a new event. An end stays noted.
    pub fn set_drained(&self) {
        self.guest.mask.set(self.guest.mask.get() & !(libc::EPOLLIN as u32));
    }

    /// It takes no more: room makes a new event.
    pub fn set_full(&self) {
        self.guest.mask.set(self.guest.mask.get() & !(libc::EPOLLOUT as u32));
    }

    /// The socket is handed over: its registration stays for `Engine::adopt`.
    pub fn stay(mut self) {
        self.stays = true;
    }
}

impl fmt::Debug for Lodging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lodging").field("leg", &self.guest.leg).finish_non_exhaustive()
    }
}

impl Drop for Lodging {
    fn drop(&mut self) {
        if !self.stays {
            self.anteroom.guests.borrow_mut().remove(&self.token);
            self.epoll.remove(self.guest.leg);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;
    use crate::{Limits, Seats, Table};

    fn place() -> (Arc<Seats>, Engine) {
        let limits = Limits { records: 4, chunks: 16, note_bytes: 4096, threads: 1 };
        let table = Arc::new(Table::create(limits).unwrap());
        let seats = Seats::rebuild(Arc::clone(&table));
        (Arc::clone(&seats), Engine::new(table, seats, 0).unwrap())
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn who_waits_hears_what_comes_and_only_then() {
        let (seats, mut engine) = place();
        let seat = seats.reserve().unwrap();
        let (near, mut far) = pair();
        let lodging = engine.expect(&seat, Side::Client, near.as_fd()).unwrap();
        let context = Context::from_waker(Waker::noop());
        let _ = engine.ready(1).unwrap();
        assert_eq!(lodging.readiness(), Readiness { writable: true, ..Readiness::default() });
        assert!(lodging.poll(&context, true, false).is_pending());
        far.write_all(b"a").unwrap();
        let _ = engine.ready(1).unwrap();
        assert!(lodging.poll(&context, true, false).is_ready());
        lodging.set_drained();
        assert!(lodging.poll(&context, true, false).is_pending());
        drop(far);
        let _ = engine.ready(1).unwrap();
        lodging.set_drained();
        assert!(lodging.readiness().ended, "an end is not forgotten");
    }

    #[test]
    fn nobody_hears_of_a_socket_that_was_dropped_or_whose_seat_was_given_back() {
        let (seats, mut engine) = place();
        let (near, mut far) = pair();
        let seat = seats.reserve().unwrap();
        let old = engine.expect(&seat, Side::Client, near.as_fd()).unwrap();
        drop(seat);
        let seat = seats.reserve().unwrap();
        let (other, _far) = pair();
        let new = engine.expect(&seat, Side::Client, other.as_fd()).unwrap();
        far.write_all(b"a").unwrap();
        let _ = engine.ready(1).unwrap();
        assert!(old.readiness().readable && !new.readiness().readable, "names are not used again");
        drop((old, new));
        assert!(engine.anteroom.guests.borrow().is_empty());
        far.write_all(b"a").unwrap();
        assert_eq!(engine.ready(1).unwrap(), crate::Batch::Short);
    }
}
