//! Carriers: tunnels that send random bytes to an echo as fast as they can and check what comes
//! back, until they are told to stop. One lost, doubled or changed byte fails the test.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::payload::Payload;
use crate::tunnel::Tunnel;
use crate::wait::until;

pub struct Carriers {
    seed: u64,
    stop: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Carriers {
    /// Opens `count` tunnels, two threads each.
    #[track_caller]
    pub fn begin(address: SocketAddr, count: u64, seed: u64) -> Self {
        Self::over(count, seed, || Tunnel::open(address))
    }

    /// The same over tunnels that `open` makes.
    #[track_caller]
    pub fn over(count: u64, seed: u64, open: impl Fn() -> Tunnel) -> Self {
        let mut all = Self { seed, stop: Arc::default(), carried: Arc::default(), threads: vec![] };
        for number in 0..count {
            let mut tunnel = open();
            let stream = tunnel.client.wire().stream();
            let writer = stream.try_clone().expect("a second handle");
            let reader = stream.try_clone().expect("a third handle");
            let (seed, stop) = (seed + number, Arc::clone(&all.stop));
            all.threads.push(std::thread::spawn(move || send(writer, seed, &stop)));
            let carried = Arc::clone(&all.carried);
            all.threads.push(std::thread::spawn(move || check(reader, seed, &carried)));
        }
        all
    }

    /// Waits until bytes have come back that were not back before.
    #[track_caller]
    pub fn wait_for_more(&self) {
        let seen = self.carried.load(Ordering::Relaxed);
        until("bytes flow", PATIENCE, || self.carried.load(Ordering::Relaxed) > seen);
    }

    /// Ends all tunnels in good order; gives how many bytes came back.
    #[track_caller]
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let seed = self.seed;
            thread.join().unwrap_or_else(|_| panic!("seed {seed}: a tunnel is lost or wrong"));
        }
        self.carried.load(Ordering::Relaxed)
    }
}

fn send(mut writer: TcpStream, seed: u64, stop: &AtomicBool) {
    let mut payload = Payload::new(seed);
    let mut size = Payload::new(seed ^ 0xabcd);
    while !stop.load(Ordering::Relaxed) {
        let piece = 1 + size.below(PIECE_MAX);
        writer.write_all(&payload.take(piece)).expect("the tunnel takes the bytes");
    }
    writer.shutdown(Shutdown::Write).expect("a FIN");
}

fn check(mut reader: TcpStream, seed: u64, carried: &AtomicU64) {
    let mut payload = Payload::new(seed);
    let mut buffer = vec![0; 65_536];
    loop {
        let count = reader.read(&mut buffer).expect("the echo comes");
        if count == 0 {
            return;
        }
        payload.check(&buffer[..count]).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        carried.fetch_add(count as u64, Ordering::Relaxed);
    }
}

const PIECE_MAX: usize = 40_000;
const PATIENCE: Duration = Duration::from_secs(10);
