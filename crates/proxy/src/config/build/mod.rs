//! From a document to a [`Config`]: the only place where text of the configuration is looked at.
//!
//! Blocks are read outermost first: the settings of a block, then the blocks inside it, since nginx
//! lets a setting stand behind the blocks that inherit it. All faults are collected.

mod buffers;
mod http;
mod location;
mod logs;
mod map;
mod names;
mod pass;
mod program;
mod resolver;
mod server;
mod sockets;
mod tables;
mod tls;
mod trusted;
mod tunnel;
mod upstream;
mod zones;

use crate::config::{Config, Process, known, lint, table};
use crate::limits::Zones;
use crate::log_buffer::Setup;
use crate::log_file::LogFile;
use crate::modules::events::Connections;
use crate::modules::process::{Count, PID};
use crate::modules::{events_block, main_block, scope, scope_check};
use crate::variables::Binding;
use crate::world::World;
use perdura_conf::{
    Context, Document, Fault, Flag, Level, Names, Number, Place, Reader, Sources, Statement, Time,
    VariableId, Word, check_entry,
};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the command line says about the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The main file, absolute.
    pub conf: PathBuf,
    /// What relative paths are relative to (`-p`).
    pub prefix: PathBuf,
    /// Directives of the main context (`-g`).
    pub globals: String,
    /// The error log until, or unless, the configuration names one (`-e`).
    pub error_log: Option<String>,
}

/// What came of reading a configuration.
pub struct Built {
    /// Absent exactly when a fault is of level emerg.
    pub config: Option<Arc<Config>>,
    pub faults: Vec<Fault>,
    pub sources: Sources,
    /// Where `worker_connections` stands, for a warning of whoever knows the limits.
    pub worker_connections: Option<Place>,
}

/// Reads the configuration that `options` name from `world`.
pub fn build(world: &dyn World, options: &Options) -> Built {
    let document = Document::read(world, &options.conf, options.globals.as_bytes());
    let mut builder = Builder {
        world,
        options,
        conf_prefix: options.conf.parent().unwrap_or(Path::new("/")).to_owned(),
        names: Names::default(),
        faults: Vec::new(),
        sources: document.sources.clone(),
        has_unread: !document.faults.is_empty(),
        logs: Vec::new(),
        log_buffers: Vec::new(),
        zones: Zones::default(),
        upstream_zones: Vec::new(),
        set_variables: HashSet::new(),
        binds_transparently: false,
        speaks_tls: false,
    };
    let config = builder.main(&document.statements);
    // Nested blocks are read after the settings around them; people read from top to bottom.
    let mut faults = builder.faults;
    let is_sound = |faults: &[Fault]| faults.iter().all(|fault| fault.level != Level::Emerg);
    if is_sound(&faults) && is_sound(&document.faults) {
        faults.extend(lint::check(&document.statements));
    }
    let faults = document.in_reading_order(faults);
    let broken = !is_sound(&faults);
    let config = if broken { None } else { config.map(Arc::new) };
    let worker_connections = place_of_connections(&document.statements);
    Built { config, faults, sources: document.sources, worker_connections }
}

fn place_of_connections(main: &[Statement]) -> Option<Place> {
    let events = main.iter().find(|statement| statement.name.is("events"))?;
    let mut inner = events.block.iter().flatten();
    Some(inner.find(|statement| statement.name.is("worker_connections"))?.name.place)
}

/// The state of one build.
struct Builder<'a> {
    world: &'a dyn World,
    options: &'a Options,
    conf_prefix: PathBuf,
    names: Names,
    faults: Vec<Fault>,
    sources: Sources,
    /// The grammar has found faults already.
    has_unread: bool,
    logs: Vec<Arc<LogFile>>,
    binds_transparently: bool,
    /// What is said of the buffer of a log, and where.
    log_buffers: Vec<(Arc<LogFile>, Setup, Word)>,
    zones: Zones,
    upstream_zones: Vec<crate::modules::upstream::Zone>,
    /// Variables that some `set` gives a value.
    set_variables: HashSet<VariableId>,
    /// Something of the configuration shakes hands, on either side.
    speaks_tls: bool,
}

/// Statements that open blocks or belong to a program, set aside until the settings are read.
type Blocks<'s> = Vec<&'s Statement>;

