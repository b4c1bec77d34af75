//! The seeded adversary: real table, real seats, real turns, real repair; a false kernel, and a
//! process that may vanish at every store to shared memory and around every system call.
//!
//! `PERDURA_SIM_SEED=n` replays one seed, `PERDURA_SIM_SEEDS=n` tries that many.

mod secure;
mod wire;

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::{CloseFrame, Frames, Parting};
use crate::engine::{
    Bench, Desk, Outcome, Turn, Turned, Urge, check, relay_of, repair_owner, start_lanes,
};
use crate::table::{CHUNK_BYTES, Constant, Mark, Record, State, Tls, TunnelId};
use crate::tls::{Owner, WearLimits};
use crate::{Limits, Seats, Side, Table, Terms};
use secure::Secure;
use wire::{Net, Plant, Socket, leg};

thread_local! {
    /// Crash points until the process vanishes; 0 is never.
    static COUNTDOWN: Cell<u32> = const { Cell::new(0) };
}

/// What a vanished process leaves on the stack.
struct Vanished;

/// A place where the simulated process may vanish.
pub(crate) fn crash_point() {
    let left = COUNTDOWN.get();
    COUNTDOWN.set(left.saturating_sub(1));
    if left == 1 {
        resume_unwind(Box::new(Vanished));
    }
}

/// What a peer does, which does not vanish with the process.
fn elsewhere<T>(work: impl FnOnce() -> T) -> T {
    let left = COUNTDOWN.replace(0);
    let done = work();
    COUNTDOWN.set(left);
    done
}

/// One simulated worker and its peers.
struct Sim {
    random: Random,
    table: Arc<Table>,
    seats: Arc<Seats>,
    spare: Option<u32>,
    desk: Desk,
    net: Net,
    /// The noted events: leg, in the order in which they were taken.
    batch: Vec<usize>,
    more: VecDeque<TunnelId>,
    /// By tunnel: it is to be drained, and its time for that is over.
    to_drain: Vec<bool>,
    to_leave: Vec<bool>,
}

impl Sim {
    fn new(seed: u64, tunnels: usize, plant: Plant, legs: Legs) -> Sim {
        let mut random = Random(seed);
        let limits = Limits { records: 8, chunks: 8, note_bytes: 0, threads: 1 };
        let table = Arc::new(Table::create(limits).unwrap());
        let net = Net {
            sockets: std::iter::repeat_with(Socket::default).take(2 * tunnels).collect(),
            plant,
            fuse: 1 + random.below(20) as u32,
            crashes: 0,
            excused: false,
            broken_rule: None,
            draining: vec![false; tunnels],
        };
        let seats = Seats::rebuild(Arc::clone(&table));
        let (batch, more) = (Vec::new(), VecDeque::new());
        let (to_drain, to_leave) = (vec![false; tunnels], vec![false; tunnels]);
        let desk = desk();
        let mut sim =
            Sim { random, table, seats, spare: None, desk, net, batch, more, to_drain, to_leave };
        for tunnel in 0..tunnels {
            let tls = match legs {
                Legs::Plain => [false; 2],
                Legs::Tls => {
                    [[true, false], [false, true], [true, true]][sim.random.below(3) as usize]
                }
            };
            sim.adopt(tunnel, tls);
        }
        sim
    }

