//! Runs a case against a program and compares what happened. nginx is the reference: what it
//! answered is recorded beside the case, and asked again wherever it is installed.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::case::{Case, Client as CaseClient, Errors, Over, Section, UpstreamOf};
use crate::client::Client;
use crate::message::{Message, ReadAs};
use crate::nameserver::NameServer;
use crate::outcome::{self, Names, Outcome};
use crate::port::dead_address;
use crate::program::{Program, root};
use crate::proxy::{Proxy, Setup};
use crate::script::{Blocks, Step};
use crate::secure::Visitor;
use crate::upstream::Upstream;
use crate::wire::End;

/// One client of a case, compared: nothing, or why it fails.
pub struct Report {
    pub name: String,
    pub fault: Option<String>,
}

/// Runs all clients of a case against a program. `lines` says how many log lines to wait for.
pub fn play(program: Program, case: &Case, lines: &[usize]) -> Result<Vec<Outcome>, String> {
    let run = || {
        let mut stage = Stage::new(program, case);
        let one = |(index, client)| stage.play(client, lines.get(index).copied().unwrap_or(0));
        case.clients.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Compares perdura with nginx over all clients of a case.
pub fn compare(case: &Case) -> Vec<Report> {
    let recorded = recorded(case);
    let counts: Vec<_> = recorded.iter().flatten().map(|text| log_lines(text)).collect();
    let live = Program::Nginx.find().map(|_| play(Program::Nginx, case, &counts));
    let reference = match (&live, &recorded) {
        (Some(Ok(live)), _) => live.iter().map(Outcome::clone).map(Reference::Live).collect(),
        (Some(Err(fault)), _) => return all_fail(case, &format!("nginx: {fault}")),
        (None, Some(texts)) => texts.iter().cloned().map(Reference::Recorded).collect::<Vec<_>>(),
        (None, None) => return all_fail(case, "nginx is not installed, and nothing is recorded"),
    };
    let lines: Vec<_> = reference.iter().map(Reference::log_lines).collect();
    let ours = match std::env::var("PARITY_ONLY").as_deref() {
        Ok("nginx") => None,
        _ => Some(play(Program::Perdura, case, &lines)),
    };
    if let Some(Err(fault)) = &ours {
        return all_fail(case, &format!("perdura: {fault}"));
    }
    let ours = ours.and_then(Result::ok);
    let judge = |(index, client): (usize, &CaseClient)| {
        let recorded = recorded.as_ref().and_then(|texts| texts.get(index));
        let ours = ours.as_ref().map(|outcomes| &outcomes[index]);
        Report {
            name: client.name.clone(),
            fault: judge(client, &reference[index], recorded, ours),
        }
    };
    case.clients.iter().enumerate().map(judge).collect()
}

/// Builds a case of clients that are made by a table in a test.
pub fn family(name: &str, setup: Case, clients: Vec<(String, Vec<Step>)>) -> Case {
    let clients = clients.into_iter().map(|(name, steps)| CaseClient::new(&name, steps)).collect();
    Case { name: name.to_owned(), clients, ..setup }
}

/// Writes what nginx answers beside the case file.
pub fn record(case: &Case) -> Result<(), String> {
    let outcomes = play(Program::Nginx, case, &[])?;
    let mut text = String::new();
    for (client, outcome) in case.clients.iter().zip(outcomes) {
        let _ = write!(text, "-- {}\n{}", client.name, compared(client, &outcome));
    }
    std::fs::write(record_path(case), text).map_err(|error| error.to_string())
}

/// Appends what perdura answers to the case file, for cases that name a row and have no
/// expected outcome yet. Whoever does this reads what was written.
pub fn adopt(case: &Case) -> Result<(), String> {
    let wanted = |client: &&CaseClient| client.differs.is_some() && client.expected.is_none();
    if !case.clients.iter().any(|client| wanted(&client)) {
        return Ok(());
    }
    let outcomes = play(Program::Perdura, case, &[])?;
    let mut text = String::new();
    for (client, outcome) in case.clients.iter().zip(outcomes).filter(|(client, _)| wanted(client))
    {
        let _ = write!(text, "-- perdura {}\n{}", client.name, compared(client, &outcome));
    }
    let path = Case::folder().join(format!("{}.case", case.name));
    let before = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    std::fs::write(path, before + &text).map_err(|error| error.to_string())
}

/// Complaints about a case that can be found without running it: rows that are not in the
/// table of differences, expected outcomes without a row.
pub fn check(case: &Case) -> Vec<String> {
    let table = std::fs::read_to_string(root().join("docs/differences.md")).unwrap_or_default();
    let mut complaints = Vec::new();
    for client in &case.clients {
        match (&client.differs, &client.expected) {
            (Some(row), _) if !table.contains(&format!("| {row} |")) => {
                complaints.push(format!("{}: no row {row:?} in docs/differences.md", client.name));
            }
            (Some(_), None) => complaints.push(format!("{}: differs, but how?", client.name)),
            (None, Some(_)) => complaints.push(format!("{}: why does it differ?", client.name)),
            _ => {}
        }
    }
    complaints
}

enum Reference {
    Live(Outcome),
    Recorded(String),
}

impl Reference {
    fn text(&self, client: &CaseClient) -> String {
        match self {
            Self::Live(outcome) => compared(client, outcome),
            Self::Recorded(text) => text.clone(),
        }
    }

    fn log_lines(&self) -> usize {
        match self {
            Self::Live(outcome) => outcome.log.lines().count(),
            Self::Recorded(text) => log_lines(text),
        }
    }
}

/// How many lines of the access log an outcome's text holds.
fn log_lines(outcome: &str) -> usize {
    let log = outcome.split_once("\nlog:\n").map_or("", |(_, log)| log);
    log.lines().take_while(|line| line.starts_with("  ")).count()
}

fn judge(
    client: &CaseClient,
    reference: &Reference,
    recorded: Option<&String>,
    ours: Option<&Outcome>,
) -> Option<String> {
    let nginx = reference.text(client);
    if let Some(recorded) = recorded.filter(|recorded| **recorded != nginx) {
        return Some(differing("nginx as recorded", recorded, "nginx now", &nginx));
    }
    let ours = compared(client, ours?);
    match &client.expected {
        Some(expected) if expected.trim() == ours.trim() => None,
        Some(expected) => Some(differing("expected", expected, "perdura", &ours)),
        None if nginx == ours => None,
        None => Some(differing("nginx", &nginx, "perdura", &ours)),
    }
}

fn differing(left: &str, before: &str, right: &str, after: &str) -> String {
    format!("--- {left}\n{before}--- {right}\n{after}")
}

/// The parts of an outcome that a client's options compare, as text.
fn compared(client: &CaseClient, outcome: &Outcome) -> String {
    let mut outcome = outcome.clone();
    if client.errors == Errors::Nothing {
        outcome.errors.clear();
    }
    if !client.upstream {
        outcome.upstream.clear();
    }
    if !client.log {
        outcome.log.clear();
    }
    outcome.to_string()
}

fn recorded(case: &Case) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(record_path(case)).ok()?;
    let sections = Section::all(&text);
    let name = |section: &Section| format!("{} {}", section.kind, section.argument);
    let find = |client: &CaseClient| {
        let found = sections.iter().find(|section| name(section).trim() == client.name.trim());
        found.map_or("(not recorded)\n".to_owned(), |section| section.text.clone())
    };
    Some(case.clients.iter().map(find).collect())
}

fn record_path(case: &Case) -> PathBuf {
    Case::folder().join(format!("{}.outcome", case.name))
}

fn all_fail(case: &Case, fault: &str) -> Vec<Report> {
    let report =
        |client: &CaseClient| Report { name: client.name.clone(), fault: Some(fault.to_owned()) };
    case.clients.iter().map(report).collect()
}

/// A running program with the upstreams of a case.
struct Stage {
    proxy: Proxy,
    upstreams: Vec<(String, Upstream)>,
    names: Names,
    access_seen: usize,
    error_seen: usize,
    _dead: Vec<rustix::fd::OwnedFd>,
    _names: Option<NameServer>,
}

impl Stage {
    fn new(program: Program, case: &Case) -> Self {
        let mut setup = match &case.server {
            Some(server) => Setup::server(server),
            None => Setup::bare(),
        };
        setup = setup.http(&case.http).main(&case.main);
        if let Some(format) = &case.log_format {
            setup = setup.log_format(format);
        }
        for (path, content) in &case.files {
            setup = setup.file(path, content.clone());
        }
        let mut upstreams = Vec::new();
        if case.certificates {
            setup = setup.certificates();
        }
        for UpstreamOf { name, certificate, script } in &case.upstreams {
            let blocks = Blocks::parse(script).expect("an upstream script");
            let upstream = match certificate {
                Some(certificate) => Upstream::secured(blocks, certificate),
                None => Upstream::start(blocks),
            };
            setup = setup.name(name, upstream.address());
            setup = setup.name(&format!("{name}_port"), upstream.address().port());
            upstreams.push((name.clone(), upstream));
        }
        let mut dead = Vec::new();
        for name in &case.dead {
            let (address, guard) = dead_address();
            setup = setup.name(name, address);
            dead.push(guard);
        }
        let nameserver = case.names.as_deref().map(NameServer::knowing);
        if let Some(server) = &nameserver {
            setup = setup.name("names", server.address());
        }
        let proxy = Proxy::start(program, &setup);
        let names = proxy.names();
        Self {
            proxy,
            upstreams,
            names,
            access_seen: 0,
            error_seen: 0,
            _dead: dead,
            _names: nameserver,
        }
    }

    fn play(&mut self, client: &CaseClient, lines: usize) -> Outcome {
        for (_, upstream) in &self.upstreams {
            upstream.forget();
        }
        let mut talk = Talk::new(self, client.over);
        let begun = Instant::now();
        for step in &client.steps {
            talk.perform(step);
        }
        if begun.elapsed() > SLOW {
            eprintln!("slow: {} took {:?}", client.name, begun.elapsed());
        }
        let mut connections = talk.finish();
        self.proxy.mark();
        for connection in &mut connections {
            connection.look_at_the_end();
        }
        let client_text = connections.iter().map(|one| one.text.as_str()).collect::<Vec<_>>();
        let client_text = self.names.hide(&client_text.join("\n"));
        // A tunnel's line comes when the worker has seen its end, whenever that is.
        let lines = lines.max(connections.iter().filter(|one| one.switched).count());
        drop(connections);
        // The end of a tunnel and the first marker may come in one turn of the program's loop.
        self.proxy.mark();
        self.proxy.mark();
        let log = self.log(lines);
        Outcome {
            client: client_text,
            upstream: self.upstream_text(),
            log,
            errors: self.errors(client.errors),
        }
    }

    fn upstream_text(&self) -> String {
        let one = |(name, upstream): &(String, Upstream)| {
            self.names.hide(&outcome::upstream(name, &upstream.received()))
        };
        self.upstreams.iter().map(one).collect()
    }

    /// The new lines of the access log; waits for `lines` of them.
    fn log(&mut self, lines: usize) -> String {
        let end = Instant::now() + LOG_PATIENCE;
        while self.proxy.access_log().len() < self.access_seen + lines && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let all = self.proxy.access_log();
        let new = self.names.hide(&all[self.access_seen..].join("\n"));
        self.access_seen = all.len();
        new
    }

    fn errors(&mut self, from: Errors) -> String {
        let log = self.proxy.error_log();
        let seen = log.lines().skip(self.error_seen);
        let new: Vec<_> = seen.filter_map(|line| outcome::error_line(line, from)).collect();
        self.error_seen = log.lines().count();
        self.names.hide(&new.join("\n"))
    }
}

/// What a client does over one or several connections.
struct Talk<'a> {
    stage: &'a Stage,
    over: Over,
    visitor: Visitor,
    done: Vec<Connection>,
    current: Connection,
}

