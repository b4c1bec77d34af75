//! The program's life: signals, the pid file, logs that are opened anew, exit codes.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use perdura_tests::{
    Client, End, Folder, Program, Proxy, Setup, Tunnel, Upstream, chat, free_port, until,
};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(8);

fn simple() -> Setup {
    Setup::server("location / { return 200 \"ok\"; }")
}

/// Runs the program with arguments and a folder of its own.
fn run(folder: &Folder, arguments: &[&str]) -> Output {
    Command::new(Program::examined().binary())
        .args(["-p"])
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn term_and_int_end_it_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let upstream = Upstream::echo();
        let mut proxy = Proxy::examined(&chat(&upstream, ""));
        let mut tunnel = Tunnel::open(proxy.address());
        proxy.signal(signal);
        assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
        assert_ne!(tunnel.client.rest().1, End::Silent);
        assert!(!proxy.folder().path().join("proxy.pid").exists(), "the pid file is gone");
    }
}

#[test]
fn quit_finishes_what_is_open() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    proxy.signal(Signal::QUIT);
    let address = proxy.address();
    until("it no longer listens", LIMIT, || std::net::TcpStream::connect(address).is_err());
    tunnel.echo(b"still here");
    assert!(proxy.is_running(), "it waits for the tunnel");
    drop(tunnel);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
}

#[test]
fn quit_ends_with_the_shutdown_timeout() {
    let upstream = Upstream::echo();
    let setup = chat(&upstream, "").main("worker_shutdown_timeout 500ms;");
    let mut proxy = Proxy::examined(&setup);
    let mut tunnel = Tunnel::open(proxy.address());
    proxy.signal(Signal::QUIT);
    assert_ne!(tunnel.client.rest().1, End::Silent);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
}

#[test]
fn the_pid_file_names_the_master_and_goes_with_it() {
    let mut proxy = Proxy::examined(&simple());
    let written = proxy.folder().text("proxy.pid");
    assert_eq!(written.trim(), proxy.pid().as_raw_nonzero().to_string());
    proxy.stop();
    assert!(!proxy.folder().path().join("proxy.pid").exists());
}

#[test]
fn usr1_opens_the_logs_anew() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, "location = /a { return 204; }"));
    Client::get(proxy.address(), "/a");
    proxy.wait_for_log(1);
    let log = proxy.folder().path().join("access.log");
    let moved = proxy.folder().path().join("access.log.1");
    std::fs::rename(&log, &moved).expect("the log can be moved");
    Client::get(proxy.address(), "/a");
    until("the moved file is still written", LIMIT, || {
        let lines = std::fs::read_to_string(&moved).unwrap_or_default();
        lines.lines().filter(|line| line.contains("GET /a ")).count() == 2
    });
    let mut tunnel = Tunnel::open(proxy.address());
    proxy.signal(Signal::USR1);
    until("the log is there again", LIMIT, || log.exists());
    tunnel.echo(b"still here");
    until("new lines go to the new file", LIMIT, || {
        Client::get(proxy.address(), "/a");
        std::fs::read_to_string(&log).is_ok_and(|text| !text.is_empty())
    });
}

#[test]
fn the_signal_option_reaches_the_running_program() {
    let mut proxy = Proxy::examined(&simple());
    let conf = proxy.folder().path().join("proxy.conf");
    let conf = conf.display().to_string();
    for order in ["reopen", "reload"] {
        let output = run(proxy.folder(), &["-c", &conf, "-s", order]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
    assert_eq!(Client::get(proxy.address(), "/").text(), "ok");
    let output = run(proxy.folder(), &["-c", &conf, "-s", "quit"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    let output = run(proxy.folder(), &["-c", &conf, "-s", "stop"]);
    assert_eq!(output.status.code(), Some(1), "nobody is there any more");
}

#[test]
fn a_taken_port_is_told_and_ends_the_start() {
    let first = Proxy::examined(&simple());
    let folder = Folder::new("taken");
    let conf = format!(
        "daemon off; pid @/pid; error_log stderr; events {{ }} http {{ access_log off; \
         server {{ listen {}; }} }}",
        first.address()
    );
    folder.write("a.conf", conf.replace('@', &folder.path().display().to_string()).as_bytes());
    let output = run(&folder, &["-c", "a.conf", "-e", "stderr"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("[emerg]") && said.contains("98: Address already in use"), "{said}");
    assert!(!folder.path().join("pid").exists());
}

#[test]
fn daemon_on_leaves_the_terminal_and_serves() {
    let folder = Folder::new("daemon");
    let port = free_port();
    let conf = format!(
        "pid @/pid; error_log @/error.log; events {{ }} http {{ access_log off; \
         client_body_temp_path @/t; proxy_temp_path @/t; NGINX \
         server {{ listen 127.0.0.1:{port}; return 204; }} }}"
    );
    let only_nginx = match Program::examined() {
        Program::Nginx => "fastcgi_temp_path @/t; uwsgi_temp_path @/t; scgi_temp_path @/t;",
        Program::Perdura => "",
    };
    let conf = conf.replace("NGINX", only_nginx);
    folder.write("a.conf", conf.replace('@', &folder.path().display().to_string()).as_bytes());
    let output = run(&folder, &["-c", "a.conf", "-e", "stderr"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    until("it serves", LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let address = ([127, 0, 0, 1], port).into();
    assert_eq!(Client::get(address, "/").status(), 204);
    until("the pid file is there", LIMIT, || !folder.text("pid").trim().is_empty());
    let output = run(&folder, &["-c", "a.conf", "-e", "stderr", "-s", "stop"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    until("the pid file is gone", LIMIT, || !folder.path().join("pid").exists());
}

#[test]
fn bad_options_are_told() {
    let folder = Folder::new("options");
    for (arguments, words) in [
        (&["-x"][..], "invalid option: \"x\""),
        (&["-s", "foo"], "invalid option: \"-s foo\""),
        (&["-c"], "option \"-c\" requires file name"),
        (&["word"], "invalid option: \"word\""),
    ] {
        let output = Command::new(Program::examined().binary())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    drop(folder);
}

#[test]
fn a_missing_configuration_is_told() {
    let folder = Folder::new("missing");
    let output = run(&folder, &["-t", "-c", "none.conf", "-e", "stderr"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1));
    let wanted = format!(
        "open() \"{}/none.conf\" failed (2: No such file or directory)",
        folder.path().display()
    );
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn versions_are_told() {
    let folder = Folder::new("version");
    let output = run(&folder, &["-v"]);
    assert!(text(&output).contains(&format!("{} version: ", Program::examined().name())));
    let output = run(&folder, &["-V"]);
    assert_eq!(output.status.code(), Some(0));
    if Program::examined() == Program::Perdura {
        assert!(text(&output).contains("nginx version: nginx/1.31.5 (compatibility level)"));
    }
}