    /// As the engine's adoption does it, but for the registration.
    fn adopt(&mut self, tunnel: usize, tls: [bool; 2]) {
        let secrets = Side::BOTH.map(|side| {
            tls[side].then(|| {
                let (secure, ours) = Secure::new(side, Random(self.random.below(u64::MAX)));
                self.net.sockets[leg(tunnel, side)].secure = Some(Box::new(secure));
                ours
            })
        });
        for side in Side::BOTH {
            let first = [0, 1, 700][self.random.below(3) as usize];
            let room = [1, 300, 70_000, 400_000][self.random.below(4) as usize];
            let socket = &mut self.net.sockets[leg(tunnel, side)];
            (socket.first, socket.room) = (first, room);
        }
        let firsts = Side::BOTH.map(|side| self.net.sockets[leg(tunnel, side)].first);
        let constant = Constant {
            generation: 1,
            legs: Side::BOTH.map(|side| leg(tunnel, side) as i32),
            cookies: [0; 2],
            base_read: [0; 2],
            base_written: [0; 2],
            first: firsts.map(|first| first as u32),
            terms: Terms::default(),
            keys: [0; 2],
            note_granule: 0,
            note_bytes: 0,
            tls: Tls { legs: tls, private: false },
            started_ms: 0,
        };
        let index = self.seats.reserve().unwrap().occupy();
        let record = self.table.record(index).unwrap();
        record.write(&constant, 0);
        for sink in Side::BOTH {
            record.start_frames(sink.other(), Frames::starting_at(firsts[sink]));
            if firsts[sink] > 0 {
                let chunk = self.seats.take_reserved_chunk().unwrap();
                let bytes: Vec<u8> = self.net.first_bytes(leg(tunnel, sink));
                self.table.chunk(chunk).fill(&bytes);
                record.set_chunk(sink.other(), chunk, 0);
            }
        }
        if tls != [false; 2] {
            let owner = Owner {
                id: tunnel_id(tunnel),
                vault: self.table.vault(index).unwrap(),
                private: false,
            };
            start_lanes(&mut self.desk.keys, owner, record, &secrets);
        }
        self.table.raise_high_water(index);
        record.set_state(State::Live);
        let id = TunnelId { index, generation: 1 };
        record.mark(Mark::Kick);
        self.more.push_back(id);
    }

