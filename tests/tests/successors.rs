//! New programs of an upgrade that are not what they should be, or find things otherwise: whatever
//! they do, no tunnel is lost.

use std::time::Duration;

use perdura_tests::{
    Census, Client, Peer, Proxy, Setup, Successors, Tunnel, Upstream, chat, order, page_conf, said,
    until,
};
use rustix::process::{Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(15);

fn setup(upstream: &Upstream) -> Setup {
    chat(upstream, "location = /a { return 204; }")
}

/// A program that says these words to the old master, one packet each, and then does nothing.
fn program(words: &[&str]) -> String {
    let says: String = words.iter().map(|word| format!("printf '{word}' >&$link\n")).collect();
    format!("#!/bin/bash\nlink=${{PERDURA#1;}}\nlink=${{link%%;*}}\n{says}exec sleep 600\n")
}

/// It serves, and speaks version 99.
const SERVES_99: &str = r"\001\143\000\000\000";
const SERVES: &str = r"\001\002\000\000\000";
const GO: &str = r"\006";
const LIVE: &str = r"\007\011\000\000\000";

/// A program that does its part of a move up to a step, and ends there. It hears one byte of each
/// packet, which is its word; the descriptors that come are closed.
fn part(steps: usize) -> String {
    let steps: String = STEPS[..steps]
        .iter()
        .map(|(word, answer)| format!("hear $'{word}'\n[ -z '{answer}' ] || say '{answer}'\n"))
        .collect();
    format!(
        "#!/bin/bash\nlink=${{PERDURA#1;}}\nlink=${{link%%;*}}\n\
         say() {{ printf \"$1\" >&$link; }}\n\
         hear() {{ while IFS= read -r -N1 -u $link word; do [ \"$word\" = \"$1\" ] && return; done\n\
         exit 3; }}\nsay '{SERVES}'\n{steps}exit 0\n"
    )
}

/// What comes in a move, and the answer to it: the offer, the batch, the standstill, the word that
/// lets go.
const STEPS: [(&str, &str); 4] = [
    (r"\003", ""),
    (r"\004", r"\005\000\000\000\000"),
    (r"\012", r"\013\000\000\000\000"),
    (r"\006", ""),
];

/// The new program ends behind each word of a move: the tunnels go on with the old one.
#[test]
fn one_that_ends_at_any_step_of_the_move_costs_no_tunnel() {
    let upstream = Upstream::echo();
    for steps in 0..=STEPS.len() {
        let mut proxy = Proxy::examined(&setup(&upstream).own_program());
        let mut tunnels: Vec<_> = (0..20).map(|_| Tunnel::open(proxy.address())).collect();
        proxy.replace_program(&part(steps));
        {
            let _end = Successors::of(&proxy);
            proxy.signal(Signal::USR2);
            proxy.wait_for_error("start new binary process");
            until("it serves or has ended", LIMIT, || {
                let log = proxy.error_log();
                log.contains(" serves") || log.contains("exited with code 0")
            });
            proxy.signal(Signal::QUIT);
            for tunnel in &mut tunnels {
                tunnel.echo(b"before and after");
            }
            proxy.wait_for_error("exited with code 0");
            for tunnel in &mut tunnels {
                tunnel.echo(b"its end has been seen");
            }
        }
        let taken_back = proxy.error_log().contains("they are taken back");
        // Behind its last answer the word that lets go may have been sent before its end is seen.
        let lets_go = STEPS.len() - 1;
        if steps != lets_go {
            assert_eq!(taken_back, steps > lets_go, "{}", proxy.error_log());
        }
        drop(tunnels);
        assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0), "with its last tunnel");
    }
}

#[test]
fn one_of_another_version_gets_no_tunnel() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream).own_program());
    let mut tunnel = Tunnel::open(proxy.address());
    proxy.replace_program(&program(&[SERVES_99]));
    proxy.signal(Signal::USR2);
    proxy.wait_for_error("moves tunnels in another way (version 99): ours stay");
    {
        let _end = Successors::of(&proxy);
        proxy.signal(Signal::QUIT);
        proxy.wait_for_error("shutting down");
        tunnel.echo(b"it stays with the old one");
    }
    drop(tunnel);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0), "which ends with its last tunnel");
}

#[test]
fn one_that_does_not_serve_in_time_is_ended() {
    let upstream = Upstream::echo();
    let setup = setup(&upstream).own_program().main("upgrade_start_timeout 300ms;");
    let proxy = Proxy::examined(&setup);
    let _end = Successors::of(&proxy);
    let mut tunnel = Tunnel::open(proxy.address());
    proxy.replace_program(&program(&[]));
    let output = order(&proxy, "upgrade");
    assert_eq!(output.status.code(), Some(1));
    let why = "the new program did not serve within 300 ms and is ended";
    assert!(said(&output).contains(why), "{}", said(&output));
    proxy.wait_for_error("exited on signal 15");
    until("the pid file is as before", LIMIT, || {
        proxy.folder().text("proxy.pid").trim() == proxy.pid().as_raw_nonzero().to_string()
    });
    tunnel.echo(b"undisturbed");
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
}