struct Connection {
    client: Client,
    text: String,
    end: Option<End>,
    /// A 101 has come: what follows is a tunnel's.
    switched: bool,
}

impl<'a> Talk<'a> {
    fn new(stage: &'a Stage, over: Over) -> Self {
        let current = Connection::open(stage, over);
        Self { stage, over, visitor: Visitor::default(), done: Vec::new(), current }
    }

    fn perform(&mut self, step: &Step) {
        match step {
            Step::New => {
                let next = Connection::open(self.stage, self.over);
                self.done.push(std::mem::replace(&mut self.current, next));
            }
            Step::Tls(greeting) => self.current.greet(self.visitor.greet(greeting)),
            Step::Seen(count) => self.wait_for_upstreams(*count),
            step => self.current.perform(step),
        }
    }

    fn wait_for_upstreams(&self, count: usize) {
        crate::until("the upstreams see the requests", LOG_PATIENCE, || {
            let seen = self.stage.upstreams.iter().map(|(_, one)| one.requests().len());
            seen.sum::<usize>() >= count
        });
    }

    fn finish(mut self) -> Vec<Connection> {
        self.done.push(self.current);
        self.done
    }
}

impl Connection {
    fn open(stage: &Stage, over: Over) -> Self {
        let client = stage.proxy.client(over);
        Self { client, text: String::new(), end: None, switched: false }
    }

