//! `location` blocks and the bodies of servers.

use super::http::{Scope, Shared};
use super::map::is_fixed;
use super::program::Around;
use super::{Blocks, Builder, nowhere, set_scope};
use crate::config::{Alias, Location, Locations, Match, Replaces};
use crate::grammar::Bind;
use crate::modules::scope;
use crate::regex::{Case, Regex};
use crate::upstream::{Pass, Tunnel};
use perdura_conf::{Context, Fault, Statement, Word};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The named locations of a server.
pub(super) type Named = HashMap<Vec<u8>, Arc<Location>>;

/// A location's head: its kind, its name and the word for messages.
#[derive(Clone)]
pub(super) struct Head {
    pub kind: Match,
    pub name: Vec<u8>,
    pub word: Word,
}

/// Where a block leads requests to.
#[derive(Clone, Default)]
pub(super) struct Leads {
    pub pass: Option<Arc<Pass>>,
    pub tunnel: Option<Arc<Tunnel>>,
}

impl Builder<'_> {
    /// Makes the location that a block describes, with everything inside it.
    pub(super) fn location(
        &mut self,
        statement: &Statement,
        outer: &Scope,
        enclosing: Option<&Head>,
        shared: &mut Shared,
    ) -> Option<Arc<Location>> {
        let head = match self.location_head(statement, enclosing) {
            Ok(head) => head,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        let inner = statement.block.as_deref().unwrap_or_default();
        let mut written = scope::Written::default();
        let mut blocks = Blocks::new();
        let mut warnings = Vec::new();
        self.read_block(inner, Context::Location, &mut blocks, |statement, reader| {
            set_scope(&mut written, statement, Context::Location, reader, &mut warnings)
        });
        self.faults.append(&mut warnings);
        let alias = written.core.alias.take().flatten();
        let mut scope = self.scope(written, &blocks, outer);
        if let Some(alias) = alias {
            scope.alias = self.alias(alias, &head, statement);
        }
        let (settings, leads) = self.settled(&head, &scope, shared);
        let around = Around {
            reports_status: settings.stub_status.stub_status.0,
            head: &head,
            scope: &scope,
            leads: leads.clone(),
        };
        let program = self.program(&blocks, Some(&around), shared);
        let limit_except = self.limit_except(&blocks, &around, shared);
        let (children, _) = self.children(&blocks, &scope, Some(&head), shared);
        let location = self.finish_location(head, scope, settings, leads, shared);
        Some(Arc::new(location.with(program, limit_except, children)))
    }

    /// What holds in a block: its own settings over the outer block's.
    pub(super) fn scope(
        &mut self,
        mut written: scope::Written,
        blocks: &Blocks<'_>,
        outer: &Scope,
    ) -> Scope {
        let error_logs =
            self.error_targets(written.error_log.error_log.as_ref(), Some(&outer.error_logs));
        let logs_written = outer.logs_written || written.log.access_log.is_some();
        self.trusted(&mut written.realip);
        let binds = [
            written.proxy.proxy_bind.as_ref().and_then(Option::as_ref),
            written.tunnel.tunnel_bind.as_ref(),
        ];
        self.binds_transparently |= binds.into_iter().flatten().any(Bind::is_transparent);
        self.assignments(&written.auth_request);
        let alias = match written.core.root {
            Some(_) => None,
            None => outer.alias.clone(),
        };
        let referers = written.referer.valid_referers.iter().flatten();
        self.faults.extend(referers.filter_map(|referers| referers.fault()));
        let own_link = written.secure_link.own();
        written.inherit(&outer.written);
        written.secure_link.separate(own_link);
        Scope {
            written,
            types: self.block_types(blocks, Some(&outer.types)),
            error_logs,
            logs_written,
            alias,
        }
    }

    /// The variables of `auth_request_set`, of which some have their own meaning.
    fn assignments(&mut self, written: &crate::modules::auth_request::Written) {
        for set in written.auth_request_set.iter().flat_map(|list| &list.0) {
            let name = set.name();
            if is_fixed(&name) {
                let message = format!("the duplicate \"{name}\" variable");
                self.faults.push(
                    Fault::new(set.word.place, message)
                        .hint("this name has its own meaning; choose another one"),
                );
            } else if matches!(&*name, "args" | "limit_rate") {
                let message =
                    format!("\"auth_request_set\" of the \"{name}\" variable is not supported yet");
                self.faults.push(Fault::new(set.word.place, message));
            }
        }
    }

    /// The alias of a location.
    fn alias(
        &mut self,
        written: crate::modules::core::Alias,
        head: &Head,
        statement: &Statement,
    ) -> Option<Arc<Alias>> {
        let replaces = match head.kind {
            Match::Pattern(_) => Replaces::Path,
            Match::Named => {
                let inner = statement.block.iter().flatten();
                let place = inner.map(|one| &one.name).find(|name| name.is("alias"));
                let place = place.unwrap_or(&statement.name).place;
                let message = "the \"alias\" directive cannot be used inside the named location";
                self.faults.push(Fault::new(place, message));
                return None;
            }
            Match::Base | Match::Exact | Match::Prefix | Match::PrefixFirm => {
                Replaces::Prefix(head.name.len())
            }
        };
        Some(Arc::new(Alias { path: written.0, replaces }))
    }

    /// What holds in a block with defaults filled in, and where it passes requests to.
    pub(super) fn settled(
        &mut self,
        head: &Head,
        scope: &Scope,
        shared: &mut Shared,
    ) -> (scope::Settings, Leads) {
        let written = scope.written.clone();
        let settings = self.settle(&nowhere(), |reader| written.settle(reader));
        self.check_buffers(&settings.proxy, head.word.place);
        let pass = settings.proxy.proxy_pass.clone();
        let pass = pass.and_then(|written| {
            self.pass(
                &written,
                (&settings.proxy, &settings.proxy_ssl),
                &head.name,
                &head.kind,
                shared,
            )
        });
        let tunnel = self.own_tunnel(&settings, shared);
        (settings, Leads { pass, tunnel })
    }

    /// A location without a program and without locations inside it.
    pub(super) fn finish_location(
        &mut self,
        head: Head,
        scope: Scope,
        settings: scope::Settings,
        leads: Leads,
        shared: &mut Shared,
    ) -> Location {
        let limits = self.limits(&settings);
        let logs = self.access_logs(&settings.log.access_log, scope.logs_written, &shared.formats);
        let name_servers =
            self.resolver(settings.resolver.resolver.as_ref(), &mut shared.resolvers);
        Location {
            name: head.name,
            kind: head.kind,
            types: scope.types,
            alias: scope.alias,
            program: Vec::new(),
            reports_status: settings.stub_status.stub_status.0,
            limit_except: None,
            pass: leads.pass,
            name_servers,
            tunnel: leads.tunnel,
            locations: Locations::default(),
            access_logs: logs,
            error_logs: scope.error_logs,
            limits,
            temp_body: settings.core.client_body_temp_path.0.clone(),
            settings,
        }
    }

    /// The locations inside a block, and the named ones among them.
    pub(super) fn children(
        &mut self,
        blocks: &Blocks<'_>,
        scope: &Scope,
        enclosing: Option<&Head>,
        shared: &mut Shared,
    ) -> (Vec<Arc<Location>>, Named) {
        let mut list = Vec::new();
        let mut named = HashMap::new();
        let mut seen = HashSet::new();
        for block in blocks.iter().filter(|statement| statement.name.is("location")) {
            let Some(location) = self.location(block, scope, enclosing, shared) else {
                continue;
            };
            let kind = match location.kind {
                Match::Exact => 0,
                Match::Prefix | Match::PrefixFirm => 1,
                Match::Named => 2,
                // Patterns may repeat; the first that matches wins.
                Match::Pattern(_) | Match::Base => 3,
            };
            if kind < 3 && !seen.insert((kind, location.name.clone())) {
                let name = String::from_utf8_lossy(&location.name).into_owned();
                let message = format!("duplicate location \"{name}\"");
                // nginx says nothing of a second named location, and never uses it.
                self.faults.push(match location.kind {
                    Match::Named => Fault::warning(block.name.place, message)
                        .hint("the first one is used; this one never is"),
                    _ => Fault::new(block.name.place, message),
                });
                continue;
            }
            if kind == 2 {
                named.insert(location.name.clone(), location);
            } else {
                list.push(location);
            }
        }
        (list, named)
    }

    fn location_head(
        &mut self,
        statement: &Statement,
        enclosing: Option<&Head>,
    ) -> Result<Head, Fault> {
        let head = match statement.args.as_slice() {
            [modifier, name] => self.with_modifier(modifier, name)?,
            [word] => self.glued(word)?,
            _ => {
                return Err(Fault::new(
                    statement.name.place,
                    "invalid number of arguments in \"location\" directive",
                ));
            }
        };
        let Some(outer) = enclosing else {
            return Ok(head);
        };
        let place = statement.name.place;
        let text = head.word.text();
        let outer_text = outer.word.text();
        match outer.kind {
            Match::Exact => {
                return Err(Fault::new(
                    place,
                    format!(
                        "location \"{text}\" cannot be inside the exact location \"{outer_text}\""
                    ),
                ));
            }
            Match::Named => {
                return Err(Fault::new(
                    place,
                    format!(
                        "location \"{text}\" cannot be inside the named location \"{outer_text}\""
                    ),
                ));
            }
            _ => {}
        }
        if matches!(head.kind, Match::Named) {
            return Err(Fault::new(
                place,
                format!("named location \"{text}\" can be on the server level only"),
            ));
        }
        // As in nginx, the text of a pattern counts as if it were a prefix.
        let outside =
            !matches!(head.kind, Match::Pattern(_)) && !head.name.starts_with(&outer.name);
        if outside {
            return Err(Fault::new(
                place,
                format!("location \"{text}\" is outside location \"{outer_text}\""),
            ));
        }
        Ok(head)
    }

    fn with_modifier(&mut self, modifier: &Word, name: &Word) -> Result<Head, Fault> {
        match modifier.bytes.as_slice() {
            b"=" => Ok(plain(Match::Exact, &name.bytes, name)),
            b"^~" => Ok(plain(Match::PrefixFirm, &name.bytes, name)),
            b"~" => self.pattern(&name.bytes, name, Case::Sensitive),
            b"~*" => self.pattern(&name.bytes, name, Case::Insensitive),
            _ => Err(Fault::new(
                modifier.place,
                format!("invalid location modifier \"{}\"", modifier.text()),
            )
            .hint("modifiers are: = ^~ ~ ~*")),
        }
    }

    /// nginx lets the modifier touch the name.
    fn glued(&mut self, word: &Word) -> Result<Head, Fault> {
        match word.bytes.as_slice() {
            [b'=', rest @ ..] => Ok(plain(Match::Exact, rest, word)),
            [b'^', b'~', rest @ ..] => Ok(plain(Match::PrefixFirm, rest, word)),
            [b'~', b'*', rest @ ..] => self.pattern(rest, word, Case::Insensitive),
            [b'~', rest @ ..] => self.pattern(rest, word, Case::Sensitive),
            [b'@', ..] => Ok(plain(Match::Named, &word.bytes, word)),
            rest => Ok(plain(Match::Prefix, rest, word)),
        }
    }

    fn pattern(&mut self, pattern: &[u8], word: &Word, case: Case) -> Result<Head, Fault> {
        let regex = Regex::compile(pattern, word, case, &mut self.names)?;
        Ok(plain(Match::Pattern(regex), pattern, word))
    }
}

fn plain(kind: Match, name: &[u8], word: &Word) -> Head {
    Head { kind, name: name.to_vec(), word: Word { bytes: name.to_vec(), place: word.place } }
}