/// It says what only a giver says, or answers what nobody has asked.
#[test]
fn one_that_speaks_out_of_turn_costs_no_tunnel() {
    let upstream = Upstream::echo();
    for words in
        [&[GO][..], &[LIVE], &[r"\143"], &[SERVES, GO, LIVE], &[r"\011\000\000\000\000\000"]]
    {
        let proxy = Proxy::examined(&setup(&upstream).own_program());
        let _end = Successors::of(&proxy);
        let mut tunnel = Tunnel::open(proxy.address());
        proxy.replace_program(&program(words));
        proxy.signal(Signal::USR2);
        until("the new program runs", LIMIT, || !Successors::started(&proxy).is_empty());
        proxy.signal(Signal::HUP);
        proxy.wait_for_error("reconfiguring");
        tunnel.echo(b"undisturbed");
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    }
}

/// The old master is reloaded while two programs serve: it still serves, and moves afterwards.
#[test]
fn a_reload_between_start_and_move() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let mut tunnels: Vec<_> = (0..20).map(|_| Tunnel::open(proxy.address())).collect();
    proxy.signal(Signal::USR2);
    proxy.wait_for_error(" serves");
    for _ in 0..3 {
        proxy.signal(Signal::HUP);
    }
    proxy.wait_for_error("reconfiguring");
    tunnels[0].echo(b"meanwhile");
    proxy.signal(Signal::QUIT);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    let _end = Successors::of(&proxy);
    for tunnel in &mut tunnels {
        tunnel.echo(b"it has moved");
    }
    assert!(proxy.error_log().contains("moved 20 tunnels"), "{}", proxy.error_log());
}

/// WINCH to a daemon: its worker leaves with everything, the master stays. With a worker again it
/// takes everything back when the new program ends.
#[test]
fn winch_moves_the_tunnels_and_a_reload_and_quit_bring_them_back() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&setup(&upstream).daemon());
    let master = proxy.pid();
    let mut tunnels: Vec<_> = (0..20).map(|_| Tunnel::open(proxy.address())).collect();
    proxy.signal(Signal::USR2);
    proxy.wait_for_error(" serves");
    let _end = Successors::of(&proxy);
    let new = *Successors::started(&proxy).first().expect("a new program");
    proxy.signal(Signal::WINCH);
    proxy.wait_for_error("moved 20 tunnels");
    until("the old worker has ended", LIMIT, || {
        Census::children(master).into_iter().all(|child| child == new)
    });
    for tunnel in &mut tunnels {
        tunnel.echo(b"with the new one");
    }
    proxy.signal(Signal::HUP);
    let back = format!("master process {} serves", master.as_raw_nonzero());
    until("the old one serves again", LIMIT, || proxy.error_log().matches(&back).count() >= 2);
    kill_process(new, Signal::QUIT).expect("the new master takes a signal");
    proxy.wait_for_error("exited with code 0");
    proxy
        .wait_for_error(&format!("moved 20 tunnels to master process {}", master.as_raw_nonzero()));
    for tunnel in &mut tunnels {
        tunnel.echo(b"back again");
    }
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
}

/// In the foreground a terminal sends WINCH when its size changes: nothing happens.
#[test]
fn winch_in_the_foreground_does_nothing() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let mut tunnel = Tunnel::open(proxy.address());
    proxy.signal(Signal::WINCH);
    proxy.wait_for_error("(SIGWINCH) received");
    tunnel.echo(b"undisturbed");
    Tunnel::open(proxy.address()).echo(b"a new one");
    assert!(proxy.is_running());
}

/// There are not enough descriptors in the new program for all: the rest stays and is not lost.
#[test]
fn what_finds_no_descriptor_stays() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let mut tunnels: Vec<_> = (0..250).map(|_| Tunnel::open(proxy.address())).collect();
    proxy.rewrite(&setup(&upstream).main("worker_rlimit_nofile 300;"));
    proxy.signal(Signal::USR2);
    proxy.wait_for_error(" serves");
    proxy.signal(Signal::QUIT);
    proxy.wait_for_error(" stay");
    let log = proxy.error_log();
    let line = log.lines().find(|line| line.contains(": moved ")).expect("some have moved");
    let mut numbers = line.split(' ').filter_map(|word| word.parse::<u32>().ok());
    let (moved, stay) = (numbers.next().unwrap_or(0), numbers.next_back().unwrap_or(0));
    assert!(moved > 0 && stay > 0 && moved + stay == 250, "{line}");
    for tunnel in &mut tunnels {
        tunnel.echo(b"wherever it is");
    }
    drop(tunnels);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    drop(Successors::of(&proxy));
}

/// What is drained while another program serves is told to come back.
#[test]
fn tunnels_that_cannot_move_are_told_that_the_service_restarts() {
    let server = Peer::python("drained_server.py", &[]);
    let (http, location) = page_conf();
    let address = format!("127.0.0.1:{}", server.ready());
    let setup = Setup::server(location).http(http).name("upstream", address).own_program();
    let mut proxy = Proxy::examined(&setup.http("upgrade_drain window=200ms;"));
    let url = format!("ws://{}/chat/", proxy.address());
    let client = Peer::python("drained_client.py", &[&url, "10", "0"]);
    assert_eq!(client.line(LIMIT), "open");
    // One that says that it serves, and takes nothing.
    proxy.replace_program(&program(&[SERVES]));
    proxy.signal(Signal::USR2);
    proxy.wait_for_error(" serves");
    proxy.signal(Signal::QUIT);
    let ends = client.line(LIMIT);
    drop(Successors::of(&proxy));
    assert!(ends.starts_with("1012:10 "), "{ends}");
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
}
