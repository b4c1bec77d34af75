//! When a tunnel is due, and for what: computed from its record, so that nothing need be moved when
//! a byte moves.

use crate::relay::{Parting, Pipe, Relay};
use crate::table::Record;
use crate::{Close, Side};

/// The nearest deadline of a tunnel; `None` if all its timers are off.
pub(crate) fn deadline(record: &Record, relay: &Relay) -> Option<(u64, Close)> {
    if relay.is_draining() {
        let patience_ms = match relay.parting() {
            Parting::Speaking => SPEAK_MAX_MS,
            Parting::Listening => LISTEN_MAX_MS,
            Parting::Leaving => LEAVE_MAX_MS,
        };
        return Some((record.fin_ms().saturating_add(patience_ms), Close::Drained));
    }
    let terms = record.terms();
    let after = |start_ms: u64, timeout_ms: u32, close| {
        (timeout_ms > 0).then(|| (start_ms.saturating_add(u64::from(timeout_ms)), close))
    };
    let send = |sink: Side, timeout_ms| {
        let held = relay.pipe(sink.other()) == Pipe::Held;
        let stalled_ms = record.stall_ms(sink.other());
        held.then(|| after(stalled_ms, timeout_ms, Close::send_timeout(sink))).flatten()
    };
    // The half that remains may go on for as long as it moves.
    let half_ms = record.fin_ms().max(record.active_ms());
    let fin = relay.is_half().then(|| after(half_ms, terms.fin_timeout_ms, Close::FinTimeout));
    [
        after(record.active_ms(), terms.idle_timeout_ms, Close::IdleTimeout),
        send(Side::Client, terms.client_send_timeout_ms),
        send(Side::Upstream, terms.upstream_send_timeout_ms),
        fin.flatten(),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|(due_ms, _)| *due_ms)
}

/// How long a drained tunnel may take to finish the frames that are under way.
pub(crate) const SPEAK_MAX_MS: u64 = 5_000;
/// How long a drained tunnel waits for an answer to its Close frames before it sends FINs.
pub(crate) const LISTEN_MAX_MS: u64 = 2_000;
/// How long a drained tunnel waits for the peers' FINs before it resets.
pub(crate) const LEAVE_MAX_MS: u64 = 2_000;
