//! The detectors against relays that lie: each planted fault must be counted as what it is, and a
//! faithful relay must pass with every kind of traffic.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::crew::Crew;
use super::harm::Tally;
use super::role::Kind;

/// What a relay does wrong in its first connection whose upstream stream gets so far, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    FlipBit,
    LoseByte,
    DoubleByte,
    /// The client's end never reaches the upstream.
    DropFin,
    /// The connection is cut.
    Cut,
    /// From now on nothing is carried.
    Stall,
    /// The handshake is not answered but cut.
    Refuse,
}

/// Behind the 101, in the middle of a frame of every kind.
const AT: usize = 140;
const PATIENCE: Duration = Duration::from_millis(1500);

/// A relay whose threads end when their connections do.
fn relay(upstream: SocketAddr, lie: Lie) -> SocketAddr {
    static ONCE: AtomicU32 = AtomicU32::new(0);
    let first = ONCE.fetch_add(1, Ordering::Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::Builder::new().name(format!("relay {first}"));
    let serve = move || {
        for (number, client) in listener.incoming().enumerate() {
            let lie = if number == 0 { lie } else { Lie::None };
            let (client, upstream) = (client.unwrap(), TcpStream::connect(upstream).unwrap());
            if lie == Lie::Refuse {
                continue;
            }
            let (back_in, back_out) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            let there = if lie == Lie::DropFin { lie } else { Lie::None };
            std::thread::spawn(move || carry(client, upstream, there));
            std::thread::spawn(move || carry(back_in, back_out, lie));
        }
    };
    thread.spawn(serve).unwrap();
    address
}

fn carry(mut from: TcpStream, mut to: TcpStream, lie: Lie) {
    let (mut buffer, mut carried) = ([0; 4096], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut bytes = buffer[..count].to_vec();
        if (carried..carried + count).contains(&AT) {
            let at = AT - carried;
            match lie {
                Lie::FlipBit => bytes[at] ^= 4,
                Lie::LoseByte => drop(bytes.remove(at)),
                Lie::DoubleByte => bytes.insert(at, bytes[at]),
                Lie::Cut => {
                    let _ = to.shutdown(Shutdown::Both);
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
                Lie::Stall => {
                    // Both handles live on, and nobody reads.
                    std::mem::forget((from, to));
                    return;
                }
                Lie::None | Lie::DropFin | Lie::Refuse => {}
            }
        }
        carried += count;
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
    match lie {
        Lie::DropFin => std::mem::forget(to),
        _ => drop(to.shutdown(Shutdown::Write)),
    }
}

fn run(lie: Lie, plan: &[(Kind, u32)], length: Duration) -> Tally {
    let crew = Crew::start(7, PATIENCE).unwrap();
    let proxy = relay(crew.upstream, lie);
    crew.open(proxy, plan).unwrap();
    let end = Instant::now() + length;
    while Instant::now() < end && crew.tally().unwrap().is_clean() {
        std::thread::yield_now();
    }
    crew.finish().unwrap()
}

#[test]
fn a_faithful_relay_passes_with_every_kind_of_traffic() {
    let plan = Kind::ALL.map(|kind| (kind, 3));
    let tally = run(Lie::None, &plan, Duration::from_millis(600));
    assert!(tally.is_clean() && tally.failed == 0, "{tally:?}");
    assert!(tally.opened > 21, "some begin again: {tally:?}");
    assert!(tally.carried > 20 << 20, "the relay is kept busy: {tally:?}");
}

#[test]
fn every_lie_is_seen_with_every_kind_of_traffic() {
    let lies = [Lie::FlipBit, Lie::LoseByte, Lie::DoubleByte, Lie::DropFin, Lie::Cut, Lie::Stall];
    // Only the last message of a tunnel that is quiet until its end passes the place.
    let kinds = [Kind::Quiet, Kind::Ticker, Kind::Message, Kind::Bulk, Kind::Blocked, Kind::Churn];
    let runs = lies.into_iter().flat_map(|lie| kinds.into_iter().map(move |kind| (lie, kind)));
    let threads: Vec<_> = runs
        .map(|(lie, kind)| {
            std::thread::spawn(move || (lie, kind, run(lie, &[(kind, 1)], PATIENCE * 2)))
        })
        .collect();
    for thread in threads {
        let (lie, kind, tally) = thread.join().unwrap();
        let seen = match lie {
            Lie::FlipBit | Lie::DoubleByte => tally.wrong == 1,
            // A byte less at the very end is an end that comes early.
            Lie::LoseByte => tally.wrong + tally.lost == 1,
            _ => tally.lost + tally.wrong == 1,
        };
        assert!(seen, "{lie:?} with {kind:?}: {tally:?}");
    }
}

#[test]
fn a_handshake_that_is_cut_off_is_counted_and_tried_again() {
    let tally = run(Lie::Refuse, &[(Kind::Message, 2)], Duration::from_millis(100));
    assert_eq!((tally.failed, tally.opened, tally.is_clean()), (1, 2, true), "{tally:?}");
}

#[test]
fn a_ticker_sees_how_long_it_stood_still() {
    let crew = Crew::start(7, PATIENCE).unwrap();
    let proxy = relay(crew.upstream, Lie::Stall);
    crew.open(proxy, &[(Kind::Ticker, 1)]).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        std::thread::yield_now();
    }
    let slowest = crew.take_slowest().unwrap();
    assert_eq!(slowest.len(), 2);
    assert!(slowest[1] > 200_000_000, "{slowest:?}");
}
