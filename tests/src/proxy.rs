//! The proxy: a real program, started with a generated configuration in a folder of its own,
//! and ended by its process id.

use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::case::Over;
use crate::census::Census;
use crate::client::Client;
use crate::folder::Folder;
use crate::outcome::Names;
use crate::port::free_port;
use crate::program::Program;
use crate::wait::until;

/// What a configuration is made of. In every text `@name@` stands for an address or a path:
/// `@listen@`, `@marker@`, `@dir@`, and what [`Setup::name`] adds.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    main: String,
    http: String,
    server: Option<String>,
    log_format: Option<String>,
    whole: Option<String>,
    files: Vec<(String, Vec<u8>)>,
    names: Vec<(String, String)>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    worker_processes: Option<u32>,
    worker_connections: Option<u32>,
    own_program: bool,
    daemon: bool,
}

impl Setup {
    /// A server whose block has this content.
    pub fn server(content: &str) -> Self {
        Self { server: Some(content.to_owned()), ..Self::default() }
    }

    /// Only what [`Setup::http`] adds: the test writes the server blocks itself.
    pub fn bare() -> Self {
        Self::default()
    }

    /// A complete configuration file.
    pub fn whole(text: &str) -> Self {
        Self { whole: Some(text.to_owned()), ..Self::default() }
    }

    /// Adds to the http block, before the server.
    pub fn http(mut self, content: &str) -> Self {
        self.http.push_str(content);
        self
    }

    /// Adds to the outermost context.
    pub fn main(mut self, content: &str) -> Self {
        self.main.push_str(content);
        self
    }

    pub fn name(mut self, name: &str, value: impl ToString) -> Self {
        self.names.push((name.to_owned(), value.to_string()));
        self
    }

    /// A file below the folder, written before the program starts.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// The access log's format, instead of [`LOG`].
    pub fn log_format(mut self, format: &str) -> Self {
        self.log_format = Some(format.to_owned());
        self
    }

    /// Other than 1.
    pub fn worker_processes(mut self, count: u32) -> Self {
        self.worker_processes = Some(count);
        self
    }

    /// Other than 512.
    pub fn worker_connections(mut self, count: u32) -> Self {
        self.worker_connections = Some(count);
        self
    }

    /// Runs a copy of the program in the actor's folder, which a test can replace.
    pub fn own_program(mut self) -> Self {
        self.own_program = true;
        self
    }

    /// Leaves the terminal, as `daemon on` does.
    pub fn daemon(mut self) -> Self {
        self.daemon = true;
        self
    }

    /// Something in the program's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    fn text(&self, program: Program) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let format = self.log_format.as_deref().unwrap_or(LOG);
        // nginx makes the folders of all its modules at start, wherever they were compiled to.
        let folders = match program {
            Program::Nginx => {
                "fastcgi_temp_path @dir@/temp; uwsgi_temp_path @dir@/temp; \
                 scgi_temp_path @dir@/temp;"
            }
            Program::Perdura => "",
        };
        let daemon = if self.daemon { "on" } else { "off" };
        let workers = self.worker_processes.unwrap_or(1);
        let connections = self.worker_connections.unwrap_or(512);
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let server = match &self.server {
            Some(content) => format!(
                "    server {{\n        listen @listen@;\n        root @dir@/html;\n\
                 {content}\n    }}\n"
            ),
            None => String::new(),
        };
        format!(
            "daemon {daemon};\nworker_processes {workers};\n{user}\nerror_log @dir@/error.log info;\n\
             pid @dir@/proxy.pid;\n{}\nevents {{ worker_connections {connections}; }}\n\
             http {{\n    {folders}\n    client_body_temp_path @dir@/temp;\n    \
             proxy_temp_path @dir@/temp;\n    \
             log_format case '{format}';\n    log_format marker '$request';\n    \
             access_log @dir@/access.log case;\n    \
             server {{ listen @marker@; access_log @dir@/access.log marker; \
             location / {{ return 204; }} }}\n{}\n{server}}}\n",
            self.main, self.http
        )
    }
}

pub struct Proxy {
    program: Program,
    binary: PathBuf,
    /// Of one that has left the terminal.
    daemon: Option<Pid>,
    child: Child,
    folder: Folder,
    setup: Setup,
    address: SocketAddr,
    marker: SocketAddr,
    markers_sent: usize,
    ended: Option<ExitStatus>,
    /// Processes that a killed master has left.
    left: Vec<Pid>,
}

impl Proxy {
    /// Starts the program and waits until a worker answers: sockets listen before that.
    #[track_caller]
    pub fn start(program: Program, setup: &Setup) -> Self {
        let mut proxy = Self::launch(program, setup);
        proxy.wait_until_it_serves();
        if setup.daemon {
            proxy.find_daemon();
        }
        if setup.whole.is_none() {
            proxy.mark();
        }
        proxy
    }

