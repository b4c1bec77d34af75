//! Open loop: messages leave by the clock, over all tunnels in turn, whatever comes back.
//!
//! Latency counts from the moment a message should have left, so a stall is not hidden by the
//! messages that it kept from being sent.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::Times;
use super::echo_target;
use super::fault::Fault;
use super::fleet::{Event, First, Fleet, PATIENCE, TIMER};
use super::gate::Gate;
use super::histogram::Histogram;
use super::report::Report;

/// How many messages one tunnel may have under way: beyond it the proxy is too slow for the plan.
const UNDER_WAY_MAX: u64 = 64;
/// The clock ticks at most this often; messages that are due together leave together.
const TICK_MIN: Duration = Duration::from_micros(20);

/// Opens the tunnels, warms them up and measures.
pub fn run(
    fleet: &mut Fleet,
    tunnels: u32,
    per_second: u32,
    times: Times,
    gate: &mut dyn Gate,
) -> Result<Report, Fault> {
    fleet.open(tunnels, First::Message, &echo_target)?;
    let timer = ticking(Duration::from_secs(1) / per_second)?;
    fleet.poll.add_level(&timer, TIMER).map_err(Fault::system("register the timer"))?;
    let mut schedule = Schedule { timer, tunnels: tunnels as usize, per_second };
    schedule.window(fleet, times.warm)?;
    gate.ready()?;
    let report = schedule.window(fleet, times.window)?;
    gate.done(&report)?;
    Ok(report)
}

/// Which message is due when.
struct Schedule {
    timer: OwnedFd,
    tunnels: usize,
    per_second: u32,
}

impl Schedule {
    fn window(&mut self, fleet: &mut Fleet, length: Duration) -> Result<Report, Fault> {
        let total = (length.as_secs_f64() * f64::from(self.per_second)) as u64;
        let before: Vec<u64> = (0..self.tunnels).map(|at| received(fleet, at)).collect();
        let mut noted = before.clone();
        let mut latencies = Histogram::new();
        let (mut sent, mut back) = (0, 0);
        let begun = Instant::now();
        while back < total {
            fleet.turn(PATIENCE, &mut |fleet, event| match event {
                Event::Timer => {
                    self.clear_timer()?;
                    self.send_due(fleet, begun, &mut sent, total)
                }
                Event::Tunnel(index, _) => {
                    let now = Instant::now();
                    while noted[index] < received(fleet, index) {
                        let turn = noted[index] - before[index];
                        let due = begun + self.due(turn * self.tunnels as u64 + index as u64);
                        latencies.note(now.saturating_duration_since(due).as_nanos() as u64);
                        noted[index] += 1;
                        back += 1;
                    }
                    Ok(())
                }
            })?;
            if begun.elapsed() > length + PATIENCE {
                return Err(Fault::Stalled { patience: PATIENCE });
            }
        }
        Ok(Report::new(back, fleet.tools.size(), begun.elapsed(), &latencies))
    }

    /// When message `number` of the window is due, from its beginning.
    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos(
            (u128::from(number) * 1_000_000_000 / u128::from(self.per_second)) as u64,
        )
    }

    fn send_due(
        &self,
        fleet: &mut Fleet,
        begun: Instant,
        sent: &mut u64,
        total: u64,
    ) -> Result<(), Fault> {
        let elapsed = begun.elapsed();
        while *sent < total && self.due(*sent) <= elapsed {
            let index = (*sent % self.tunnels as u64) as usize;
            fleet.send(index)?;
            *sent += 1;
            if let Some(client) = fleet.client(index)
                && client.under_way() > UNDER_WAY_MAX
            {
                return Err(Fault::TooSlow { tunnel: client.number() });
            }
        }
        Ok(())
    }

    fn clear_timer(&self) -> Result<(), Fault> {
        match rustix::io::read(&self.timer, &mut [0u8; 8][..]) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Fault::System { deed: "read the timer", errno }),
        }
    }
}

fn received(fleet: &Fleet, index: usize) -> u64 {
    fleet.client(index).map_or(0, |client| client.received())
}

fn ticking(interval: Duration) -> Result<OwnedFd, Fault> {
    let interval = interval.max(TICK_MIN);
    let spec =
        Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: i64::from(interval.subsec_nanos()) };
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer =
        timerfd_create(TimerfdClockId::Monotonic, flags).map_err(Fault::system("make a timer"))?;
    let ticks = Itimerspec { it_interval: spec, it_value: spec };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &ticks)
        .map_err(Fault::system("set the timer"))?;
    Ok(timer)
}
