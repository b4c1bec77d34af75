//! `-s`: finds the running master by its pid file and sends it a signal.

use std::fs;
use std::path::Path;
use std::time::Duration;

use perdura_conf::errno_text;
use perdura_proxy::{Disk, Process, Severity, build};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{Command, Order};
use crate::control::{self, Ask, Connection, Reply};
use crate::paths;
use crate::report::Report;

/// Sends, and gives the exit code. The configuration must be a good one: it names the pid file.
pub fn run(command: &Command, order: Order, report: &mut Report) -> u8 {
    let built = build(&Disk::new(), &paths::options(command));
    report.faults(&built.faults, &built.sources);
    let Some(config) = built.config else { return 1 };
    report.say(Severity::Notice, "signal process started");
    if order == Order::Upgrade {
        return upgrade(config.process(), report);
    }
    match send(&config.process().pid, order) {
        Ok(()) => 0,
        Err((severity, text)) => {
            report.say(severity, &text);
            1
        }
    }
}

/// Not a signal but a request, because its end is to be told.
fn upgrade(process: &Process, report: &mut Report) -> u8 {
    let start = Duration::from_millis(process.upgrade_start_timeout_ms);
    let asked = Connection::open(&control::path(&process.pid)).and_then(|connection| {
        connection.ask(Ask::Upgrade)?;
        connection.answer(start + MOVE_TIME_MAX)
    });
    let why = match asked {
        Ok(Reply::Done(text)) => {
            crate::report::line(&text);
            return 0;
        }
        Ok(Reply::Refused(why)) => why,
        Ok(Reply::Rows(_)) => "the master process answered another question".into(),
        Err(fault) => fault.to_string(),
    };
    report.say(Severity::Error, &why);
    1
}

/// Longer than the master waits for the tunnels, once the new program serves.
const MOVE_TIME_MAX: Duration = Duration::from_secs(60);

fn send(path: &Path, order: Order) -> Result<(), (Severity, String)> {
    let error = |text| (Severity::Error, text);
    let bytes = fs::read(path).map_err(|fault| {
        error(format!("open() \"{}\" failed {}", path.display(), errno_text(&fault)))
    })?;
    let pid = number(&bytes).ok_or_else(|| {
        let text = String::from_utf8_lossy(trimmed(&bytes)).into_owned();
        error(format!("invalid PID number \"{text}\" in \"{}\"", path.display()))
    })?;
    let signal = signal_of(order);
    kill_process(pid, signal).map_err(|errno| {
        let why = errno_text(&errno.into());
        let (pid, signal) = (pid.as_raw_nonzero(), signal.as_raw());
        (Severity::Alert, format!("kill({pid}, {signal}) failed {why}"))
    })
}

fn signal_of(order: Order) -> Signal {
    match order {
        Order::Stop => Signal::TERM,
        Order::Quit => Signal::QUIT,
        Order::Reopen => Signal::USR1,
        Order::Reload => Signal::HUP,
        Order::Upgrade => Signal::USR2,
    }
}

/// Without the line's end, and no more of it than a number can be long.
fn trimmed(bytes: &[u8]) -> &[u8] {
    const BYTES_MAX: usize = 22;
    let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    &bytes[..end.map_or(0, |index| index + 1)]
}

fn number(bytes: &[u8]) -> Option<Pid> {
    let digits = trimmed(bytes);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // 0 and what does not fit are no processes; a negative number would be a group.
    Pid::from_raw(str::from_utf8(digits).ok()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_holds_one_number() {
        let of = |text: &str| number(text.as_bytes()).map(Pid::as_raw_nonzero).map(i32::from);
        assert_eq!(of("123\n"), Some(123));
        assert_eq!(of("123"), Some(123));
        assert_eq!(of("123\r\n\n"), Some(123));
        for text in ["", "\n", "abc", "-1", "0", "12 3", "+5", "99999999999", "123\n4"] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }
}
