//! The Debian package: it can be built, installed into a folder, started from there, and removed.
//!
//! Needs dpkg; where there is none, the tests say that they were skipped. Nothing outside the
//! test's own folder is touched.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use perdura_tests::{Client, Folder, Program, free_port, root};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(60);

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// A folder in which a package can be installed.
struct Scratch {
    folder: Folder,
}

impl Scratch {
    fn new() -> Self {
        let folder = Folder::new("package");
        for name in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "run", "tmp"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        folder.write("var/lib/dpkg/status", b"");
        // The user is there already: making one is for root alone.
        folder.write("etc/passwd", b"perdura:x:990:990::/var/lib/perdura:/usr/sbin/nologin\n");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dpkg(&self, arguments: &[&str]) -> Output {
        Command::new("dpkg")
            .arg(format!("--root={}", self.folder.path().display()))
            .args(["--force-not-root", "--force-script-chrootless", "--force-depends"])
            .args(["--force-bad-path", "--force-confold"])
            .arg(format!("--log={}", self.path("dpkg.log").display()))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("dpkg runs")
    }
}

fn has_dpkg() -> bool {
    let there = Command::new("dpkg-deb").arg("--version").output().is_ok();
    if !there {
        println!("skipped: dpkg-deb is not here");
    }
    there
}

fn build(folder: &Path) -> PathBuf {
    let output = Command::new(root().join("packaging/build-deb"))
        .arg(Program::Perdura.binary())
        .args(["0.1.0"])
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the script runs");
    assert!(output.status.success(), "{}", said(&output));
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    path.lines().last().expect("a path").into()
}

/// The modes in a package become those of the system's own folders, up to the root.
fn assert_folders_are_open_to_all(deb: &str) {
    let output = Command::new("dpkg-deb").args(["-c", deb]).output().expect("dpkg-deb runs");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let folders: Vec<_> = list.lines().filter(|line| line.starts_with('d')).collect();
    assert!(folders.len() > 10, "{list}");
    for folder in folders.iter().filter(|line| !line.ends_with("/var/log/perdura/")) {
        assert!(folder.starts_with("drwxr-xr-x root/root "), "{folder}");
    }
}

/// The program of the package, started as the unit starts it.
struct Started(Child);

impl Started {
    fn new(scratch: &Scratch, conf: &Path, manager: &Path) -> Self {
        let child = Command::new(scratch.path("usr/sbin/perdura"))
            .args(["-g", "daemon off;", "-c"])
            .arg(conf)
            .env("NOTIFY_SOCKET", manager)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    /// Ends it and gives what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::QUIT).expect("it takes a signal");
        let status = self.0.wait().expect("it ends");
        let mut text = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        (status.code(), text)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // After `end` there is nobody any more, and its number is still ours to know that.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The configuration of the package, with every path inside the folder and a free port.
fn moved(scratch: &Scratch, port: u16) -> String {
    let text = std::fs::read_to_string(scratch.path("etc/perdura/perdura.conf"));
    let mut text = text.expect("the configuration of the package");
    let user = "user perdura;";
    assert!(text.contains(user) && text.contains("listen 80 default_server;"));
    let folder = scratch.folder.path().display();
    for place in ["/var/", "/run/", "/usr/", "/etc/"] {
        text = text.replace(&format!(" {place}"), &format!(" {folder}{place}"));
    }
    // There is no such user here.
    text.replace(user, if rustix::process::getuid().is_root() { "user root;" } else { "" })
        .replace("listen 80 ", &format!("listen 127.0.0.1:{port} "))
}

#[test]
fn it_installs_starts_and_goes_again() {
    if !has_dpkg() {
        return;
    }
    let scratch = Scratch::new();
    let deb = build(&scratch.path("tmp"));
    let deb = deb.to_str().expect("a path in UTF-8");
    assert_folders_are_open_to_all(deb);
    let output = scratch.dpkg(&["-i", deb]);
    assert!(output.status.success(), "{}", said(&output));

    let manager = scratch.path("run/notify");
    let ear = UnixDatagram::bind(&manager).expect("a socket");
    ear.set_read_timeout(Some(LIMIT)).expect("a limit");
    let port = free_port();
    let conf = scratch.folder.write("tmp/moved.conf", moved(&scratch, port).as_bytes());
    let program = Started::new(&scratch, &conf, &manager);
    let mut buffer = [0; 512];
    let length = ear.recv(&mut buffer).expect("it is ready in time");
    let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(message.contains("READY=1"), "{message}");
    let page = Client::get(([127, 0, 0, 1], port).into(), "/");
    assert_eq!(page.status(), 200);
    assert!(String::from_utf8_lossy(&page.body).contains("Perdura serves"));
    let (code, stderr) = program.end();
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "nothing to complain of");
    let log = std::fs::read_to_string(scratch.path("var/log/perdura/access.log"));
    assert!(log.expect("an access log").contains("GET / HTTP/1.1"));

    // What the administrator wrote stays over another installation, and goes with a purge.
    let own = scratch.path("etc/perdura/perdura.conf");
    std::fs::write(&own, "events { }\n").expect("a configuration of one's own");
    let output = scratch.dpkg(&["-i", deb]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(std::fs::read_to_string(&own).expect("it stays"), "events { }\n");
    let output = scratch.dpkg(&["-P", "perdura"]);
    assert!(output.status.success(), "{}", said(&output));
    for gone in ["usr/sbin/perdura", "etc/perdura/perdura.conf", "var/log/perdura"] {
        assert!(!scratch.path(gone).exists(), "{gone} is left");
    }
}

/// bash completes from the file of the package; the words come from the tables.
#[test]
fn bash_completes() {
    let script = r#"
        source "$1"
        COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); _perdura
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let complete = |words: &[&str]| -> Vec<String> {
        let folder = Program::Perdura.binary();
        let folder = folder.parent().expect("a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-c", script, "bash"])
            .arg(root().join("packaging/completions/perdura.bash"))
            .args(words)
            .env("PATH", format!("{folder}:{path}"))
            .output();
        let output = output.expect("bash runs");
        assert!(output.stderr.is_empty(), "{}", said(&output));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    };
    assert_eq!(complete(&["perdura", "-s", "re"]), ["reopen", "reload"]);
    assert_eq!(complete(&["perdura", "tun"]), ["tunnels"]);
    assert_eq!(complete(&["perdura", "tunnels", "--c"]), ["--close"]);
    let names = complete(&["perdura", "--explain", "proxy_read_"]);
    assert_eq!(names, ["proxy_read_timeout"]);
}

/// The unit starts what the package brings, and systemd understands it, where there is one to ask.
#[test]
fn the_unit_is_understood() {
    let unit = root().join("packaging/perdura.service");
    let text = std::fs::read_to_string(&unit).expect("the unit");
    for line in ["Type=notify", "KillMode=process", "ExecReload=/bin/kill -HUP $MAINPID"] {
        assert!(text.lines().any(|one| one == line), "{line}");
    }
    // It wants to see the program where the unit says that it is.
    let folder = Folder::new("unit");
    let here = text.replace("/usr/sbin/perdura", &Program::Perdura.binary().display().to_string());
    let here = here.replace("Documentation=man:perdura(8)\n", "");
    let path = folder.write("perdura.service", here.as_bytes());
    match Command::new("systemd-analyze").arg("verify").arg(path).output() {
        Ok(output) => {
            let text = said(&output);
            let ours: Vec<_> =
                text.lines().filter(|line| line.contains("perdura.service")).collect();
            assert!(ours.is_empty(), "{ours:?}");
        }
        Err(error) => println!("skipped: systemd-analyze: {error}"),
    }
}

/// The formatter has nothing to complain of, where there is one to ask.
#[test]
fn the_manual_page_is_well_formed() {
    let page = root().join("packaging/perdura.8");
    match Command::new("man").args(["--warnings", "-l"]).arg(page).env("LC_ALL", "C.UTF-8").output()
    {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.stderr.is_empty(), "{}", said(&output));
            assert!(text.is_empty() || text.contains("upgrade"), "{text}");
        }
        Err(error) => println!("skipped: man: {error}"),
    }
}
