//! Where and when it was measured, and how much else the machine did meanwhile.
//!
//! Called by `compare`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How many processors we may use.
    pub processors: usize,
    /// What they are called.
    pub model: String,
    /// The kernel's version.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn read() -> Machine {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        Machine {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            model: model.unwrap_or("unknown").trim_start_matches([' ', '\t', ':']).to_owned(),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// How busy the machine and our own processes have been so far, in ticks of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    all: u64,
    busy: u64,
    ours: u64,
}

impl Busy {
    /// Until now. Children count as ours once they have ended.
    pub fn read() -> Busy {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Busy::of(stat.lines().next().unwrap_or(""), &own)
    }

    fn of(line: &str, own: &str) -> Busy {
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
        let all = ticks.iter().sum();
        // Idle and waiting for disks; the rest, stolen time included, was not free for us.
        let quiet: u64 = ticks.iter().skip(3).take(2).sum();
        let behind_name = own.rsplit_once(')').map_or("", |(_, rest)| rest);
        // utime, stime, cutime and cstime are fields 14 to 17 (proc(5)); field 3 comes first here.
        let ours = behind_name.split_whitespace().skip(11).take(4);
        let ours = ours.filter_map(|word| word.parse::<u64>().ok()).sum();
        Busy { all, busy: all - quiet, ours }
    }

    /// Which share of the machine others have used since `before`, in per cent.
    pub fn others_percent_since(&self, before: &Busy) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let busy = self.busy.saturating_sub(before.busy);
        let others = busy.saturating_sub(self.ours.saturating_sub(before.ours));
        others as f64 * 100.0 / all as f64
    }
}

/// Today in UTC, as 2026-11-22.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// The day that lies so many days behind the first of January 1970, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30]) {
        if left < length {
            return (year, month, left + 1);
        }
        left -= length;
    }
    (year, 12, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        // `date -u -d '1970-01-01 + N days'`
        let days =
            [(0, (1970, 1, 1)), (58, (1970, 2, 28)), (59, (1970, 3, 1)), (789, (1972, 2, 29))];
        for (number, day) in days {
            assert_eq!(date(number), day);
        }
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_779), (2026, 11, 22));
        assert_eq!(date(364), (1970, 12, 31));
    }

    #[test]
    fn others_are_who_is_busy_and_not_ours() {
        let before =
            Busy::of("cpu 100 0 100 1000 50 0 0 0 0 0", "1 (a b) S 1 1 1 0 0 0 0 0 0 0 5 5 0 0");
        let after =
            Busy::of("cpu 140 0 120 1030 60 0 0 0 0 0", "1 (a b) S 1 1 1 0 0 0 0 0 0 0 25 10 10 5");
        assert_eq!(after.others_percent_since(&before), 20.0);
    }
}
