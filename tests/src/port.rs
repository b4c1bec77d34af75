//! Addresses for actors. Listeners of the harness bind port 0 and keep it; only a program
//! that must be told its port gets one from here.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::FlockOperation;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// A port of 127.0.0.1 that nobody listens on, below the range of outgoing connections, so
/// that no connection of another test takes it before the program binds it. It belongs to
/// this process until it ends, so that a test run beside this one does not choose it too.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = (std::process::id() as u16).wrapping_mul(97);
    for _ in 0..SPAN {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + base.wrapping_add(step) % SPAN;
        if is_ours(port) && is_free(port) {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + SPAN);
}

/// Binds and does not listen: a program that another thread starts at this moment inherits the
/// socket until its `exec`, and whoever waits for this port to answer would reach it there.
fn is_free(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(probe) = tcp_socket() else { return false };
    set_socket_reuseaddr(&probe, true).is_ok() && bind(&probe, &address).is_ok()
}

/// Takes a lock on the port's file for as long as this process lives.
fn is_ours(port: u16) -> bool {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("perdura-ports");
    std::fs::create_dir_all(&folder).expect("a folder for the locks of ports");
    let mut options = File::options();
    let file = options.create(true).append(true).open(folder.join(port.to_string()));
    let Ok(file) = file else { return false };
    let free = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if free {
        HELD.lock().unwrap_or_else(|poison| poison.into_inner()).push(file);
    }
    free
}

/// An address that refuses connections as long as the returned guard lives: bound, but not
/// listening.
pub fn dead_address() -> (SocketAddr, OwnedFd) {
    let guard = tcp_socket().expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    bind(&guard, &any).expect("bind to a free port");
    let name = getsockname(&guard).expect("the bound address");
    (SocketAddr::try_from(name).expect("an internet address"), guard)
}

fn tcp_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

const FIRST: u16 = 11_000;
const SPAN: u16 = 20_000;
