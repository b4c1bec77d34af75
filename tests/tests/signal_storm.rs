//! Signals in any order and during each other, by seed: no tunnel is lost unless a signal says so.
//!
//! A model of what runs decides what may be sent; the program decides when it is done with it. What
//! ends a program is waited for, nothing else is.

use std::time::Duration;

use perdura_tests::{
    Carriers, Census, Client, Payload, Program, Proxy, Tunnel, Upstream, chat, seed, until,
};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(40);

/// What runs, as far as the signals say.
struct Model<'a> {
    proxy: &'a Proxy,
    /// One program, or an older and a newer one.
    masters: Vec<Pid>,
    chance: Payload,
    /// What was done, for who has to read it.
    story: Vec<String>,
}

impl Model<'_> {
    fn any(&mut self) -> Pid {
        let at = self.chance.below(self.masters.len());
        self.masters[at]
    }

    fn send(&mut self, to: Pid, signal: Signal) {
        self.story.push(format!("{signal:?} to {}", to.as_raw_nonzero()));
        kill_process(to, signal).expect("a master that runs takes a signal");
    }

    /// Something that disturbs and ends nothing.
    fn disturb(&mut self) {
        let to = self.any();
        match self.chance.below(5) {
            0 => self.send(to, Signal::USR1),
            1 => self.send(to, Signal::WINCH),
            2 => self.kill_worker(to),
            _ => self.send(to, Signal::HUP),
        }
        // Some come together, others a little later.
        if self.chance.below(2) == 0 {
            std::thread::park_timeout(Duration::from_micros(self.chance.below(15_000) as u64));
        }
    }

    fn kill_worker(&mut self, of: Pid) {
        let others = |pid: &Pid| !self.masters.contains(pid);
        let name = |pid: &Pid| {
            let path = format!("/proc/{}/comm", pid.as_raw_nonzero());
            std::fs::read_to_string(path).is_ok_and(|name| name.trim() == "perdura: worker")
        };
        let worker = Census::children(of).into_iter().filter(others).find(name);
        if let Some(worker) = worker {
            self.story.push(format!("KILL to worker {}", worker.as_raw_nonzero()));
            // It may have ended by itself.
            let _ = kill_process(worker, Signal::KILL);
        }
    }

    /// A new program, which then serves beside the old one.
    fn begin(&mut self) {
        let old = self.masters[0];
        self.send(old, Signal::USR2);
        for _ in 0..self.chance.below(3) {
            self.disturb();
        }
        let mut new = None;
        until("a new program serves", PATIENCE, || {
            let text = self.proxy.folder().text("proxy.pid");
            let pid = text.trim().parse().ok().and_then(Pid::from_raw);
            new = pid.filter(|pid| *pid != old);
            let number = new.map_or(0, |pid| pid.as_raw_nonzero().get());
            self.proxy.error_log().contains(&format!("master process {number} serves"))
        });
        self.masters.extend(new);
    }

    /// One of two ends gracefully: its tunnels move to the other.
    fn finish(&mut self) {
        let leaves = self.any();
        self.send(leaves, Signal::QUIT);
        for _ in 0..self.chance.below(3) {
            let stays = *self.masters.iter().find(|pid| **pid != leaves).expect("there are two");
            match self.chance.below(3) {
                0 => self.kill_worker(stays),
                _ => self.send(stays, Signal::HUP),
            }
        }
        until("the one that was told to has ended", PATIENCE, || {
            !Census::runs(leaves, &Program::Perdura.binary())
        });
        self.masters.retain(|pid| *pid != leaves);
        let stays = self.masters[0].as_raw_nonzero().to_string();
        // Its own end of the upgrade is over as well: then the next one may begin.
        until("the names are as they were", PATIENCE, || {
            self.proxy.folder().text("proxy.pid").trim() == stays
                && !self.proxy.folder().path().join("proxy.pid.oldbin").exists()
        });
    }

    fn step(&mut self) {
        match (self.masters.len(), self.chance.below(6)) {
            (1, 0) => self.begin(),
            (2, 0 | 1) => self.finish(),
            _ => self.disturb(),
        }
    }
}

impl Drop for Model<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story.join("\n"));
        }
        for pid in self.masters.iter().flat_map(|pid| Census::family(*pid)) {
            if pid != self.proxy.pid() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

#[test]
fn no_tunnel_is_lost_whatever_comes_together() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, "location = /a { return 204; }"));
    let seed = seed();
    let carriers = Carriers::begin(proxy.address(), 2, seed);
    let mut quiet: Vec<_> = (0..30).map(|_| Tunnel::open(proxy.address())).collect();
    let chance = Payload::new(seed ^ 0x5163);
    let mut model =
        Model { proxy: &proxy, masters: vec![proxy.pid()], chance, story: vec![format!("{seed}")] };
    for _ in 0..STEPS {
        model.step();
        let one = model.chance.below(quiet.len());
        quiet[one].echo(b"one of many");
    }
    carriers.wait_for_more();
    for tunnel in &mut quiet {
        tunnel.echo(b"all of them");
    }
    until("clients are served", PATIENCE, || {
        let mut client = Client::connect(proxy.address());
        let asked = client.offer(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut read = || client.read(perdura_tests::ReadAs::Response);
        asked.is_ok() && read().is_ok_and(|answer| answer.status() == 204)
    });
    carriers.end();
}

const STEPS: usize = 60;