    /// The process that goes on when the one that was started has left.
    #[track_caller]
    fn find_daemon(&mut self) {
        self.wait_for_exit(START);
        let pid = || Pid::from_raw(self.folder.text("proxy.pid").trim().parse().ok()?);
        until("the daemon has a number", START, || pid().is_some());
        self.daemon = pid();
    }

    /// Starts the program under examination.
    #[track_caller]
    pub fn examined(setup: &Setup) -> Self {
        Self::start(Program::examined(), setup)
    }

    /// Starts the program and does not wait.
    pub fn launch(program: Program, setup: &Setup) -> Self {
        let folder = Folder::new("proxy");
        for leaf in ["html", "temp"] {
            std::fs::create_dir_all(folder.path().join(leaf)).expect("a folder of the proxy");
        }
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let marker = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let setup = setup.clone().name("listen", address).name("port", address.port());
        let setup = setup.name("marker", marker).name("dir", folder.path().display());
        let setup = setup.name("socket", folder.path().join(SOCKET).display());
        for (path, content) in &setup.files {
            let content = substitute_bytes(content, &setup.names);
            folder.write(path, &content);
        }
        folder.write("proxy.conf", substitute(&setup.text(program), &setup.names).as_bytes());
        let binary = match setup.own_program {
            true => copy(program, &folder),
            false => program.binary(),
        };
        let child = spawn(&binary, &folder, &setup);
        Self {
            program,
            binary,
            daemon: None,
            child,
            folder,
            setup,
            address,
            marker,
            markers_sent: 0,
            ended: None,
            left: Vec::new(),
        }
    }

