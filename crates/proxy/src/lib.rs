//! All of HTTP: from a configuration and bound sockets to requests answered and tunnels made.
//!
//! In reading order, which is the order in which data flows:
//!
//! 1. [`world`] is what a configuration reads from outside; [`config`] compiles it, with the
//!    directives of [`modules`]; [`variables`] gives names their values.
//! 2. [`worker`] runs the threads, accepts connections and obeys the master ([`control`]).
//! 3. `front` reads requests ([`h1`]), `phase` finds what answers them: `script` (`rewrite` and its like),
//!    `content` (files and `return`) or `upstream`.
//! 4. `upgrade` turns two connections into a tunnel; `ledger` closes its account.
//!
//! The crate knows no command line, no signals and no daemons. `unsafe` stands in `inherited` and
//! `clock` only.
#![deny(unsafe_code)]

mod access;
mod access_log;
mod channel;
mod cidr;
#[allow(unsafe_code, reason = "local time needs the C library")]
mod clock;
pub mod config;
mod content;
pub mod control;
mod counters;
mod crc32;
mod digest;
mod error_log;
mod file_path;
mod front;
mod grammar;
mod guard;
pub mod h1;
#[allow(unsafe_code, reason = "descriptors of the master are known by number only")]
mod inherited;
mod known_keys;
mod ledger;
mod limits;
mod log_buffer;
mod log_file;
mod mime_types;
mod modules;
#[allow(unsafe_code, reason = "passwords are hashed by the C library")]
mod password;
mod phase;
mod proxy_header;
mod real_address;
mod referer;
mod regex;
mod request;
pub mod resolver;
mod response;
mod script;
mod secure_link;
#[allow(unsafe_code, reason = "the runtime watches a descriptor that this module owns")]
mod socket;
#[allow(unsafe_code, reason = "the kernel has options that no wrapper knows")]
mod socket_option;
mod syslog;
mod syslog_target;
mod temp_file;
pub mod tls;
mod upgrade;
mod upstream;
pub mod uri;
mod variables;
pub mod websocket;
mod worker;
#[allow(unsafe_code, reason = "users and groups are looked up in the C library")]
pub mod world;

pub use config::{
    Address, BindFault, Built, Config, ErrorTarget, Listen, Options, Process, build, entries,
    explain, explained_names, manual_pages,
};
pub use ledger::Ledger;
pub use log_file::LogFile;
pub use modules::error_log::Severity;
pub use upstream::{Authority, Host as AuthorityHost};
pub use worker::{Inheritance, run_worker};
pub use world::{Disk, Snapshot, SnapshotFault, World};

/// Milliseconds of the monotonic clock: the same in every process, so that a timer survives one.
pub fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// `2: No such file or directory`, as nginx shows an error of the system.
fn errno_text(error: &std::io::Error) -> String {
    format!("{}: {}", error.raw_os_error().unwrap_or(0), error_text(error))
}

/// The words for an error of the system, without its number.
fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// The name of this machine.
fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
