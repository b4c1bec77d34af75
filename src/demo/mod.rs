//! `perdura demo`: a WebSocket tunnel to look at, without any configuration of one's own.
//!
//! Three processes: the master and its worker as always, and a small echo server as the upstream. The
//! configuration is written to a folder of its own, which goes with the demo.

mod echo;
mod frame;
mod handshake;
mod sha1;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use perdura_conf::errno_text;
use perdura_proxy::Options;
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid,
};

use crate::cli::Command;
use crate::master::{self, Forked};
use crate::report::{self, Report};
use crate::signal;

/// The port that is tried first, and how many behind it.
const PORT: u16 = 8080;
const PORTS_TRIED: u16 = 100;

/// How often a port that was free may turn out to be taken.
const ATTEMPTS: u32 = 3;

/// Runs until Ctrl-C; gives the exit code.
pub fn run() -> u8 {
    if std::io::stdin().is_terminal() {
        // A closed terminal says HUP, which is a reload for a master: the demo goes with its shell.
        // Where this is refused, Ctrl-C still ends it.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
    }
    let demo = match Demo::prepare() {
        Ok(demo) => demo,
        Err(error) => {
            report::line(&format!("[emerg] demo: {}", errno_text(&error)));
            return 1;
        }
    };
    let code = demo.serve();
    demo.end();
    code
}

struct Demo {
    folder: PathBuf,
    /// Where the echo server listens.
    upstream: u16,
    echo: Pid,
}

impl Demo {
    fn prepare() -> io::Result<Demo> {
        signal::hold()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let upstream = listener.local_addr()?.port();
        let folder = own_folder()?;
        match start(&listener, &folder) {
            Ok(echo) => Ok(Demo { folder, upstream, echo }),
            Err(error) => {
                // The first error is the one to report.
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// Serves on the first free port. Somebody else may take it in the moment between the look and
    /// the bind; then there is a next one.
    fn serve(&self) -> u8 {
        let mut code = 1;
        for _ in 0..ATTEMPTS {
            let ready = free_port().and_then(|port| {
                fs::write(conf_in(&self.folder), conf(&self.folder, port, self.upstream))?;
                Ok(port)
            });
            let port = match ready {
                Ok(port) => port,
                Err(error) => {
                    report::line(&format!("[emerg] demo: {}", errno_text(&error)));
                    return 1;
                }
            };
            let mut listened = false;
            let mut report = Report::new(&Command::default());
            code = master::serve(self.options(), &mut report, || {
                listened = true;
                self.explain(port);
            });
            if listened {
                break;
            }
        }
        code
    }

    fn options(&self) -> Options {
        let mut prefix = self.folder.clone().into_os_string();
        prefix.push("/");
        Options {
            conf: conf_in(&self.folder),
            prefix: prefix.into(),
            globals: String::new(),
            error_log: None,
        }
    }

    fn explain(&self, port: u16) {
        let master = std::process::id();
        if port != PORT {
            say(&format!("Port {PORT} is taken; using {port}.\n"));
        }
        say(&format!(
            "\
Perdura is listening. Open this page:

    http://127.0.0.1:{port}/

It holds a WebSocket through the proxy. See what the tunnel does when you

    kill the worker:    pkill -KILL -P {master} -x 'perdura: worker'
    reload:             kill -HUP {master}

It runs on {}. Press Ctrl-C to end.
",
            conf_in(&self.folder).display()
        ));
    }

    fn end(self) {
        // Both may be gone already, which is as good.
        let _ = kill_process(self.echo, Signal::KILL);
        let _ = waitpid(Some(self.echo), WaitOptions::empty());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A closed terminal is no reason to fail.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn conf_in(folder: &Path) -> PathBuf {
    folder.join("nginx.conf")
}

/// The configuration: nginx's WebSocket page, with what it needs around to be whole.
fn conf(folder: &Path, port: u16, upstream: u16) -> String {
    include_str!("nginx.conf")
        .replace("@pid@", &folder.join("perdura.pid").display().to_string())
        .replace("@port@", &port.to_string())
        .replace("@upstream@", &upstream.to_string())
}

fn free_port() -> io::Result<u16> {
    let mut refusal = io::Error::from(io::ErrorKind::AddrInUse);
    for port in PORT..PORT + PORTS_TRIED {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// A folder that nobody else has made or can look into.
fn own_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("perdura-demo-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Starts the upstream: a process of its own, because the master must have one thread only.
fn start(listener: &TcpListener, folder: &Path) -> io::Result<Pid> {
    let master = rustix::process::getpid();
    match master::fork()? {
        Forked::Parent(child) => Ok(child),
        Forked::Child => {
            // Ctrl-C reaches every process of the terminal; the master ends this one.
            let settled = signal::ignore(libc::SIGINT).is_ok()
                && set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
            // The name is for people; without it the echo works.
            let _ = rustix::thread::set_name(c"perdura: echo");
            if settled && rustix::process::getppid() == Some(master) {
                let conf = conf_in(folder);
                echo::serve(listener, || {
                    // It is there as long as the demo is.
                    page(&fs::read_to_string(&conf).unwrap_or_default(), master)
                });
            }
            master::exit(1)
        }
    }
}

fn page(conf: &str, master: Pid) -> String {
    let conf = conf.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    include_str!("page.html")
        .replace("@version@", env!("CARGO_PKG_VERSION"))
        .replace("@master@", &master.as_raw_nonzero().to_string())
        .replace("@conf@", conf.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_whole() {
        let conf = conf(Path::new("/tmp/demo"), 8081, 40_000);
        assert!(!conf.contains('@'), "{conf}");
        for line in [
            "pid /tmp/demo/perdura.pid;",
            "listen 127.0.0.1:8081;",
            "server 127.0.0.1:40000;",
            "map $http_upgrade $connection_upgrade {",
            "proxy_set_header Connection $connection_upgrade;",
        ] {
            assert!(conf.contains(line), "{line}");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page("a < b && c;\n", Pid::INIT);
        assert!(page.contains("a &lt; b &amp;&amp; c;</code>"), "the configuration is text");
        for placeholder in ["@conf@", "@master@", "@version@"] {
            assert!(!page.contains(placeholder), "{placeholder}");
        }
        for reference in ["src=", "href=\"http", "url(", "@import"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }
}
