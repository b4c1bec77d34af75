//! Why a tunnel ended: one table from reason to the word in the log and the number in the record.
//!
//! A reason is not an error. The relay, the timers and the proxy choose one; the proxy writes its
//! word.

use crate::Side;

macro_rules! closes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal;)*) => {
        /// The reason for the end of a tunnel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Close { $($(#[$doc])* $name = $code,)* }

        impl Close {
            /// Every reason, in the order of its code.
            pub const ALL: &'static [Close] = &[$(Close::$name),*];

            /// The word for the log, the metric and `$tunnel_close_reason`.
            pub const fn word(self) -> &'static str {
                match self { $(Close::$name => $word,)* }
            }

            /// The code in the shared record; never 0, and never given to another reason later.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The reason with this code; `None` for a code of no reason.
            pub const fn from_code(code: u8) -> Option<Close> {
                match code { $($code => Some(Close::$name),)* _ => None }
            }
        }
    };
}

closes! {
    /// Both directions ended in order; the client ended its own first.
    ClientClosed = 1, "client-closed";
    /// Both directions ended in order; the upstream ended its own first.
    UpstreamClosed = 2, "upstream-closed";
    /// The client's connection was reset.
    ClientReset = 3, "client-reset";
    /// The upstream's connection was reset.
    UpstreamReset = 4, "upstream-reset";
    /// The client's connection failed otherwise: unreachable, or silent for too long for the
    /// kernel.
    ClientLost = 5, "client-lost";
    /// The upstream's connection failed otherwise.
    UpstreamLost = 6, "upstream-lost";
    /// No byte in either direction for the idle timeout.
    IdleTimeout = 7, "idle-timeout";
    /// The client took no byte for its send timeout while some waited.
    ClientSendTimeout = 8, "client-send-timeout";
    /// The upstream took no byte for its send timeout while some waited.
    UpstreamSendTimeout = 9, "upstream-send-timeout";
    /// One direction had ended and the other was silent for the fin timeout.
    FinTimeout = 10, "fin-timeout";
    /// Ended politely inside a drain window.
    Drained = 11, "drained";
    /// Ended by name by the operator.
    Operator = 12, "operator";
    /// The program ends.
    Shutdown = 13, "shutdown";
    /// The record failed its check at adoption.
    Damaged = 14, "damaged";
    /// A descriptor was not the socket that the record names, at adoption.
    LegMissing = 15, "leg-missing";
    /// The tunnel lived for as long as the configuration allows.
    Lifetime = 16, "lifetime";
    /// A peer broke the rules of the tunnelled protocol.
    Protocol = 17, "protocol";
    /// The client ended its connection without TLS's close_notify: somebody may have cut it off.
    ClientTruncated = 18, "client-truncated";
    /// The same of the upstream.
    UpstreamTruncated = 19, "upstream-truncated";
    /// The client broke the rules of TLS, or reported that we did.
    ClientTls = 20, "client-tls-error";
    /// The same of the upstream.
    UpstreamTls = 21, "upstream-tls-error";
    /// A key of TLS 1.2 has protected as much as it may, and cannot be changed.
    KeyLimit = 22, "key-limit";
    /// The keys of TLS were private to a worker that died.
    KeysLost = 23, "keys-lost";
}

impl Close {
    /// The orderly end that `side` began.
    pub const fn closed(side: Side) -> Close {
        match side {
            Side::Client => Close::ClientClosed,
            Side::Upstream => Close::UpstreamClosed,
        }
    }

    /// The reset of `side`'s connection.
    pub const fn reset(side: Side) -> Close {
        match side {
            Side::Client => Close::ClientReset,
            Side::Upstream => Close::UpstreamReset,
        }
    }

    /// Another failure of `side`'s connection.
    pub const fn lost(side: Side) -> Close {
        match side {
            Side::Client => Close::ClientLost,
            Side::Upstream => Close::UpstreamLost,
        }
    }

    /// The end of `side`'s stream that TLS does not vouch for.
    pub const fn truncated(side: Side) -> Close {
        match side {
            Side::Client => Close::ClientTruncated,
            Side::Upstream => Close::UpstreamTruncated,
        }
    }

    /// The end because of what `side` did to TLS.
    pub const fn tls(side: Side) -> Close {
        match side {
            Side::Client => Close::ClientTls,
            Side::Upstream => Close::UpstreamTls,
        }
    }

    /// The end because `side` took nothing.
    pub const fn send_timeout(side: Side) -> Close {
        match side {
            Side::Client => Close::ClientSendTimeout,
            Side::Upstream => Close::UpstreamSendTimeout,
        }
    }

    /// Whether the remaining peer learns of this end by a reset rather than a FIN.
    pub const fn resets(self) -> bool {
        matches!(
            self,
            Close::ClientReset
                | Close::UpstreamReset
                | Close::ClientTruncated
                | Close::UpstreamTruncated
                | Close::ClientTls
                | Close::UpstreamTls
                | Close::KeyLimit
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_and_words_are_unique_and_travel_both_ways() {
        let mut words = HashSet::new();
        for &close in Close::ALL {
            assert_eq!(Close::from_code(close.code()), Some(close));
            assert!(close.code() != 0 && words.insert(close.word()));
        }
        assert_eq!(Close::from_code(0), None);
        assert_eq!((0..=255).filter_map(Close::from_code).count(), Close::ALL.len());
    }
}
