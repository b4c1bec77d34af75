//! The `events` block: how many connections there may be.

use perdura_conf::{Number, directives};

directives! {
    /// How many connections each thread may hold; a tunnel holds two.
    worker_connections: Number = "512", in EVENTS;
}
