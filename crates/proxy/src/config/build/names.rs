//! What every variable of the configuration means.

use super::Builder;
use crate::variables::Binding;
use perdura_conf::{Fault, VariableId};
use std::collections::HashMap;

impl Builder<'_> {
    /// Binds every name that was used. An unknown one is a fault without a place, as nginx words
    /// it; the hint says where it stands.
    pub(super) fn bindings(&mut self, mut tables: HashMap<VariableId, Binding>) -> Box<[Binding]> {
        let mut bindings = Vec::with_capacity(self.names.len());
        let mut faults = Vec::new();
        for (id, name, place) in self.names.iter() {
            let binding = match tables.remove(&id) {
                Some(table) => Some(table),
                None if self.names.is_defined(id) => Some(Binding::Captured),
                None => Binding::of(name),
            };
            let binding = match self.set_variables.contains(&id) {
                true => Some(Binding::Set { name: name.into(), before: binding.map(Box::new) }),
                false => binding,
            };
            let binding = binding.unwrap_or_else(|| {
                let fault = Fault::nowhere(format!("unknown \"{name}\" variable"));
                let source =
                    place.and_then(|place| Some((self.sources.source(place.source)?, place)));
                faults.push(match source {
                    Some((source, place)) => fault.hint(format!(
                        "it is used in {}:{}",
                        source.path.display(),
                        place.line
                    )),
                    None => fault,
                });
                Binding::Captured
            });
            bindings.push(binding);
        }
        self.faults.extend(faults);
        bindings.into_boxed_slice()
    }
}
