//! A worker that shares its descriptor table with its master is killed again and again while it
//! relays.
//!
//! One process, one thread: it is the master and plays all peers. Streams in both directions show
//! lost, doubled and wrong bytes; messages of which one is in flight show lost events (streams hide
//! them: the next arrival is a new event). Two controls prove that this test can fail: without the
//! repair, and without redoing the noted events.

mod outer;
mod secure;
mod traffic;
mod worker;

use std::time::{Duration, Instant};

use traffic::{Harm, Legs, Traffic};
use worker::Master;

/// What a successor is made to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgets {
    Nothing,
    /// Whose bytes lie in the scratch.
    TheOwner,
    /// Which events the dead worker had taken.
    TheEvents,
}

type Test = fn() -> Result<(), String>;

fn main() {
    let tests: [(&str, Test); 5] = [
        ("every_byte_survives_killed_workers_exactly_once", || survive(Legs::Plain)),
        ("with_tls_too_every_byte_survives_killed_workers", || survive(Legs::Tls)),
        ("without_the_repair_bytes_are_lost", || control(Forgets::TheOwner, Legs::Plain)),
        ("with_tls_too_they_are", || control(Forgets::TheOwner, Legs::Tls)),
        ("without_redoing_events_a_message_stalls", || control(Forgets::TheEvents, Legs::Plain)),
    ];
    println!("\nrunning {} tests", tests.len());
    let mut failed = 0;
    for (name, test) in tests {
        match test() {
            Ok(()) => println!("test {name} ... ok"),
            Err(what) => {
                failed += 1;
                println!("test {name} ... FAILED: {what}");
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let passed = tests.len() - failed;
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured\n");
    std::process::exit(i32::from(failed > 0));
}

fn survive(legs: Legs) -> Result<(), String> {
    let (mut master, mut traffic) = begin(legs);
    for kill in 0..KILLS {
        let wrong = |harm: Harm| format!("after {kill} kills: {harm:?}");
        run_one_worker(&mut master, &mut traffic, Forgets::Nothing, kill).map_err(wrong)?;
    }
    master.start(Forgets::Nothing);
    let end = Instant::now() + STALL;
    while !traffic.finish().map_err(|harm| format!("at the end: {harm:?}"))? {
        if Instant::now() > end {
            return Err(format!("the end does not come: {}", traffic.describe()));
        }
    }
    master.kill();
    let bytes = traffic.bytes();
    println!("{legs:?}: {KILLS} kills, {bytes} bytes, {} messages", traffic.messages());
    if bytes < 10_000_000 { Err(format!("only {bytes} bytes prove little")) } else { Ok(()) }
}

fn control(forgets: Forgets, legs: Legs) -> Result<(), String> {
    let (mut master, mut traffic) = begin(legs);
    for kill in 0..CONTROL_KILLS {
        if let Err(harm) = run_one_worker(&mut master, &mut traffic, forgets, kill) {
            println!("control, {forgets:?}, {legs:?}: {harm:?} after {kill} kills");
            return Ok(());
        }
    }
    // A lost event shows itself when everything else is at rest.
    master.start(forgets);
    let end = Instant::now() + CONTROL_STALL;
    while Instant::now() < end {
        if traffic.step().is_err() {
            return Ok(());
        }
    }
    let stalled = traffic.oldest_message() > CONTROL_STALL / 2;
    master.kill();
    if stalled { Ok(()) } else { Err(format!("{forgets:?} did no harm in {CONTROL_KILLS} kills")) }
}

fn begin(legs: Legs) -> (Master, Traffic) {
    let mut master = Master::new(traffic::TUNNELS);
    let traffic = Traffic::new(legs, |inner| master.adopt(inner));
    master.abandon();
    (master, traffic)
}

/// One worker's life: 2 to 16 ms of traffic.
fn run_one_worker(
    master: &mut Master,
    traffic: &mut Traffic,
    forgets: Forgets,
    kill: u32,
) -> Result<(), Harm> {
    master.start(forgets);
    let life = Duration::from_micros(2_000 + u64::from(kill.wrapping_mul(2_654_435_761) % 14_000));
    let end = Instant::now() + life;
    let mut result = Ok(());
    while result.is_ok() && Instant::now() < end {
        result = traffic.step();
    }
    let ended = master.kill();
    result?;
    if !ended {
        return Err(Harm::WorkerGaveUp);
    }
    if traffic.oldest_message() > STALL {
        return Err(Harm::Stalled);
    }
    Ok(())
}

const KILLS: u32 = 60;
const CONTROL_KILLS: u32 = 300;
/// A message that takes so long was forgotten.
const STALL: Duration = Duration::from_secs(10);
const CONTROL_STALL: Duration = Duration::from_millis(600);
