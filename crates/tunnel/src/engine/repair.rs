//! After a crash: makes the one direction whose bytes were in motion agree with what the kernel
//! did.
//!
//! Only the noted owner can be wrong (every other note was finished before the next owner was
//! noted), so this looks at one tunnel, not at all. Called by recovery, and by the simulation at
//! every step.

use super::turn::{Bench, Wire};
use crate::Side;
use crate::kernel::Hint;
use crate::poll::Leg;
use crate::relay::{CloseFrame, Pipe, Relay};
use crate::table::{
    CHUNK_BYTES, Constant, Record, RecordFault, Span, State, Table, TunnelId, crash_point,
};

/// Repairs the noted owner of this bench's station. Does nothing if there is none. May be repeated.
///
/// # Errors
/// The owner's record and the kernel cannot both be right.
pub(crate) fn repair_owner<W: Wire>(
    bench: &mut Bench<'_, W>,
) -> Result<(), (TunnelId, RecordFault)> {
    let Some((token, base)) = bench.station.owner() else { return Ok(()) };
    let Some(record) = bench.table.named(token.id) else { return Ok(()) };
    if record.state() != Some(State::Live) {
        return Ok(());
    }
    let index = token.id.index;
    if record.tls().any() {
        return repair_lanes(bench, record, index).map_err(|fault| (token.id, fault));
    }
    repair(bench, record, index, token.side, base).map_err(|fault| (token.id, fault))
}

/// Where TLS is, nothing has to be saved, only the kernel's counters to be noted: what is on its
/// way is made again from what was proposed.
fn repair_lanes<W: Wire>(
    bench: &mut Bench<'_, W>,
    record: &Record,
    index: u32,
) -> Result<(), RecordFault> {
    let constant = record.constant()?;
    let relay = relay_of(bench.table, index, record)?;
    for side in Side::BOTH {
        let (read, written) = ask(bench, record, &constant, &relay, side)?;
        // A direction past its end has nothing in motion, and the kernel may count a FIN.
        if !matches!(relay.pipe(side), Pipe::Ending | Pipe::Ended | Pipe::Broken) {
            record.set_read(side, read.max(record.read(side)));
        }
        if !matches!(relay.pipe(side.other()), Pipe::Ended | Pipe::Left | Pipe::Broken) {
            record.set_written(side, written.max(record.written(side)));
        }
    }
    check_lanes(bench.table, index, record, &relay)
}

/// Whether the positions of a record with TLS can be true: between what is done and what was
/// proposed.
fn check_lanes(
    table: &Table,
    index: u32,
    record: &Record,
    relay: &Relay,
) -> Result<(), RecordFault> {
    let vault = table.vault(index).ok_or(RecordFault::Lane)?;
    for source in Side::BOTH {
        let lane = vault.lane(source);
        let now = lane.current().ok_or(RecordFault::Lane)?;
        let next = lane.proposed().unwrap_or(Some(now)).ok_or(RecordFault::Lane)?;
        let sink = source.other();
        let (read, written) = (record.read(source), record.written(sink));
        let pipe = relay.pipe(source);
        let made = match pipe {
            Pipe::Ended | Pipe::Left | Pipe::Broken | Pipe::Leaving => continue,
            // What was read behind the Close frame was thrown away.
            Pipe::Bidden => now.made..=next.made,
            Pipe::Ending if relay.is_draining() => now.made..=next.made,
            _ if (now.read..=next.read).contains(&read) => now.made..=next.made,
            _ => return Err(RecordFault::Position),
        };
        if !made.contains(&written) || now.first > record.first(sink) {
            return Err(RecordFault::Position);
        }
    }
    Ok(())
}

fn repair<W: Wire>(
    bench: &mut Bench<'_, W>,
    record: &Record,
    index: u32,
    source: Side,
    base: u64,
) -> Result<(), RecordFault> {
    let constant = record.constant()?;
    let relay = relay_of(bench.table, index, record)?;
    match relay.pipe(source) {
        Pipe::Open | Pipe::Held => repair_passing(bench, record, &constant, &relay, source, base),
        Pipe::Sealed => {
            let (_, written) = ask(bench, record, &constant, &relay, source.other())?;
            record.set_written(source.other(), written.max(record.written(source.other())));
            check_close_frame(record, source)
        }
        Pipe::Bidden | Pipe::Left => {
            let (read, _) = ask(bench, record, &constant, &relay, source)?;
            record.set_read(source, read.max(record.read(source)));
            Ok(())
        }
        // A direction past its end has nothing in motion.
        Pipe::Ending | Pipe::Ended | Pipe::Broken | Pipe::Leaving => Ok(()),
    }
}