    /// What the peers do between two turns of the worker.
    fn disturb(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let at = self.random.below(self.net.sockets.len() as u64) as usize;
            let amount = [1, 64, 5_000, 150_000][self.random.below(4) as usize];
            let amount = 1 + self.random.below(amount);
            let socket = &mut self.net.sockets[at];
            match self.random.below(200) {
                0..4 => socket.arrive_fin(),
                4 => socket.arrive_reset(),
                5 if socket.secure.is_some() => socket.arrive_cut(),
                5..100 => socket.arrive(at, amount),
                _ => socket.drain(amount),
            }
        }
    }

    /// One turn of the worker, after which it may be another one.
    fn work(&mut self) -> Result<(), String> {
        let result = catch_unwind(AssertUnwindSafe(|| self.turn()));
        if let Err(vanished) = result {
            if !vanished.is::<Vanished>() {
                resume_unwind(vanished);
            }
            self.net.crashes += 1;
            self.succeed()?;
        }
        match self.net.broken_rule.take() {
            Some(rule) => Err(rule),
            None => self.check_bounds(),
        }
    }

    fn turn(&mut self) {
        for tunnel in 0..self.to_drain.len() {
            self.part(tunnel_id(tunnel));
        }
        // Noted before it is taken, as the event array is.
        let ready = (0..self.net.sockets.len()).filter(|at| self.net.sockets[*at].edge);
        self.batch = ready.collect();
        for at in self.batch.clone() {
            crash_point();
            self.net.sockets[at].edge = false;
            let socket = &self.net.sockets[at];
            let (id, side) = (tunnel_id(at / 2), Side::BOTH[at % 2]);
            let finned = socket.fin_arrived && !socket.reset;
            let (readable, ending) = (socket.is_readable(), socket.is_ending());
            let writable = socket.is_writable();
            self.run(id, |turn| {
                if finned {
                    turn.finned(side);
                }
                if readable {
                    turn.readable(side, if ending { Urge::ReadDry } else { Urge::Read });
                }
                if writable {
                    turn.writable(side);
                }
            });
        }
        for _ in 0..self.more.len() {
            let Some(id) = self.more.pop_front() else { break };
            self.net.excused = true;
            let turned = self.run(id, |turn| turn.go_on());
            self.net.excused = false;
            let Some(turned) = turned else { continue };
            let record = self.record(id);
            record.unmark(Mark::Kick);
            for source in Side::BOTH {
                if turned.outcome[source] == Outcome::Rest {
                    record.unmark(Mark::more(source));
                }
            }
            if record.waits() {
                self.more.push_back(id);
            }
        }
        self.batch.clear();
    }

    /// Begins to drain a tunnel that is to be, or ends its patience; asked again after a crash.
    fn part(&mut self, id: TunnelId) {
        let record = self.record(id);
        if record.state() != Some(State::Live) {
            return;
        }
        let relay = relay_of(&self.table, id.index, record).expect("a relay's own word");
        let tunnel = id.index as usize;
        self.net.excused = true;
        if self.to_drain[tunnel] && !relay.has_failure() {
            self.net.draining[tunnel] = true;
            self.record(id).set_close_code(CODE);
            self.run(id, |turn| turn.drain());
            self.kick(id);
        } else if self.to_leave[tunnel]
            && relay.is_draining()
            && relay.parting() != Parting::Leaving
        {
            self.run(id, |turn| turn.leave());
        }
        self.net.excused = false;
    }

    fn kick(&mut self, id: TunnelId) {
        let record = self.record(id);
        if record.state() == Some(State::Live) {
            let waited = record.waits();
            record.mark(Mark::Kick);
            if !waited {
                self.more.push_back(id);
            }
        }
    }

    fn run(&mut self, id: TunnelId, urge: impl FnOnce(&mut Turn<'_, '_, Net>)) -> Option<Turned> {
        let table = Arc::clone(&self.table);
        let record = table.named(id).filter(|record| record.state() == Some(State::Live))?;
        let mask = self.random.below(1 << 32) as u32;
        let mut bench = Bench {
            table: &table,
            seats: &self.seats,
            station: table.station(0)?,
            scratch: table.scratch(0),
            spare: &mut self.spare,
            desk: &mut self.desk,
            wire: &mut self.net,
            now_ms: 1,
            mask,
        };
        let mut turn = Turn::new(&mut bench, record, id).expect("a relay's own word");
        urge(&mut turn);
        let turned = turn.run();
        if turned.over.is_some() {
            record.set_state(State::Closing);
            return None;
        }
        let waited = record.waits();
        for source in Side::BOTH {
            if turned.outcome[source] != Outcome::Rest {
                record.mark(Mark::more(source));
            }
        }
        if record.waits() && !waited {
            self.more.push_back(id);
        }
        Some(turned)
    }

    /// The next worker: everything private is gone. It may vanish as well.
    fn succeed(&mut self) -> Result<(), String> {
        loop {
            (self.spare, self.more, self.desk) = (None, VecDeque::new(), desk());
            self.seats = Seats::rebuild(Arc::clone(&self.table));
            let again = self.random.below(4) == 0;
            COUNTDOWN.set(if again { 1 + self.random.below(12) as u32 } else { 0 });
            match catch_unwind(AssertUnwindSafe(|| self.recover())) {
                Ok(result) => {
                    COUNTDOWN.set(0);
                    return result;
                }
                Err(vanished) if vanished.is::<Vanished>() => {}
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    fn recover(&mut self) -> Result<(), String> {
        let table = Arc::clone(&self.table);
        let station = table.station(0).expect("the one thread");
        if self.net.plant != Plant::NoRepair {
            let mut bench = Bench {
                table: &table,
                seats: &self.seats,
                station,
                scratch: table.scratch(0),
                spare: &mut self.spare,
                desk: &mut self.desk,
                wire: &mut self.net,
                now_ms: 1,
                mask: 0,
            };
            repair_owner(&mut bench).map_err(|fault| format!("repair: {fault:?}"))?;
        }
        let tunnels = self.net.sockets.len() / 2;
        for id in (0..tunnels).map(tunnel_id) {
            let record = self.record(id);
            if record.state() == Some(State::Live) {
                check(&table, id.index, record)
                    .map_err(|fault| format!("tunnel {}: {fault:?}", id.index))?;
                let relay =
                    relay_of(&table, id.index, record).map_err(|fault| format!("{fault:?}"))?;
                for source in Side::BOTH {
                    if relay.pipe(source).has_given_up()
                        && let Some((chunk, _)) = record.chunk(source)
                    {
                        record.clear_chunk(source);
                        self.seats.give_chunk(chunk);
                    }
                }
                if self.net.plant == Plant::GuessedBoundary {
                    for source in Side::BOTH {
                        let here = record.written(source.other());
                        record.start_frames(source, Frames::starting_at(here));
                    }
                }
                if relay.is_draining() {
                    record.mark(Mark::Kick);
                }
                if record.waits() {
                    self.more.push_back(id);
                }
            }
        }
        if self.net.plant == Plant::NoRedo {
            return Ok(());
        }
        let noted = self.batch.iter().map(|at| tunnel_id(at / 2)).collect::<Vec<_>>();
        for id in noted.into_iter().chain(station.owner().map(|(owner, _)| owner.id)) {
            self.kick(id);
        }
        Ok(())
    }

    fn record(&self, id: TunnelId) -> &Record {
        self.table.record(id.index).expect("a record of the table")
    }

    fn check_bounds(&self) -> Result<(), String> {
        for tunnel in self.table.snapshot() {
            if tunnel.kept.iter().any(|kept| *kept > CHUNK_BYTES as u64) {
                return Err(format!("more is kept than a chunk: {:?}", tunnel.kept));
            }
        }
        let queued = self.more.len();
        let tunnels = self.net.sockets.len() / 2;
        if queued > tunnels { Err(format!("{queued} waiting of {tunnels}")) } else { Ok(()) }
    }

    /// The peers end in order and take everything; then all must be over and complete.
    fn finish(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            for socket in &mut self.net.sockets {
                socket.arrive_fin();
                socket.room = socket.room.max(10_000);
                socket.drain(50_000);
            }
            self.work()?;
            if self.table.snapshot().next().is_none() {
                return (0..self.net.sockets.len() / 2).try_for_each(|t| self.check_complete(t));
            }
        }
        let live: Vec<_> = self.table.snapshot().collect();
        Err(format!("a direction is starved: {live:?}, {:?}", self.net.sockets))
    }

    fn check_complete(&self, tunnel: usize) -> Result<(), String> {
        for source in Side::BOTH {
            let from = &self.net.sockets[leg(tunnel, source)];
            let to = &self.net.sockets[leg(tunnel, source.other())];
            if to.reset || to.cut {
                continue;
            }
            let left = self.to_leave[tunnel];
            if let Some((start, bytes)) = &to.close {
                check_close(source.other(), bytes, left)?;
                if to.got != start + bytes.len() as u64 {
                    return Err(format!("{source:?} of {tunnel}: bytes behind the Close frame"));
                }
            } else if to.got != to.first + from.sent() && !left {
                let (got, wanted) = (to.got, to.first + from.sent());
                return Err(format!(
                    "{source:?} of {tunnel}: {got} bytes of {wanted}: {from:?} {to:?}"
                ));
            }
            let orderly = !from.reset && !from.cut;
            if to.fins > 1 || (to.fins == 0 && orderly) {
                return Err(format!("{source:?} of {tunnel}: {} FINs", to.fins));
            }
            if let Some(secure) = &to.secure {
                let told = secure.told;
                if told > 1 || (told == 0 && orderly && !left) || (told == 1 && secure.is_cut()) {
                    return Err(format!(
                        "{source:?} of {tunnel}: {told} times close_notify: {from:?} {to:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A complete Close frame with the code; cut short only if its time was over.
fn check_close(sink: Side, bytes: &[u8], left: bool) -> Result<(), String> {
    if bytes.len() as u64 != CloseFrame::len_to(sink) {
        return if left { Ok(()) } else { Err(format!("a Close frame cut short: {bytes:?}")) };
    }
    let code = match sink {
        Side::Client => [bytes[2], bytes[3]],
        Side::Upstream => [bytes[6] ^ bytes[2], bytes[7] ^ bytes[3]],
    };
    let head = if sink == Side::Client { 2 } else { 0x82 };
    let fits = bytes[1] == head && u16::from_be_bytes(code) == CODE;
    if fits { Ok(()) } else { Err(format!("a wrong Close frame: {bytes:?}")) }
}

/// A whole life: disturbances and crashes, then an orderly end. Returns how often it crashed.
fn live(seed: u64, plant: Plant, crashing: bool, legs: Legs) -> Result<u32, String> {
    COUNTDOWN.set(0);
    let tunnels = 1 + (seed % 3) as usize;
    let mut sim = Sim::new(seed, tunnels, plant, legs);
    for _ in 0..STEPS {
        sim.disturb();
        let tunnel = sim.random.below(tunnels as u64) as usize;
        match sim.random.below(60) {
            0 => sim.to_drain[tunnel] = true,
            1 if sim.to_drain[tunnel] => sim.to_leave[tunnel] = true,
            _ => {}
        }
        if crashing && sim.random.below(3) == 0 {
            COUNTDOWN.set(1 + sim.random.below(if legs == Legs::Tls { 200 } else { 60 }) as u32);
        }
        sim.work()?;
    }
    COUNTDOWN.set(0);
    sim.finish()?;
    Ok(sim.net.crashes)
}

/// What the legs of a life speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Legs {
    Plain,
    /// One of them TLS, or both.
    Tls,
}

/// A fresh desk, whose keys wear out soon.
fn desk() -> Desk {
    let wear = WearLimits { rekey_blocks: 9_000, blocks_max: u64::MAX };
    Desk { wear, ..Desk::default() }
}

/// A tunnel's record is its place: they are adopted in order, once.
fn tunnel_id(tunnel: usize) -> TunnelId {
    TunnelId { index: tunnel as u32, generation: 1 }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % limit
    }
}

/// What the Close frames of a drain say.
const CODE: u16 = 1012;
/// Lives that each test tries unless told otherwise.
const SEEDS: u64 = 300;
/// Turns of one life before its end.
const STEPS: u32 = 60;
/// Turns that an orderly end may take.
const ROUNDS_MAX: u32 = 2_000;

fn seeds(most: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("PERDURA_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PERDURA_SIM_SEEDS").unwrap_or(most),
    }
}

#[test]
fn every_life_without_a_crash_is_exact() {
    for seed in seeds(SEEDS) {
        if let Err(what) = live(seed, Plant::Nothing, false, Legs::Plain) {
            panic!("PERDURA_SIM_SEED={seed}: {what}");
        }
    }
}

#[test]
fn every_life_is_exactly_once_although_the_process_vanishes() {
    let mut crashes = 0;
    for seed in seeds(SEEDS) {
        match live(seed, Plant::Nothing, true, Legs::Plain) {
            Ok(count) => crashes += count,
            Err(what) => panic!("PERDURA_SIM_SEED={seed}: {what}"),
        }
    }
    assert!(crashes as u64 > seeds(SEEDS).count() as u64, "too few crashes to prove anything");
}

#[test]
fn every_life_with_tls_without_a_crash_is_exact() {
    for seed in seeds(SEEDS / 3) {
        if let Err(what) = live(seed, Plant::Nothing, false, Legs::Tls) {
            panic!("PERDURA_SIM_SEED={seed}: {what}");
        }
    }
}

#[test]
fn every_life_with_tls_is_exactly_once_although_the_process_vanishes() {
    let mut crashes = 0;
    for seed in seeds(SEEDS / 3) {
        match live(seed, Plant::Nothing, true, Legs::Tls) {
            Ok(count) => crashes += count,
            Err(what) => panic!("PERDURA_SIM_SEED={seed}: {what}"),
        }
    }
    assert!(crashes as u64 > seeds(SEEDS / 3).count() as u64, "too few crashes to prove anything");
}

#[test]
fn the_checkers_find_planted_faults() {
    for plant in [Plant::FlippedBit, Plant::DroppedFin, Plant::DoubledWrite] {
        let found = (0..50).filter(|seed| live(*seed, plant, false, Legs::Plain).is_err()).count();
        assert!(found > 25, "{plant:?}: found in {found} of 50");
    }
}

#[test]
fn without_repair_or_redo_a_crash_does_harm() {
    for plant in [Plant::NoRepair, Plant::NoRedo, Plant::GuessedBoundary] {
        let found = (0..50).filter(|seed| live(*seed, plant, true, Legs::Plain).is_err()).count();
        assert!(found > 5, "{plant:?}: found in {found} of 50");
    }
}

/// One thing that a peer does; T6: their order never matters.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Sends(Side),
    Fins(Side),
    Takes(Side),
    Drains,
}

#[test]
fn in_every_order_of_events_with_a_crash_at_every_point_the_tunnel_is_exact() {
    let deeds = [
        Deed::Sends(Side::Client),
        Deed::Sends(Side::Upstream),
        Deed::Fins(Side::Client),
        Deed::Fins(Side::Upstream),
        Deed::Takes(Side::Client),
    ];
    crash_everywhere(&deeds, Legs::Plain);
}

#[test]
fn in_every_order_of_events_with_a_crash_at_every_point_a_drain_says_it_once() {
    let deeds = [
        Deed::Sends(Side::Client),
        Deed::Sends(Side::Upstream),
        Deed::Fins(Side::Upstream),
        Deed::Takes(Side::Client),
        Deed::Drains,
    ];
    crash_everywhere(&deeds, Legs::Plain);
}

#[test]
fn with_tls_too_in_every_order_with_a_crash_at_every_point() {
    let deeds = [
        Deed::Sends(Side::Client),
        Deed::Fins(Side::Client),
        Deed::Takes(Side::Client),
        Deed::Drains,
    ];
    crash_everywhere(&deeds, Legs::Tls);
}

#[test]
fn with_tls_too_planted_faults_are_found_and_a_crash_without_repair_does_harm() {
    for (plant, crashing) in [
        (Plant::FlippedBit, false),
        (Plant::DroppedFin, false),
        (Plant::DoubledWrite, false),
        (Plant::NoRepair, true),
        (Plant::NoRedo, true),
    ] {
        let found = (0..30).filter(|seed| live(*seed, plant, crashing, Legs::Tls).is_err()).count();
        assert!(found > 2, "{plant:?}: found in {found} of 30");
    }
}

fn crash_everywhere(deeds: &[Deed], legs: Legs) {
    let mut crashes = 0;
    permute(&mut deeds.to_vec(), 0, &mut |order| {
        for point in 0.. {
            COUNTDOWN.set(0);
            let mut sim = Sim::new(7, 1, Plant::Nothing, legs);
            sim.net.sockets[0].room = 100;
            COUNTDOWN.set(point);
            for deed in order {
                match *deed {
                    Deed::Sends(side) => sim.net.sockets[side.index()].arrive(side.index(), 500),
                    Deed::Fins(side) => sim.net.sockets[side.index()].arrive_fin(),
                    Deed::Takes(side) => sim.net.sockets[side.index()].drain(50),
                    Deed::Drains => sim.to_drain[0] = true,
                }
                assert_eq!(sim.work(), Ok(()), "{order:?}, crash at {point}");
            }
            assert_eq!(sim.finish(), Ok(()), "{order:?}, crash at {point}");
            crashes += sim.net.crashes;
            if point > 0 && sim.net.crashes == 0 {
                break;
            }
        }
    });
    assert!(crashes > 1_000, "{crashes}");
}

fn permute(deeds: &mut Vec<Deed>, from: usize, visit: &mut impl FnMut(&[Deed])) {
    if from == deeds.len() {
        return visit(deeds);
    }
    for at in from..deeds.len() {
        deeds.swap(from, at);
        permute(deeds, from + 1, visit);
        deeds.swap(from, at);
    }
}