    #[track_caller]
    fn wait_until_it_serves(&mut self) {
        let end = Instant::now() + START;
        loop {
            if TcpStream::connect(self.address).is_ok() {
                return;
            }
            let ended = self.child.try_wait().expect("the state of the program");
            if ended.is_some() || Instant::now() > end {
                self.ended = ended;
                panic!(
                    "{} does not serve ({ended:?}):\n{}",
                    self.program.name(),
                    self.complaints()
                );
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// What the program said on standard error and in its error log.
    pub fn complaints(&self) -> String {
        format!("{}{}", self.folder.text("stderr"), self.folder.text("error.log"))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client by the way that a case asks for; the configuration has to listen there.
    #[track_caller]
    pub fn client(&self, over: Over) -> Client {
        match over {
            Over::Ipv4 => Client::connect(self.address),
            Over::Ipv6 => Client::connect((Ipv6Addr::LOCALHOST, self.address.port()).into()),
            Over::Unix => Client::connect_unix(&self.folder.path().join(SOCKET)),
        }
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn program(&self) -> Program {
        self.program
    }

    /// Puts another program in the place of [`Setup::own_program`]'s, as an update does: what runs
    /// is not disturbed.
    pub fn replace_program(&self, text: &str) {
        assert!(self.setup.own_program, "the built program is not to be replaced");
        let text = self.folder.write("next.text", text.as_bytes());
        let new = self.folder.path().join("next");
        install(&text, &new);
        std::fs::rename(new, &self.binary).expect("a new program");
    }

    /// The process id of the master.
    pub fn pid(&self) -> Pid {
        self.daemon.unwrap_or(Pid::from_child(&self.child))
    }

    /// The processes under the master.
    pub fn workers(&self) -> Vec<Pid> {
        Census::children(self.pid())
    }

    /// All processes of the program.
    pub fn census(&self) -> Census {
        Census::take(self.pid())
    }

    /// Writes another configuration of the same names, without telling the program.
    pub fn rewrite(&mut self, setup: &Setup) {
        let mut names = self.setup.names.clone();
        names.extend(setup.names.clone());
        let text = substitute(&setup.text(self.program), &names);
        self.folder.write("proxy.conf", text.as_bytes());
    }

    /// Writes the configuration file as it is given, but for the names.
    pub fn rewrite_text(&mut self, text: &str) {
        self.folder.write("proxy.conf", substitute(text, &self.setup.names).as_bytes());
    }

    /// Kills the master; its workers live on, and end with this actor. Gives their numbers.
    #[track_caller]
    pub fn kill_master(&mut self) -> Vec<Pid> {
        let workers = self.workers();
        self.left.extend(&workers);
        self.signal(Signal::KILL);
        self.wait_for_exit(STOP);
        workers
    }

    /// Starts the program once more in the same folder, after its end, and does not wait.
    pub fn launch_again(&mut self) {
        self.left.extend(self.workers());
        self.child = spawn(&self.binary, &self.folder, &self.setup);
        self.ended = None;
    }

    /// The same, and waits until a worker of this start has begun.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.launch_again();
        until("it serves again", START, || !self.is_running() || !self.workers().is_empty());
        assert!(self.is_running(), "it has ended: {}", self.complaints());
        self.mark();
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the master takes a signal");
    }

    /// Waits for the program to end by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let child = &mut self.child;
        let mut status = None;
        until("the program ends", limit, || {
            status = child.try_wait().expect("the state of the program");
            status.is_some()
        });
        self.ended = status;
        status.expect("it has ended")
    }

    pub fn is_running(&mut self) -> bool {
        if let Some(pid) = self.daemon {
            return Census::runs(pid, &self.binary);
        }
        self.ended = self.ended.or(self.child.try_wait().expect("the state of the program"));
        self.ended.is_none()
    }

    /// The lines of the access log, without those of the marker server.
    pub fn access_log(&self) -> Vec<String> {
        let text = self.folder.text("access.log");
        text.lines().filter(|line| !line.contains(MARKER)).map(str::to_owned).collect()
    }

    /// Waits until the access log has at least `count` lines and returns it.
    #[track_caller]
    pub fn wait_for_log(&self, count: usize) -> Vec<String> {
        until("the access log is written", LOG_PATIENCE, || self.access_log().len() >= count);
        self.access_log()
    }

    pub fn error_log(&self) -> String {
        self.folder.text("error.log")
    }

    /// Waits until the error log holds `text`.
    #[track_caller]
    pub fn wait_for_error(&self, text: &str) {
        until(&format!("the error log says {text:?}"), LOG_PATIENCE, || {
            self.error_log().contains(text)
        });
    }

    /// Sends a request to the marker server and waits for its line: what the worker did
    /// before is in the log then.
    pub fn mark(&mut self) {
        self.markers_sent += 1;
        let target = format!("{MARKER}{}-", self.markers_sent);
        let answer = crate::Client::get(self.marker, &target);
        assert_eq!(answer.status(), 204, "the marker server answers");
        let log = || self.folder.text("access.log").contains(&target);
        until("the marker is logged", LOG_PATIENCE, log);
    }

    /// The names by which outcomes speak of this proxy's addresses.
    pub fn names(&self) -> Names {
        Names::new(&self.setup.names)
    }

    /// Ends the program as an operator would, and waits for it.
    pub fn stop(&mut self) {
        let family = Census::family(self.pid());
        if self.is_running() {
            let _ = kill_process(self.pid(), Signal::TERM);
        }
        let end = Instant::now() + STOP;
        while self.is_running() && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // A master that was killed leaves its workers; they were noted while it lived.
        let binary = &self.binary;
        let left = std::mem::take(&mut self.left);
        for pid in family.into_iter().chain(left).filter(|pid| *pid != self.pid()) {
            if Census::runs(pid, binary) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.program.name(), self.complaints());
        }
    }
}

fn copy(program: Program, folder: &Folder) -> PathBuf {
    let own = folder.path().join(program.name());
    install(&program.binary(), &own);
    own
}

/// Writes a file that can be run, by another process: while a file is open for writing it cannot be
/// run ("Text file busy"), and a child that some other thread is just starting would hold it open.
fn install(from: &Path, to: &Path) {
    let from = std::fs::File::open(from).expect("what is to be installed");
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"]).arg(to).stdin(from);
    assert!(writer.status().expect("a shell").success(), "{} is not written", to.display());
}

fn spawn(binary: &Path, folder: &Folder, setup: &Setup) -> Child {
    let stderr = std::fs::File::create(folder.path().join("stderr")).expect("a file for stderr");
    Command::new(binary)
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg(folder.path().join("proxy.conf"))
        .arg("-e")
        .arg(folder.path().join("error.log"))
        .args(&setup.arguments)
        // A service manager above the tests is not to hear of them.
        .env_remove("NOTIFY_SOCKET")
        .envs(setup.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()))
}

fn substitute(text: &str, names: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    // The latest name wins, so that a rewrite can give an old name a new meaning.
    for (name, value) in names.iter().rev() {
        text = text.replace(&format!("@{name}@"), value);
    }
    text
}

fn substitute_bytes(content: &[u8], names: &[(String, String)]) -> Vec<u8> {
    match std::str::from_utf8(content) {
        Ok(text) => substitute(text, names).into_bytes(),
        Err(_) => content.to_vec(),
    }
}

/// What is compared of the access log unless a case says otherwise. Byte counts of whole
/// responses are not in it, since the program's name has another length.
const LOG: &str = "$status \"$request\" $request_length $upstream_status";
/// In the folder.
const SOCKET: &str = "proxy.sock";
const MARKER: &str = "/-marker-";
const START: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(5);
const LOG_PATIENCE: Duration = Duration::from_secs(5);