fn repair_passing<W: Wire>(
    bench: &mut Bench<'_, W>,
    record: &Record,
    constant: &Constant,
    relay: &Relay,
    source: Side,
    base: u64,
) -> Result<(), RecordFault> {
    // While bytes are kept, the source is not read: its position was noted before the chunk was.
    if relay.pipe(source) == Pipe::Open {
        let (read, _) = ask(bench, record, constant, relay, source)?;
        record.set_read(source, read.max(record.read(source)));
    }
    let sink = source.other();
    let (_, written) = ask(bench, record, constant, relay, sink)?;
    let written = written.max(record.written(sink));
    if written > record.end(source) {
        return Err(RecordFault::Position);
    }
    record.set_written(sink, written);
    match record.chunk(source) {
        Some((chunk, base)) => {
            follow(record, source, bench.table.chunk(chunk), base);
            Ok(())
        }
        None => {
            follow(record, source, bench.scratch, base);
            save_scratch(bench, record, source, base)
        }
    }
}

/// The frames follow what was written: the bytes in between are where they were written from.
fn follow(record: &Record, source: Side, bytes: Span<'_>, base: u64) {
    let written = record.written(source.other());
    let frames = record.frames(source);
    if frames.position() < written {
        let byte = |at: u64| bytes.byte(usize::try_from(at.checked_sub(base)?).ok()?);
        record.set_frames(source, frames.advance(written, byte));
    }
}

/// A sealed direction's sink stands at the boundary, or in the Close frame behind it.
fn check_close_frame(record: &Record, source: Side) -> Result<(), RecordFault> {
    let sent = record.written(source.other()).checked_sub(record.frames(source).position());
    let fits = sent.is_some_and(|sent| sent <= CloseFrame::len_to(source.other()));
    if fits { Ok(()) } else { Err(RecordFault::Position) }
}

/// What was read and not written lies in the scratch, and nowhere else: moves it to a chunk.
fn save_scratch<W: Wire>(
    bench: &mut Bench<'_, W>,
    record: &Record,
    source: Side,
    base: u64,
) -> Result<(), RecordFault> {
    let (written, end) = (record.written(source.other()), record.end(source));
    if written == end {
        return Ok(());
    }
    let start = written.checked_sub(base).ok_or(RecordFault::Position)?;
    let stop = end.checked_sub(base).ok_or(RecordFault::Position)?;
    if stop > CHUNK_BYTES as u64 {
        return Err(RecordFault::Position);
    }
    // The dead engine held a spare chunk when it read, which is free again: there is one.
    let chunk = bench.seats.take_reserved_chunk().ok_or(RecordFault::Chunk)?;
    let rest = bench.scratch.part(start as usize, stop as usize);
    bench.table.chunk(chunk).fill_from(rest);
    crash_point();
    record.set_stall_ms(source, bench.now_ms);
    record.set_chunk(source, chunk, written);
    Ok(())
}

/// How far `side` was read and written since the switch, as the kernel has it; as noted if it does
/// not count.
fn ask<W: Wire>(
    bench: &mut Bench<'_, W>,
    record: &Record,
    constant: &Constant,
    relay: &Relay,
    side: Side,
) -> Result<(u64, u64), RecordFault> {
    let hint = Hint { finned: relay.has_finned(side), failed: relay.has_failed(side) };
    let leg = Leg::from_number(constant.legs[side]);
    let counts = bench.wire.counts(leg, hint).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => RecordFault::Counters,
        _ => RecordFault::Leg,
    })?;
    Ok(match counts {
        None => (record.read(side), record.written(side)),
        Some(counts) => (
            counts.read.saturating_sub(constant.base_read[side]),
            counts.written.saturating_sub(constant.base_written[side]),
        ),
    })
}

/// Checks everything about a live record that can be checked without the kernel.
pub(crate) fn check(table: &Table, index: u32, record: &Record) -> Result<Constant, RecordFault> {
    let constant = record.constant()?;
    let relay = relay_of(table, index, record)?;
    if constant.tls.any() {
        check_lanes(table, index, record, &relay)?;
        return Ok(constant);
    }
    for source in Side::BOTH {
        match relay.pipe(source) {
            Pipe::Open | Pipe::Held => record.check_positions(source)?,
            // In a drain, what was read behind the Close frame was thrown away.
            Pipe::Ending | Pipe::Ended if !relay.is_draining() => record.check_positions(source)?,
            Pipe::Sealed => check_close_frame(record, source)?,
            _ => {}
        }
    }
    Ok(constant)
}

pub(crate) fn relay_of(table: &Table, index: u32, record: &Record) -> Result<Relay, RecordFault> {
    Relay::unpack(record.relay(), table.kept(index, record)).ok_or(RecordFault::Relay)
}