impl<'a> Builder<'a> {
    fn main(&mut self, statements: &[Statement]) -> Option<Config> {
        let mut written = main_block::Written::default();
        let mut blocks = Blocks::new();
        self.read_block(statements, Context::Main, &mut blocks, |statement, reader| {
            written.set(statement, Context::Main, reader)
        });
        let events = self.only("events", &blocks);
        let http = self.only("http", &blocks);
        let mut events_written = events_block::Written::default();
        match events.and_then(|statement| statement.block.as_deref()) {
            Some(inner) => {
                let mut nested = Blocks::new();
                self.read_block(inner, Context::Events, &mut nested, |statement, reader| {
                    events_written.set(statement, Context::Events, reader)
                });
            }
            // A file that cannot be read lacks everything; one line says why.
            None if statements.is_empty() && self.has_unread => {}
            None => self.faults.push(
                Fault::nowhere("no \"events\" section in configuration")
                    .hint("an empty one will do: events { }"),
            ),
        }
        let main_errors = self.error_targets(written.error_log.error_log.as_ref(), None);
        let http = http
            .and_then(|statement| statement.block.as_deref())
            .map(|inner| self.http(inner, &main_errors));
        self.log_buffers();
        let nowhere = nowhere();
        let events = self.settle(&nowhere, |reader| events_written.settle(reader));
        let main = self.settle(&nowhere, |reader| written.settle(reader));
        let process = self.process(&main, &events, main_errors);
        let http = http.unwrap_or_default();
        let (connections, sockets) = (process.worker_connections as usize, http.sockets.len());
        if connections < sockets + 1 {
            self.faults.push(Fault::nowhere(format!(
                "{connections} worker_connections are not enough for {sockets} listening sockets"
            )));
        }
        let bindings = self.bindings(http.tables);
        Some(Config {
            process,
            sockets: http.sockets,
            endpoints: http.endpoints,
            groups: http.groups,
            zones: std::mem::take(&mut self.zones),
            keeps_sent_head: bindings.iter().any(|one| matches!(one, Binding::SentField(_))),
            bindings,
            speaks_tls: self.speaks_tls,
            log_files: self
                .logs
                .iter()
                .filter(|log| log.is_file())
                .map(|log| log.path.clone())
                .collect(),
            logs: std::mem::take(&mut self.logs),
        })
    }

    /// Reads the settings of a block; nested blocks and what belongs to its program are checked and
    /// set aside.
    fn read_block<'s>(
        &mut self,
        statements: &'s [Statement],
        context: Context,
        blocks: &mut Blocks<'s>,
        mut set: impl FnMut(&Statement, &mut Reader<'_>) -> Option<Result<(), Fault>>,
    ) {
        for statement in statements {
            let entry = table::block_entry(&statement.name.bytes)
                .or_else(|| table::action_entry(&statement.name.bytes));
            if let Some(entry) = entry
                && !(entry.name == "server" && context == Context::Upstream)
            {
                match check_entry(entry, statement, context) {
                    Ok(()) => blocks.push(statement),
                    Err(fault) => self.faults.push(fault),
                }
                continue;
            }
            match self.settle(&statement.name, |reader| set(statement, reader)) {
                Some(Ok(())) => {}
                Some(Err(fault)) => self.faults.push(fault),
                None => {
                    let fault = self.unknown(statement, context);
                    self.faults.push(fault);
                }
            }
        }
    }

