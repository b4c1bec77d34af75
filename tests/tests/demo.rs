//! `perdura demo`: what a person sees who has no configuration.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use perdura_tests::{Client, Peer, Program, Tunnel, until};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(15);

struct Demo {
    child: Child,
    url: String,
    said: Vec<String>,
    lines: Receiver<String>,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(Program::Perdura.binary())
            .arg("demo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let (sender, lines) = channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("a pipe")),
            Box::new(child.stderr.take().expect("a pipe")),
        ];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let mut demo = Self { child, url: String::new(), said: Vec::new(), lines };
        demo.wait_for_url();
        demo
    }

    fn wait_for_url(&mut self) {
        let end = Instant::now() + LIMIT;
        while self.url.is_empty() {
            assert!(Instant::now() < end, "no address in {:?}", self.said);
            let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) else { continue };
            if let Some(at) = line.find("http://127.0.0.1:") {
                let rest = &line[at + "http://".len()..];
                let stop = rest.find(|one: char| !(one.is_ascii_digit() || ".:".contains(one)));
                self.url = rest[..stop.unwrap_or(rest.len())].trim_end_matches('.').to_owned();
            }
            self.said.push(line);
        }
        let address = self.address();
        until("the demo serves", LIMIT, || std::net::TcpStream::connect(address).is_ok());
    }

    fn address(&self) -> std::net::SocketAddr {
        self.url.parse().expect("an address and a port")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_a_page_and_a_tunnel() {
    let demo = Demo::start();
    let page = Client::get(demo.address(), "/");
    assert_eq!(page.status(), 200);
    let text = page.text();
    assert!(text.contains("<!doctype html>") || text.contains("<!DOCTYPE html>"), "{text}");
    assert!(!text.contains("https://") && !text.contains("src=\"//"), "no foreign resource");
    Tunnel::open(demo.address());
}

#[test]
fn it_takes_the_next_port_when_its_own_is_taken() {
    let held = TcpListener::bind("127.0.0.1:8080");
    let demo = Demo::start();
    assert_eq!(Client::get(demo.address(), "/").status(), 200);
    if held.is_ok() {
        assert_ne!(demo.address().port(), 8080);
    }
}

#[test]
fn ctrl_c_ends_it() {
    let mut demo = Demo::start();
    kill_process(Pid::from_child(&demo.child), Signal::INT).expect("a signal");
    let address = demo.address();
    until("it ends", LIMIT, || demo.child.try_wait().is_ok_and(|status| status.is_some()));
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody serves any more");
}

#[test]
fn a_browser_sees_round_trips() {
    let demo = Demo::start();
    let url = format!("http://{}/", demo.address());
    let browser = Peer::browser("browser.js", &[&url]);
    let line = browser.line(Duration::from_secs(60));
    assert!(line.contains("\"faults\":[]"), "{line}");
    assert!(line.contains("\"hasConf\":true"), "{line}");
    let received = line.split("\"received\":").nth(1).and_then(|rest| rest.split(',').next());
    let received: u32 = received.and_then(|digits| digits.parse().ok()).unwrap_or(0);
    assert!(received >= 3, "{line}");
}
