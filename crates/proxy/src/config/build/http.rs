//! The `http` block.

use super::logs::Formats;
use super::resolver::Setups;
use super::{Blocks, Builder, set_scope};
use crate::config::{Alias, Endpoint, ErrorTarget, Listen, Types};
use crate::known_keys::KnownMap;
use crate::modules::scope;
use crate::upstream::Group;
use crate::variables::Binding;
use perdura_conf::{Context, Statement, VariableId};
use std::collections::HashMap;
use std::sync::Arc;

/// What the `http` block gives to the configuration.
#[derive(Default)]
pub(super) struct Http {
    pub sockets: Vec<Listen>,
    pub endpoints: KnownMap<String, Arc<Endpoint>>,
    pub groups: KnownMap<Vec<u8>, Arc<Group>>,
    /// The variables that `map` and its like make.
    pub tables: HashMap<VariableId, Binding>,
}

/// What a block hands to the blocks inside it.
#[derive(Clone)]
pub(super) struct Scope {
    pub written: scope::Written,
    pub types: Arc<Types>,
    pub error_logs: Arc<[ErrorTarget]>,
    /// Some enclosing block, or this one, has an `access_log`.
    pub logs_written: bool,
    pub alias: Option<Arc<Alias>>,
}

/// What all servers share while they are read.
pub(super) struct Shared {
    pub formats: Formats,
    pub groups: KnownMap<Vec<u8>, Arc<Group>>,
    pub resolvers: Setups,
    /// The server that is being read has a `tunnel_pass` somewhere.
    pub connects: bool,
}

impl Builder<'_> {
    pub(super) fn http(
        &mut self,
        statements: &[Statement],
        main_errors: &Arc<[ErrorTarget]>,
    ) -> Http {
        let mut written = scope::Written::default();
        let mut blocks = Blocks::new();
        let mut warnings = Vec::new();
        self.read_block(statements, Context::Http, &mut blocks, |statement, reader| {
            set_scope(&mut written, statement, Context::Http, reader, &mut warnings)
        });
        self.faults.append(&mut warnings);
        let tables = self.tables(&blocks);
        let mut shared = Shared {
            formats: self.formats(written.log.log_format.as_ref()),
            groups: KnownMap::default(),
            resolvers: Setups::new(),
            connects: false,
        };
        // Formats are compiled and shared; copying them into every location would be waste.
        written.log.log_format = None;
        self.zones = self.zones(&written);
        self.groups(&blocks, &mut shared.groups);
        self.trusted(&mut written.realip);
        let scope = Scope {
            error_logs: self.error_targets(written.error_log.error_log.as_ref(), Some(main_errors)),
            logs_written: written.log.access_log.is_some(),
            alias: None,
            types: self.block_types(&blocks, None),
            written,
        };
        let mut servers = Vec::new();
        for block in blocks.iter().filter(|statement| statement.name.is("server")) {
            servers.push(self.server(block, &scope, &mut shared));
        }
        let (sockets, endpoints) = self.endpoints(&servers);
        Http { sockets, endpoints, groups: shared.groups, tables }
    }

    fn tables(&mut self, blocks: &Blocks<'_>) -> HashMap<VariableId, Binding> {
        let mut tables = HashMap::new();
        for statement in blocks {
            let made = match statement.name.bytes.as_slice() {
                b"map" => self.map(statement).map(|(id, map)| Ok((id, Binding::Map(map)))),
                b"geo" => Some(self.geo(statement).map(|(id, geo)| (id, Binding::Geo(geo)))),
                b"split_clients" => {
                    Some(self.split(statement).map(|(id, split)| (id, Binding::Split(split))))
                }
                _ => None,
            };
            match made {
                Some(Ok((id, binding))) => {
                    tables.insert(id, binding);
                }
                Some(Err(fault)) => self.faults.push(fault),
                None => {}
            }
        }
        tables
    }

    /// The types of a block: its own, or the outer block's.
    pub(super) fn block_types(
        &mut self,
        blocks: &Blocks<'_>,
        outer: Option<&Arc<Types>>,
    ) -> Arc<Types> {
        let own: Vec<_> = blocks.iter().filter(|statement| statement.name.is("types")).collect();
        if own.is_empty() {
            return outer.cloned().unwrap_or_else(|| Arc::new(Types::built_in()));
        }
        let mut types = Types::default();
        for statement in own {
            self.types(statement, &mut types);
        }
        Arc::new(types)
    }
}
