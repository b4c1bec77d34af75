//! `server` blocks: settings, names and locations.

use super::http::{Scope, Shared};
use super::location::Head;
use super::{Blocks, Builder, nowhere, set_scope};
use crate::config::server_names::Name;
use crate::config::{Match, Server};
use crate::modules::server::Listen;
use crate::modules::{scope, server_block};
use crate::regex::{Case, Regex};
use perdura_conf::{Context, Each, Fault, Place, Statement, Word};
use std::sync::Arc;

/// A server with what `endpoints` needs to place it.
pub(super) struct Placed {
    pub server: Arc<Server>,
    pub names: Vec<(Name, Word)>,
    pub listens: Vec<Listen>,
    pub place: Place,
    /// Its certificates cannot be used, and a fault says so.
    pub has_bad_tls: bool,
}

impl Builder<'_> {
    pub(super) fn server(
        &mut self,
        statement: &Statement,
        http: &Scope,
        shared: &mut Shared,
    ) -> Placed {
        let inner = statement.block.as_deref().unwrap_or_default();
        let mut own = server_block::Written::default();
        let mut written = scope::Written::default();
        let mut blocks = Blocks::new();
        let mut warnings = Vec::new();
        self.read_block(inner, Context::Server, &mut blocks, |statement, reader| {
            own.set(statement, Context::Server, reader).or_else(|| {
                set_scope(&mut written, statement, Context::Server, reader, &mut warnings)
            })
        });
        self.faults.append(&mut warnings);
        let own = self.settle(&nowhere(), |reader| own.settle(reader)).server;
        let names = self.server_names(&own.server_name);
        let scope = self.scope(written, &blocks, http);
        shared.connects = false;
        let (list, named) = self.children(&blocks, &scope, None, shared);
        let word = Word { bytes: Vec::new(), place: statement.name.place };
        let head = Head { kind: Match::Base, name: Vec::new(), word };
        let program = self.program(&blocks, None, shared);
        let (settings, leads) = self.settled(&head, &scope, shared);
        if leads.tunnel.is_some() {
            self.check_tunnel(&blocks, &list);
        }
        let base = self.finish_location(head, scope, settings, leads, shared);
        let base = base.with(program, None, Vec::new());
        let tls = self.tls(&base.settings.ssl);
        let server = Server {
            tls: tls.clone().unwrap_or_default(),
            name: first_name(&own.server_name),
            base: Arc::new(base),
            locations: crate::config::Locations::new(list),
            named,
            connects: shared.connects,
        };
        Placed {
            server: Arc::new(server),
            names,
            listens: own.listen.0,
            place: statement.name.place,
            has_bad_tls: tls.is_err(),
        }
    }

    fn server_names(&mut self, written: &Each<crate::modules::server::Names>) -> Vec<(Name, Word)> {
        let mut names = Vec::new();
        for word in written.0.iter().flat_map(|list| &list.0) {
            match self.server_name(word) {
                Ok(name) => names.push((name, word.clone())),
                Err(fault) => self.faults.push(fault),
            }
        }
        // A server without a name answers requests whose Host is empty.
        if names.is_empty() {
            let word = Word { bytes: Vec::new(), place: nowhere().place };
            names.push((Name::Host(Vec::new()), word));
        }
        names
    }

    /// Reads one name. What asterisks mean is found out where names are gathered: nginx too looks
    /// at them only there, and only when an address has several servers.
    fn server_name(&mut self, word: &Word) -> Result<Name, Fault> {
        let invalid = match word.bytes.as_slice() {
            [b'*', b'.', _, ..] => false,
            [b'*', ..] | [b'.'] => true,
            _ => false,
        };
        if invalid {
            let message = format!("server name \"{}\" is invalid", word.text());
            return Err(Fault::new(word.place, message)
                .hint("an asterisk stands for whole labels: *.example.com, www.example.*"));
        }
        if word.bytes.contains(&b'/') {
            self.faults.push(
                Fault::warning(
                    word.place,
                    format!("server name \"{}\" has suspicious symbols", word.text()),
                )
                .hint("a name has no scheme and no path"),
            );
        }
        if let Some(pattern) = word.bytes.strip_prefix(b"~") {
            if pattern.is_empty() {
                let message = format!("empty regex in server name \"{}\"", word.text());
                return Err(Fault::new(word.place, message));
            }
            // nginx compares names without regard to case when the pattern has capitals.
            let case = if pattern.iter().any(u8::is_ascii_uppercase) {
                Case::Insensitive
            } else {
                Case::Sensitive
            };
            return Ok(Name::Pattern(Regex::compile(pattern, word, case, &mut self.names)?));
        }
        Ok(Name::Host(if word.is("$hostname") {
            crate::hostname().to_ascii_lowercase().into_bytes()
        } else {
            word.bytes.to_ascii_lowercase()
        }))
    }
}

/// What `$server_name` says: the first name as it was written, without a leading dot.
fn first_name(written: &Each<crate::modules::server::Names>) -> Vec<u8> {
    let first = written.0.first().and_then(|list| list.0.first());
    let Some(word) = first else {
        return Vec::new();
    };
    match word.bytes.as_slice() {
        [b'.', rest @ ..] => rest.to_ascii_lowercase(),
        [b'~', ..] => word.bytes.clone(),
        name => name.to_ascii_lowercase(),
    }
}
