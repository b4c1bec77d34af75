//! The system calls of the hot path: epoll and the two verbs of a socket. Decides nothing; the
//! engine calls it.

mod epoll;
mod socket;

pub(crate) use epoll::{Epoll, Event};
pub(crate) use socket::{Got, Leg};
