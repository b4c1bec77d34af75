//! What one engine works with where TLS is: the keys, and two buffers in private memory.
//!
//! Nothing in it is the truth about anything: what was read is still in the kernel, and what was
//! made can be made again. So it may vanish with the worker. The lanes use it.

use crate::Side;
use crate::table::TunnelId;
use crate::tls::{Keyring, WearLimits};

/// The desk of one engine. Without a tunnel that has TLS it owns no memory.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) keys: Keyring,
    /// What was looked at in a source's socket, then its content.
    pub(crate) input: Vec<u8>,
    /// What was made for a sink's socket.
    pub(crate) output: Vec<u8>,
    /// Whose proposal lies in `output`: by tunnel, source, and where it begins.
    pub(crate) made: Option<(TunnelId, Side, u64)>,
    pub(crate) wear: WearLimits,
}

impl Desk {
    /// Makes room for what is looked at.
    #[inline]
    pub(crate) fn open(&mut self) {
        if self.input.is_empty() {
            self.input = vec![0; INPUT_BYTES];
        }
    }
}

/// What is looked at of a source at a time; more than three records.
pub(crate) const INPUT_BYTES: usize = 64 * 1024;
