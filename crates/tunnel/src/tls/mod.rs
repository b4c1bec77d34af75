//! TLS after the switch: the secrets of a finished handshake, and records sealed and opened with
//! them.
//!
//! It makes no handshake and knows no sockets. Whoever terminated TLS fills a [`Secrets`] at the
//! switch; the engine goes on from there, and so does its successor after a crash.
#![allow(dead_code, reason = "until the engine carries TLS, nothing reads the secrets")]

mod schedule;
mod secrets;
mod suite;

pub use secrets::{Secrets, SecretsFault, Traffic};
pub use suite::{Suite, Version};