    fn greet(&mut self, connection: rustls::Connection) {
        let told = self.client.secure(connection);
        self.end = if told.is_err() { Some(End::Closed) } else { None };
        let told = told.unwrap_or_else(|refused| refused);
        self.text.push_str(&format!("[tls {told}]\n"));
    }

    fn perform(&mut self, step: &Step) {
        if self.end.is_some() {
            return;
        }
        match step {
            // A proxy that has answered may have closed already; the answer tells.
            Step::Send(bytes) => drop(self.client.offer(bytes)),
            Step::Response => self.read(ReadAs::Response),
            Step::HeadResponse => self.read(ReadAs::HeadResponse),
            Step::Head => match Message::read_head(self.client.wire()) {
                Ok(message) => self.take(&message, ReadAs::HeadResponse),
                Err(end) => self.ended(end),
            },
            Step::Read(count) => match self.client.wire().exactly(*count) {
                Ok(bytes) => self.show(&bytes),
                Err(end) => self.ended(end),
            },
            Step::Rest => self.read_rest(),
            Step::Fin => self.client.fin(),
            Step::Reset => {
                let linger = rustix::net::sockopt::set_socket_linger;
                let stream = self.client.wire().stream();
                linger(stream, Some(Duration::ZERO)).expect("SO_LINGER");
                self.end = Some(End::Reset);
            }
            Step::Pause => self.client.settle(),
            Step::Wait(time) => std::thread::park_timeout(*time),
            other => panic!("{other:?} is not a client's step"),
        }
    }

