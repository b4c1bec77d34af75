//! A relay with a fault: it stands where the proxy stands, and the harness must notice what
//! it does wrong. It is no part of any scenario.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

/// What the relay does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Flips the lowest bit of byte number N from the upstream.
    FlipBit(u64),
    /// Does not carry the client's FIN to the upstream.
    DropFin,
    /// Loses byte number N from the upstream.
    LoseByte(u64),
    /// Keeps every upstream connection open.
    LeakDescriptor,
}

/// A relay in threads of this process.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
}

impl Relay {
    pub fn start(upstream: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the bound address");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || carry(client, upstream, fault));
            }
        });
        Self { address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn carry(client: TcpStream, upstream: SocketAddr, fault: Fault) {
    let Ok(upstream) = TcpStream::connect(upstream) else { return };
    let (Ok(from), Ok(to)) = (client.try_clone(), upstream.try_clone()) else { return };
    let back = std::thread::spawn(move || pump(upstream, client, fault));
    let ends = if fault == Fault::DropFin { Fault::DropFin } else { Fault::None };
    pump(from, to.try_clone().expect("a second handle"), ends);
    let _ = back.join();
    if fault == Fault::LeakDescriptor {
        std::mem::forget(to);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let mut buffer = [0; 4096];
    let mut position = 0;
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let mut bytes = buffer[..count].to_vec();
        let inside = |at: u64| (position..position + count as u64).contains(&at);
        match fault {
            Fault::FlipBit(at) if inside(at) => bytes[(at - position) as usize] ^= 1,
            Fault::LoseByte(at) if inside(at) => drop(bytes.remove((at - position) as usize)),
            _ => {}
        }
        position += count as u64;
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
    if fault != Fault::DropFin {
        let _ = to.shutdown(Shutdown::Write);
    }
}
