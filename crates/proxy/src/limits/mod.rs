//! Limits: how many requests at once (`connections`), how many in a time (`requests`).
//!
//! A zone's state is shared by all threads and goes from one configuration to the next; it lives in
//! the worker's memory, because what must outlast the worker (tunnels) is counted again from the
//! table of tunnels. The phases call the handlers.

pub mod connections;
pub mod requests;

use crate::error_log;
use crate::modules::error_log::Severity;
use crate::request::Request;
use perdura_conf::Template;
use std::collections::HashMap;
use std::sync::Arc;

/// All zones of a configuration, by name.
#[derive(Default)]
pub struct Zones {
    pub connections: HashMap<String, Arc<connections::Zone>>,
    pub requests: HashMap<String, Arc<requests::Zone>>,
}

impl Zones {
    /// Goes on with the state of an older configuration's zones of the same names and keys.
    pub fn carry_from(&self, older: &Zones) {
        for (name, zone) in &self.connections {
            if let Some(before) = older.connections.get(name) {
                zone.carry_from(before);
            }
        }
        for (name, zone) in &self.requests {
            if let Some(before) = older.requests.get(name) {
                zone.carry_from(before);
            }
        }
    }

    /// Why a running worker cannot go over to these zones: a key may not change under its counts, as
    /// in nginx.
    pub fn conflict_with(&self, older: &Zones) -> Option<String> {
        let text = |what: &str, name: &str, new: &[u8], old: &[u8]| {
            let (new, old) = (String::from_utf8_lossy(new), String::from_utf8_lossy(old));
            (new != old).then(|| {
                format!("{what} \"{name}\" uses the \"{new}\" key while previously it used the \"{old}\" key")
            })
        };
        let connections = self.connections.iter().find_map(|(name, zone)| {
            text("limit_conn_zone", name, &zone.key_text, &older.connections.get(name)?.key_text)
        });
        connections.or_else(|| {
            self.requests.iter().find_map(|(name, zone)| {
                text("limit_req", name, &zone.key_text, &older.requests.get(name)?.key_text)
            })
        })
    }
}

/// What holds in one location.
#[derive(Clone, Default)]
pub struct Limits {
    pub connections: Vec<connections::Limit>,
    pub requests: Vec<requests::Limit>,
}

/// What a limit did to a request, for its variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Delayed,
    Rejected,
    DelayedDryRun,
    RejectedDryRun,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Delayed => "DELAYED",
            Self::Rejected => "REJECTED",
            Self::DelayedDryRun => "DELAYED_DRY_RUN",
            Self::RejectedDryRun => "REJECTED_DRY_RUN",
        }
    }
}

/// How many entries a zone of so many bytes holds in nginx, whose allocator hands out pages of 4096
/// bytes cut into equal pieces; one page is the zone's own.
fn capacity(bytes: u64, entry_bytes: usize) -> usize {
    const PAGE: usize = 4096;
    /// What the allocator keeps beside each page, and at the beginning.
    const PAGE_KEEPING: usize = 24;
    const POOL: usize = 512;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let pages = bytes.saturating_sub(POOL) / (PAGE + PAGE_KEEPING);
    let piece = entry_bytes.next_power_of_two().clamp(8, PAGE);
    (pages.saturating_sub(1) * (PAGE / piece)).max(1)
}

/// The value of a zone's key for a request; `None` when it is empty or too long, so that the limit
/// does not concern the request.
fn key_of(request: &Request, key: &Template, text: &[u8], longest: usize) -> Option<Box<[u8]>> {
    let value = request.value(key);
    if value.len() > longest {
        let message = format!(
            "the value of the \"{}\" key is more than {longest} bytes: \"{}\"",
            String::from_utf8_lossy(text),
            String::from_utf8_lossy(&value)
        );
        error_log::request(request, Severity::Error, &message);
        return None;
    }
    (!value.is_empty()).then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_holds_about_what_the_manual_says() {
        // 16 thousand states of 64 bytes, or 8 thousand of 128, in a megabyte.
        assert!((15_900..16_400).contains(&capacity(1 << 20, 40)));
        assert!((7_900..8_200).contains(&capacity(1 << 20, 84)));
        assert_eq!(capacity(0, 64), 1);
    }
}