    /// Reads up to the final response.
    fn read(&mut self, how: ReadAs) {
        loop {
            let message = match self.client.read(how) {
                Ok(message) => message,
                Err(end) => return self.ended(end),
            };
            self.take(&message, how);
            if self.end.is_some() {
                return;
            }
            if !matches!(message.status(), 100 | 102 | 103) {
                let closes = message.field("connection").is_some_and(|value| value == "close");
                if closes {
                    // A proxy that lingers waits for the client's end.
                    self.client.fin();
                    self.client.patience(CLOSE_PATIENCE);
                    self.perform(&Step::Rest);
                }
                return;
            }
        }
    }

    /// Everything until the end: messages as long as there are whole ones, then bytes.
    fn read_rest(&mut self) {
        while self.end.is_none() && !self.switched {
            match self.client.read(ReadAs::Response) {
                Ok(message) => self.take(&message, ReadAs::Response),
                Err(end) => self.ended(end),
            }
        }
        if self.end.is_none() {
            let (bytes, end) = self.client.rest();
            self.show(&bytes);
            self.ended(end);
        }
    }

    fn take(&mut self, message: &Message, how: ReadAs) {
        self.text.push_str(&outcome::response(message, how));
        self.switched |= message.status() == 101;
        if let Some(end) = message.end {
            self.ended(end);
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.text.push_str(&outcome::bytes(bytes));
            self.text.push('\n');
        }
    }

    fn ended(&mut self, end: End) {
        let left = self.client.wire().take_buffer();
        self.show(&left);
        self.end = Some(end);
    }

    /// Sees whether the proxy has closed, after it has done what was asked.
    fn look_at_the_end(&mut self) {
        if self.end.is_none() {
            self.client.patience(GLANCE);
            let (bytes, end) = self.client.rest();
            self.show(&bytes);
            self.end = Some(end);
        }
        self.text.push_str(outcome::end(self.end));
        self.text.push('\n');
    }
}

const LOG_PATIENCE: Duration = Duration::from_secs(3);
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// A case that takes longer waits for something that does not come; it should not.
const SLOW: Duration = Duration::from_secs(1);
/// The program has answered a later request already, so that this waits for nothing.
const GLANCE: Duration = Duration::from_millis(5);
