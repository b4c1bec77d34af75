//! The times that a tunnel keeps of the configuration under which it began.
//!
//! Copied at the switch, so that a tunnel never holds a configuration. The timers read them.

/// Timeouts in milliseconds; 0 means that the timer is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// No byte in either direction for so long ends the tunnel (nginx's `proxy_read_timeout`).
    pub idle_timeout_ms: u32,
    /// So long may the client refuse bytes that wait for it (`send_timeout`).
    pub client_send_timeout_ms: u32,
    /// So long may the upstream refuse bytes that wait for it (`proxy_send_timeout`).
    pub upstream_send_timeout_ms: u32,
    /// So long may the remaining direction be silent once the other has ended.
    pub fin_timeout_ms: u32,
}

impl Terms {
    pub(crate) const fn words(self) -> [u32; 4] {
        [
            self.idle_timeout_ms,
            self.client_send_timeout_ms,
            self.upstream_send_timeout_ms,
            self.fin_timeout_ms,
        ]
    }

    pub(crate) const fn from_words(words: [u32; 4]) -> Terms {
        let [idle_timeout_ms, client_send_timeout_ms, upstream_send_timeout_ms, fin_timeout_ms] =
            words;
        Terms { idle_timeout_ms, client_send_timeout_ms, upstream_send_timeout_ms, fin_timeout_ms }
    }
}
