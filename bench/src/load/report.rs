//! What a finished load says about itself, as one line that `compare` reads.
//!
//! Not the table. Made by the plans; written by `gate`, read by `compare::run`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::histogram::Histogram;

/// The figures of one measured window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages that went there and back; for churn tunnels, for pages requests, for floods the
    /// messages received.
    pub messages: u64,
    /// Payload bytes of one direction.
    pub bytes: u64,
    /// How long the window was, in nanoseconds, its drain included.
    pub nanoseconds: u64,
    /// Median latency, in nanoseconds; 0 where there is none.
    pub p50_ns: u64,
    /// 99 of 100 took no longer, in nanoseconds.
    pub p99_ns: u64,
    /// 999 of 1000 took no longer, in nanoseconds.
    pub p999_ns: u64,
}

impl Report {
    /// The report of `messages` with payloads of `size` bytes each.
    pub fn new(messages: u64, size: usize, elapsed: Duration, latencies: &Histogram) -> Self {
        Report {
            messages,
            bytes: messages * size as u64,
            nanoseconds: elapsed.as_nanos() as u64,
            p50_ns: latencies.quantile(0.5),
            p99_ns: latencies.quantile(0.99),
            p999_ns: latencies.quantile(0.999),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "messages={} bytes={} nanoseconds={} p50_ns={} p99_ns={} p999_ns={}",
            self.messages, self.bytes, self.nanoseconds, self.p50_ns, self.p99_ns, self.p999_ns
        )
    }
}

impl FromStr for Report {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut report = Report::default();
        for word in line.split_whitespace() {
            let (name, value) = word.split_once('=').ok_or(())?;
            let field = match name {
                "messages" => &mut report.messages,
                "bytes" => &mut report.bytes,
                "nanoseconds" => &mut report.nanoseconds,
                "p50_ns" => &mut report.p50_ns,
                "p99_ns" => &mut report.p99_ns,
                "p999_ns" => &mut report.p999_ns,
                _ => return Err(()),
            };
            *field = value.parse().map_err(|_| ())?;
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_what_it_prints() {
        let mut latencies = Histogram::new();
        latencies.note(50);
        let report = Report::new(3, 64, Duration::from_micros(7), &latencies);
        assert_eq!((report.bytes, report.nanoseconds, report.p50_ns), (192, 7000, 50));
        assert_eq!(report.to_string().parse(), Ok(report));
        assert_eq!("messages=x".parse::<Report>(), Err(()));
    }
}
