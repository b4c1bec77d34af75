//! The time of a log line, in the local time zone.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as nginx's error log has it: `2026/11/22 14:00:00`.
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    text(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn text(seconds: i64) -> String {
    // SAFETY: the structure may be all zeroes, and both pointers are valid for the call. The zone
    // is read by the first call; the master has one thread, which never changes the environment.
    let time = unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut time);
        time
    };
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}",
        i64::from(time.tm_year) + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_shape_of_nginx() {
        let text = text(1_793_455_200);
        let shape: String =
            text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000/00/00 00:00:00", "{text}");
        assert!(text.starts_with("2026/"), "{text}");
    }
}
