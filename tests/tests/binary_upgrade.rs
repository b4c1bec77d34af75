//! A new program takes over from the running one: sockets, clients and live tunnels.

use std::time::Duration;

use perdura_tests::{
    Carriers, Census, Client, Payload, Program, Proxy, Setup, Successors, Tunnel, Upstream, chat,
    order, said, seed, until,
};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(10);

/// USR2 to a master, and the new one's number once it serves.
fn change_binary(proxy: &Proxy, master: Pid) -> Pid {
    kill_process(master, Signal::USR2).expect("the master takes a signal");
    let mut new = None;
    until("a new master serves", LIMIT, || {
        new = Successors::pid_in(proxy, "proxy.pid").filter(|pid| *pid != master);
        let serves = format!("master process {} serves", new.map_or(0, number));
        proxy.error_log().contains(&serves)
    });
    new.expect("it serves")
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

fn is_gone(pid: Pid) -> bool {
    !Census::runs(pid, &Program::Perdura.binary())
}

fn setup(upstream: &Upstream) -> Setup {
    chat(upstream, "location = /a { return 204; }")
}

#[test]
fn both_serve_and_the_tunnels_move_when_the_old_one_quits() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let _end = Successors::of(&proxy);
    let old = proxy.pid();
    let mut tunnels: Vec<_> = (0..200).map(|_| Tunnel::open(proxy.address())).collect();
    for tunnel in &mut tunnels {
        tunnel.echo(b"before");
    }
    let new = change_binary(&proxy, old);
    assert_eq!(Successors::pid_in(&proxy, "proxy.pid.oldbin"), Some(old));
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    tunnels[0].echo(b"both serve");
    proxy.signal(Signal::QUIT);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0), "it has nothing left to wait for");
    for tunnel in &mut tunnels {
        tunnel.echo(b"after");
    }
    assert!(proxy.error_log().contains("moved 200 tunnels"), "{}", proxy.error_log());
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    Tunnel::open(proxy.address()).echo(b"a new one");
    assert_eq!(Successors::pid_in(&proxy, "proxy.pid"), Some(new));
    assert!(Successors::pid_in(&proxy, "proxy.pid.oldbin").is_none());
    drop(tunnels);
    kill_process(new, Signal::QUIT).expect("the new master takes a signal");
    until("the new one ends", LIMIT, || is_gone(new));
    until("the tunnels are logged", LIMIT, || proxy.access_log().len() >= 201);
}

#[test]
fn tunnels_that_clients_asked_for_move_as_well() {
    let upstream = Upstream::echo();
    let conf = "tunnel_pass; tunnel_allow_upstream 127.0.0.1 port=1-65535;";
    let mut proxy = Proxy::examined(&Setup::server(conf));
    let _end = Successors::of(&proxy);
    let open = || Tunnel::through(proxy.address(), upstream.address());
    let mut tunnels: Vec<_> = (0..20).map(|_| open()).collect();
    let carriers = Carriers::over(2, seed(), open);
    change_binary(&proxy, proxy.pid());
    carriers.wait_for_more();
    proxy.signal(Signal::QUIT);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0), "it has nothing left to wait for");
    carriers.wait_for_more();
    for tunnel in &mut tunnels {
        tunnel.echo(b"after");
    }
    carriers.end();
}

#[test]
fn what_moves_is_not_drained() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream).http("upgrade_drain window=100ms;"));
    let _end = Successors::of(&proxy);
    let mut tunnels: Vec<_> = (0..30).map(|_| Tunnel::open(proxy.address())).collect();
    change_binary(&proxy, proxy.pid());
    proxy.signal(Signal::QUIT);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    for tunnel in &mut tunnels {
        tunnel.echo(b"no Close frame has come before this");
    }
}

#[test]
fn ending_the_new_one_gives_its_tunnels_back() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&setup(&upstream));
    let _end = Successors::of(&proxy);
    let new = change_binary(&proxy, proxy.pid());
    // Both accept: some of them are the new one's.
    let mut tunnels: Vec<_> = (0..40).map(|_| Tunnel::open(proxy.address())).collect();
    for tunnel in &mut tunnels {
        tunnel.echo(b"before");
    }
    kill_process(new, Signal::QUIT).expect("the new master takes a signal");
    until("the new one ends", LIMIT, || is_gone(new));
    for tunnel in &mut tunnels {
        tunnel.echo(b"after");
    }
    until("the pid file is as before", LIMIT, || {
        Successors::pid_in(&proxy, "proxy.pid") == Some(proxy.pid())
    });
    assert!(Successors::pid_in(&proxy, "proxy.pid.oldbin").is_none());
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    // And once more: nothing of the first time is in the way.
    let again = change_binary(&proxy, proxy.pid());
    kill_process(again, Signal::QUIT).expect("the new master takes a signal");
    until("the new one ends", LIMIT, || is_gone(again));
    tunnels[0].echo(b"still here");
}

