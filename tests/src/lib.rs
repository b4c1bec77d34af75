//! The harness: actors for scenarios, and the differential runner against nginx.
//!
//! It speaks raw bytes over sockets and starts real programs; it knows nothing of the
//! product's insides. Scenarios live in `tests/tests`, differential cases in
//! `tests/parity`, golden configurations in `tests/conf`.

mod carriers;
mod case;
mod census;
mod certificates;
mod client;
mod folder;
mod golden;
mod message;
pub mod nameserver;
mod outcome;
mod parity;
mod payload;
mod peer;
mod port;
mod program;
mod proxy;
mod relay;
mod script;
mod secure;
mod successors;
mod suite;
mod tunnel;
mod upstream;
mod wait;
mod wire;

pub use carriers::Carriers;
pub use case::{Case, Client as CaseClient, Section};
pub use census::{Census, pss_kib};
pub use certificates::certificate;
pub use client::Client;
pub use folder::Folder;
pub use golden::{Golden, golden_files};
pub use message::{Message, ReadAs};
pub use nameserver::{NameServer, Question, Reply};
pub use outcome::{Names, Outcome};
pub use parity::{Report, adopt, check, compare, family, play, record};
pub use payload::{Payload, seed};
pub use peer::Peer;
pub use port::{dead_address, free_port};
pub use program::{Program, root};
pub use proxy::{Proxy, Setup};
pub use relay::{Fault, Relay};
pub use script::{Answer, Blocks, Step, unescape};
pub use secure::{Greeting, Visitor, welcome};
pub use successors::{Successors, order, said};
pub use suite::{Suite, Verdict};
pub use tunnel::{ACCEPT, HANDSHAKE, KEY, Tunnel, chat, connect_head, connected, page_conf};
pub use upstream::{Received, Upstream};
pub use wait::until;
pub use wire::{End, Wire};
