//! Zones of limits, and the limits of a location that refer to them.

use super::Builder;
use crate::limits::{Limits, Zones, connections, requests};
use crate::modules::scope;
use perdura_conf::{Fault, Place, Word};
use std::sync::Arc;

impl Builder<'_> {
    /// Makes the zones that the `http` block declares.
    pub(super) fn zones(&mut self, written: &scope::Written) -> Zones {
        let mut zones = Zones::default();
        for zone in written.limit_conn.limit_conn_zone.iter().flat_map(|each| &each.0) {
            let made = connections::Zone::new(
                &zone.name,
                zone.key.clone(),
                zone.key_text.clone(),
                zone.bytes,
            );
            zones.connections.insert(zone.name.clone(), Arc::new(made));
        }
        for zone in written.limit_req.limit_req_zone.iter().flat_map(|each| &each.0) {
            if zones.connections.contains_key(&zone.name) {
                let message = format!(
                    "the shared memory zone \"{}\" is already declared for a different use",
                    zone.name
                );
                self.faults.push(Fault::new(zone.place, message));
            }
            let key = (zone.key.clone(), zone.key_text.clone());
            let made = requests::Zone::new(&zone.name, key.0, key.1, zone.rate, zone.bytes);
            zones.requests.insert(zone.name.clone(), Arc::new(made));
        }
        zones
    }

    /// The limits of a location, with their zones.
    pub(super) fn limits(&mut self, settings: &scope::Settings) -> Limits {
        let mut limits = Limits::default();
        for limit in &settings.limit_conn.limit_conn.0 {
            match self.zones.connections.get(&*limit.zone.text()).cloned() {
                Some(zone) => limits
                    .connections
                    .push(connections::Limit { zone, connections: limit.connections }),
                None => self.unknown_zone(&limit.zone),
            }
        }
        for limit in &settings.limit_req.limit_req.0 {
            match self.zones.requests.get(&*limit.zone.text()).cloned() {
                Some(zone) => limits.requests.push(requests::Limit {
                    zone,
                    burst: limit.burst,
                    delay: limit.delay,
                }),
                None => self.unknown_zone(&limit.zone),
            }
        }
        limits
    }

    /// nginx gives it no place; the hint does. Said once, though every inner block inherits it.
    fn unknown_zone(&mut self, word: &Word) {
        let Place { source, line, .. } = word.place;
        let at = self.sources.source(source).map(|source| format!("{}", source.path.display()));
        let fault = Fault::nowhere(format!("zero size shared memory zone \"{}\"", word.text()))
            .hint(format!(
                "no zone of that name is declared for it; it is used in {}:{line}",
                at.unwrap_or_default()
            ));
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}