#[test]
fn no_byte_is_lost_or_doubled_over_upgrades_in_one_order() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&setup(&upstream));
    let _end = Successors::of(&proxy);
    let seed = seed();
    let carriers = Carriers::begin(proxy.address(), 6, seed);
    let mut quiet: Vec<_> = (0..20).map(|_| Tunnel::open(proxy.address())).collect();
    for _ in 0..4 {
        carriers.wait_for_more();
        let before = Successors::pid_in(&proxy, "proxy.pid").expect("a master");
        let output = order(&proxy, "upgrade");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("moved 26 tunnels"), "{}", said(&output));
        let after = Successors::pid_in(&proxy, "proxy.pid").expect("a master");
        assert_ne!(before, after);
        until("the old one ends", LIMIT, || is_gone(before) || before == proxy.pid());
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
        until("the link is free again", LIMIT, || {
            proxy.error_log().matches("the other master process has gone").count() > 0
                && Successors::pid_in(&proxy, "proxy.pid.oldbin").is_none()
        });
    }
    for tunnel in &mut quiet {
        tunnel.echo(b"still here");
    }
    println!("{} MiB", carriers.end() >> 20);
}

#[test]
fn a_program_that_does_not_come_up_changes_nothing() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let _end = Successors::of(&proxy);
    let mut tunnel = Tunnel::open(proxy.address());
    let good = proxy.folder().text("proxy.conf");
    proxy.rewrite_text(&good.replace("events {", "nonsense on; events {"));
    // The order itself reads the configuration to find the pid file: so the file breaks a moment
    // later than that, which a signal shows as well.
    proxy.signal(Signal::USR2);
    proxy.wait_for_error("new binary process");
    until("the new one has ended", LIMIT, || proxy.error_log().contains("exited with code 1"));
    until("the pid file is as before", LIMIT, || {
        Successors::pid_in(&proxy, "proxy.pid") == Some(proxy.pid())
    });
    tunnel.echo(b"undisturbed");
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    proxy.rewrite_text(&good);
    let output = order(&proxy, "upgrade");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    tunnel.echo(b"and then it moves");
}

#[test]
fn a_successor_that_is_slow_or_dies_changes_nothing() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&setup(&upstream));
    let _end = Successors::of(&proxy);
    let mut tunnels: Vec<_> = (0..10).map(|_| Tunnel::open(proxy.address())).collect();
    let new = change_binary(&proxy, proxy.pid());
    kill_process(new, Signal::STOP).expect("the new master can be stopped");
    proxy.signal(Signal::QUIT);
    proxy.wait_for_error("shutting down");
    until("the move is given up", LIMIT, || proxy.error_log().contains("the tunnels stay"));
    for tunnel in &mut tunnels {
        tunnel.echo(b"it goes on here");
    }
    for one in Census::family(new) {
        kill_process(one, Signal::KILL).expect("the successor can be killed");
    }
    until("its end is seen", LIMIT, || {
        proxy.error_log().contains("the other master process has gone")
    });
    for tunnel in &mut tunnels {
        tunnel.echo(b"and after its end");
    }
}

#[test]
fn a_second_new_program_must_wait() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&setup(&upstream));
    let _end = Successors::of(&proxy);
    let new = change_binary(&proxy, proxy.pid());
    proxy.signal(Signal::USR2);
    proxy.wait_for_error("two programs serve already");
    let output = order(&proxy, "upgrade");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("two programs serve already"), "{}", said(&output));
    assert_eq!(Successors::pid_in(&proxy, "proxy.pid"), Some(new));
}

/// Kills one of the two workers at a random moment of each move.
#[test]
fn a_worker_that_is_killed_in_a_move_costs_nothing() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&setup(&upstream));
    let _end = Successors::of(&proxy);
    let seed = seed();
    let mut chance = Payload::new(seed ^ 0x55);
    let carriers = Carriers::begin(proxy.address(), 4, seed);
    let mut quiet: Vec<_> = (0..140).map(|_| Tunnel::open(proxy.address())).collect();
    let mut old = proxy.pid();
    for round in 0..4 {
        carriers.wait_for_more();
        let new = change_binary(&proxy, old);
        // The new master is a child of the old one: numbers that wrapped may put it first.
        let mut worker = Census::children(if round % 2 == 0 { new } else { old });
        worker.retain(|child| *child != new);
        kill_process(old, Signal::QUIT).expect("the old master takes a signal");
        std::thread::park_timeout(Duration::from_micros(chance.below(12_000) as u64));
        if let Some(worker) = worker.first() {
            // It may have ended by itself.
            let _ = kill_process(*worker, Signal::KILL);
        }
        let patience = Duration::from_secs(30);
        until("the old one ends", patience, || is_gone(old));
        old = new;
    }
    for tunnel in &mut quiet {
        tunnel.echo(b"still here");
    }
    carriers.end();
}
