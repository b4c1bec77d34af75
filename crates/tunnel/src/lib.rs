//! Bytes after the switch: the tunnel table in shared memory, the relay and the engine that drives
//! it.
//!
//! This crate knows two sockets and what flows between them. It knows no HTTP, no configuration and
//! no async runtime: the proxy makes a [`Handoff`] and nests [`Engine::fd`] in whatever it waits
//! on; the master makes the [`Table`], and after a worker's death the next worker calls
//! [`Engine::recover`].
//!
//! In reading order:
//! * `side`, `close`, `terms`: the words.
//! * `table`: the memory that survives. `seats`: who uses what of it, in private memory, rebuilt
//!   from the records.
//! * `relay`: the pure state machine of one tunnel. `poll`, `kernel`: the system calls. `wheel`:
//!   the timers.
//! * `tls`: secrets of a handshake, records.
//! * `engine`: six verbs (adopt, ready, expire, close, drain, recover) over all of that.
#![cfg_attr(not(test), deny(clippy::unwrap_used))]

mod close;
mod engine;
mod kernel;
mod poll;
mod relay;
mod seats;
mod side;
mod table;
mod terms;
pub mod tls;
mod wheel;

pub use close::Close;
pub use engine::{
    AdoptFault, Adopted, Batch, Death, Drain, Dropped, Engine, Framing, Handoff, Keeping, Lodging,
    NOTE_MAX, Prepared, Readiness, Recovered, Refused, Report, Stand, TakenOver, TransferFault,
};
pub use seats::{Seat, Seats};
pub use side::Side;
pub use table::{
    CHUNK_BYTES, CHUNKS_MAX, Limits, LiveTunnel, NOTE_GRANULE, RECORDS_MAX, RecordFault, Snapshot,
    THREADS_MAX, Table, TableFault, TunnelId,
};
pub use terms::Terms;
