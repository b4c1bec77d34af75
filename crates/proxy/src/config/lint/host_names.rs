//! Names of upstreams that are looked up once, when the configuration is read: a container that
//! comes back with another address is not found again.

use super::{Lint, Mistake};
use crate::upstream::{Authority, Host, Scheme, Url};
use perdura_conf::{Fault, Statement, Word};
use std::collections::HashSet;

/// The names of the `upstream` blocks, in lower case.
pub(super) fn groups(http: &[Statement]) -> HashSet<Vec<u8>> {
    let blocks = http.iter().filter(|statement| statement.name.is("upstream"));
    blocks.filter_map(|block| Some(block.args.first()?.bytes.to_ascii_lowercase())).collect()
}

impl Lint<'_> {
    /// The host of a `proxy_pass` without variables.
    pub(super) fn passed_to_a_name(&mut self, pass: &Statement) {
        let Some(word) = pass.args.first().filter(|word| !word.bytes.contains(&b'$')) else {
            return;
        };
        let url = Scheme::split(&word.bytes).and_then(|(scheme, rest)| {
            let url = Url::parse(rest).ok()?;
            Some((scheme, url.authority))
        });
        let Some((scheme, authority)) = url else {
            return;
        };
        let Some(name) = moving(&authority, &self.groups) else {
            return;
        };
        let port = authority.port.unwrap_or(scheme.port());
        let hint = format!(
            "to have it looked up again, write: resolver ADDRESS; set $upstream_host {name}; and \
             pass to $upstream_host:{port} instead of it (a URI part is then sent as it stands)"
        );
        self.once(word, name, hint);
    }

    /// The servers of an `upstream` block.
    pub(super) fn host_names(&mut self, statements: &[Statement]) {
        let servers = statements.iter().filter(|statement| statement.name.is("server"));
        for server in servers.filter(|server| !server.args.iter().any(|word| word.is("resolve"))) {
            let Some(word) = server.args.first() else {
                continue;
            };
            let Ok(authority) = Authority::parse(&word.bytes) else {
                continue;
            };
            if let Some(name) = moving(&authority, &HashSet::new()) {
                self.once(word, name, "reload after the address has changed".to_owned());
            }
        }
    }

    fn once(&mut self, word: &Word, name: &str, hint: String) {
        let message = format!(
            "the addresses of \"{name}\" are looked up once, when the configuration is read"
        );
        let fault = Fault::notice(word.place, message).hint(hint);
        self.found.tell(Mistake::ResolvedOnce, word.place, fault);
    }
}

/// The name of an authority whose address may change: no group's, and not this machine's own.
fn moving<'a>(authority: &'a Authority, groups: &HashSet<Vec<u8>>) -> Option<&'a str> {
    let Host::Name(name) = &authority.host else {
        return None;
    };
    let is_group =
        authority.port.is_none() && groups.contains(&name.to_ascii_lowercase().into_bytes());
    (!is_group && !name.eq_ignore_ascii_case("localhost")).then_some(name)
}
