//! The addresses of those who are trusted to tell a client's own (`set_real_ip_from`).

use super::Builder;
use crate::cidr::Cidr;
use crate::modules::realip::{Trusted, Written};
use perdura_conf::Fault;

impl Builder<'_> {
    /// Looks up the names among those that are trusted to tell a client's address.
    pub(super) fn trusted(&mut self, written: &mut Written) {
        for trusted in written.set_real_ip_from.iter_mut().flat_map(|each| &mut each.0) {
            let Trusted::Name(word) = trusted else { continue };
            let found = self.world.resolve(&word.text()).unwrap_or_default();
            if found.is_empty() {
                let message = format!("host not found in set_real_ip_from \"{}\"", word.text());
                self.faults.push(Fault::new(word.place, message));
            }
            *trusted = Trusted::Networks(found.into_iter().map(Cidr::host).collect());
        }
    }
}
