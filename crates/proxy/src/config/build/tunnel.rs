//! `tunnel_pass`, compiled for one block.

use super::http::Shared;
use super::pass::explicit;
use super::{Blocks, Builder};
use crate::config::{Location, Match};
use crate::modules::scope;
use crate::modules::tunnel::Pass as Written;
use crate::upstream::{Authority, Host, Tunnel};
use perdura_conf::{Fault, Statement};
use std::sync::Arc;

impl Builder<'_> {
    /// Where a block's own `tunnel_pass` leads. Where one stands, even a broken one, CONNECT is for the
    /// server that it stands in.
    pub(super) fn own_tunnel(
        &mut self,
        settings: &scope::Settings,
        shared: &mut Shared,
    ) -> Option<Arc<Tunnel>> {
        let written = settings.tunnel.tunnel_pass.as_ref()?;
        shared.connects = true;
        self.tunnel(written, shared)
    }

    /// Warns of a location that takes CONNECT, whose path is `/`, away from its server's `tunnel_pass`:
    /// it gets 405 there.
    pub(super) fn check_tunnel(&mut self, blocks: &Blocks<'_>, list: &[Arc<Location>]) {
        let takes = |location: &&Arc<Location>| {
            let plain = matches!(location.kind, Match::Exact | Match::Prefix | Match::PrefixFirm);
            plain && location.name == b"/" && location.tunnel.is_none()
        };
        let is_root = |statement: &&&Statement| {
            let last = statement.args.last().map(|word| &word.bytes[..]);
            statement.name.is("location") && matches!(last, Some(b"/" | b"=/" | b"^~/"))
        };
        if let (Some(_), Some(block)) = (list.iter().find(takes), blocks.iter().find(is_root)) {
            let message =
                "location \"/\" takes CONNECT away from the \"tunnel_pass\" of its server";
            self.faults.push(Fault::warning(block.name.place, message).hint(
                "the path of a CONNECT is \"/\": put the \"tunnel_pass\" into the location, or the \
                 location's content under a longer path",
            ));
        }
    }

    fn tunnel(&mut self, written: &Written, shared: &mut Shared) -> Option<Arc<Tunnel>> {
        let word = &written.word;
        let Some(text) = written.template.constant() else {
            return Some(Arc::new(Tunnel::Computed(written.template.clone())));
        };
        let shown = word.text();
        let parsed = Authority::parse(text).and_then(|authority| {
            let named = explicit(&authority, shared);
            let needs_port = named.is_none() && !matches!(authority.host, Host::Unix(_));
            match (authority.port, &named) {
                (None, None) if needs_port => Err("no port"),
                _ => Ok((authority, named)),
            }
        });
        let (authority, named) = match parsed {
            Ok(parsed) => parsed,
            Err(what) => {
                let message = format!("{what} in upstream \"{shown}\"");
                let fault = Fault::new(word.place, message);
                self.faults.push(match what {
                    "no port" => fault.hint("CONNECT has no usual port: write address:port"),
                    _ => fault,
                });
                return None;
            }
        };
        let group = match (named, authority.port) {
            (Some(group), Some(port)) => {
                let message = format!("upstream \"{}\" may not have port {port}", group.name);
                self.faults.push(Fault::new(word.place, message));
                return None;
            }
            (Some(group), None) => group,
            (None, _) => self.implicit_group(&authority, word, &mut shared.groups)?,
        };
        Some(Arc::new(Tunnel::Group(group)))
    }
}
