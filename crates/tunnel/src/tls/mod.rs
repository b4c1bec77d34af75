//! TLS after the switch: the secrets of a finished handshake, and records sealed and opened with
//! them.
//!
//! It makes no handshake and knows no sockets. Whoever terminated TLS fills a [`Secrets`] at the
//! switch; the engine goes on from there, and so does its successor after a crash.

mod keyring;
mod opening;
#[cfg(test)]
mod oracle;
mod record;
mod schedule;
mod sealing;
mod secrets;
mod suite;

pub(crate) use keyring::{Keyring, Owner};
pub(crate) use opening::{Misdeed, Stop, open};
#[cfg(test)]
pub(crate) use record::Content;
pub(crate) use record::{Alert, CONTENT_MAX};
pub(crate) use sealing::{Message, PLAIN_MAX, Wear, WearLimits, blocks_of, seal, wear};
#[cfg(test)]
pub(crate) use secrets::sample_pair;
pub use secrets::{Secrets, SecretsFault, Traffic};
pub use suite::{Suite, Version};