    /// Calls `act` with a reader for `directive`.
    fn settle<R>(&mut self, directive: &Word, act: impl FnOnce(&mut Reader<'_>) -> R) -> R {
        let mut reader = Reader {
            directive,
            names: &mut self.names,
            files: self.world,
            prefix: &self.options.prefix,
            conf_prefix: &self.conf_prefix,
        };
        act(&mut reader)
    }

    /// What to say of a directive that is not in this block's table.
    fn unknown(&self, statement: &Statement, context: Context) -> Fault {
        let name = statement.name.text();
        let place = statement.name.place;
        let entries = table::entries();
        if let Some((_, entry)) = entries.iter().find(|(_, entry)| entry.name == name) {
            return match check_entry(entry, statement, context) {
                Err(fault) => fault,
                Ok(()) => Fault::new(place, format!("\"{name}\" directive is not allowed here")),
            };
        }
        if let Some(idle) = known::WITHOUT_MEANING.iter().find(|entry| entry.name == name) {
            let notice = || Fault::notice(place, format!("\"{name}\" has no effect: {}", idle.doc));
            return check_entry(idle, statement, context).err().unwrap_or_else(notice);
        }
        if let Some(idle) = known::WITHOUT_EFFECT.iter().find(|entry| entry.name == name) {
            let warning =
                || Fault::warning(place, format!("\"{name}\" has no effect: {}", idle.doc));
            return check_entry(idle, statement, context).err().unwrap_or_else(warning);
        }
        let family = known::NOT_YET_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if family || known::NOT_YET.contains(&&*name) {
            return Fault::new(place, format!("directive \"{name}\" is not supported yet"))
                .hint("the manual lists what is; take the line out if the rest is enough");
        }
        let all = entries.iter().map(|(_, entry)| entry).chain(known::WITHOUT_MEANING);
        let all = all.chain(known::WITHOUT_EFFECT);
        let all = all.map(|entry| entry.name).chain(known::NOT_YET.iter().copied());
        perdura_conf::unknown_directive(statement, all)
    }

    /// The one block of this name; a second one is a fault.
    fn only<'s>(&mut self, name: &str, blocks: &Blocks<'s>) -> Option<&'s Statement> {
        let mut found = blocks.iter().filter(|statement| statement.name.is(name));
        let first = found.next().copied();
        if let Some(second) = found.next() {
            self.faults
                .push(Fault::new(second.name.place, format!("\"{name}\" directive is duplicate")));
        }
        first
    }

    fn process(
        &mut self,
        main: &main_block::Settings,
        events: &events_block::Settings,
        error_logs: Arc<[crate::config::ErrorTarget]>,
    ) -> Process {
        let main = &main.process;
        let (user, user_name) = self.user(main.user.as_ref());
        let groups = user.map(|(_, gid)| self.world.groups_of(&user_name, gid)).unwrap_or_default();
        let Flag(daemon) = main.daemon;
        let Flag(master_process) = main.master_process;
        let Connections(connections) = events.events.worker_connections;
        // nginx takes an empty name as its default.
        let pid = if main.pid.0.is_empty() { PID.as_bytes() } else { &main.pid.0 };
        Process {
            daemon,
            master_process,
            worker_processes: match main.worker_processes {
                Count::Of(count) => count as usize,
                Count::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            },
            worker_connections: u32::try_from(connections).unwrap_or(u32::MAX),
            worker_rlimit_nofile: main.worker_rlimit_nofile.map(|Number(limit)| limit),
            worker_shutdown_timeout_ms: main.worker_shutdown_timeout.map(|Time(ms)| ms),
            upgrade_start_timeout_ms: main.upgrade_start_timeout.0,
            user,
            groups,
            binds_transparently: self.binds_transparently,
            pid: self.options.prefix.join(path_of(pid)),
            prefix: self.options.prefix.clone(),
            error_logs,
        }
    }

    fn user(
        &mut self,
        user: Option<&crate::modules::process::User>,
    ) -> (Option<(u32, u32)>, String) {
        let is_root = rustix::process::geteuid().is_root();
        let Some(user) = user else {
            // Nobody wants a worker of root by forgetting a line.
            let nobody = if is_root { self.world.user(NOBODY) } else { None };
            return (nobody, NOBODY.to_owned());
        };
        let name = user.user.text().into_owned();
        if !is_root {
            self.faults.push(Fault::warning(
                user.directive,
                "the \"user\" directive makes sense only if the master process runs with super-user \
                 privileges, ignored",
            ));
            return (None, name);
        }
        let Some((uid, gid)) = self.world.user(&name) else {
            self.faults.push(Fault::new(user.user.place, format!("getpwnam(\"{name}\") failed")));
            return (None, name);
        };
        let group = match &user.group {
            Some(word) => self.group(word, gid, None),
            // nginx wants a group of the user's name, whatever the user's own group is.
            None => {
                let hint = "a user without a group of its own name needs one: user name group";
                self.group(&user.user, gid, Some(hint))
            }
        };
        (Some((uid, group)), name)
    }

    fn group(&mut self, word: &Word, fallback: u32, hint: Option<&str>) -> u32 {
        let name = word.text();
        if let Some(group) = self.world.group(&name) {
            return group;
        }
        let fault = Fault::new(word.place, format!("getgrnam(\"{name}\") failed"));
        self.faults.push(match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        });
        fallback
    }
}

/// Whom the worker of a master of root is, when nothing is said.
const NOBODY: &str = "nobody";

/// Sets what a statement says for a block of the scope. What is wrong beyond its own grammar comes
/// first when it is fatal, as in nginx, and goes to `warnings` when it is not.
fn set_scope(
    written: &mut scope::Written,
    statement: &Statement,
    context: Context,
    reader: &mut Reader<'_>,
    warnings: &mut Vec<Fault>,
) -> Option<Result<(), Fault>> {
    let mut fatal = None;
    for fault in scope_check(statement, written) {
        match fault.level {
            Level::Emerg => fatal = Some(fault),
            Level::Warn | Level::Notice => warnings.push(fault),
        }
    }
    let set = written.set(statement, context, reader)?;
    Some(match fatal {
        Some(fault) => set.and(Err(fault)),
        None => set,
    })
}

/// The directive that defaults are read for.
fn nowhere() -> Word {
    let place =
        perdura_conf::Place { source: perdura_conf::SourceId(u32::MAX), line: 0, start: 0, end: 0 };
    Word { bytes: b"default".to_vec(), place }
}

/// Bytes of a word as a path.
fn path_of(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests;
