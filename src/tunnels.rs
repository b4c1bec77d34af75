//! `perdura tunnels`: shows the live tunnels of the running master, or ends one.
//!
//! It finds the master as `-s` does, by the pid file of the configuration, and asks it through the
//! control socket beside that.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use perdura_proxy::{Disk, Severity, build};

use crate::cli::{Command, Tunnels};
use crate::control::{self, Ask, AskFault, Connection, Reply, Row};
use crate::paths;
use crate::report::Report;

/// Asks, prints, and gives the exit code.
pub fn run(command: &Command, deed: Tunnels, report: &mut Report) -> u8 {
    let built = build(&Disk::new(), &paths::options(command));
    report.faults(&built.faults, &built.sources);
    let Some(config) = built.config else { return 1 };
    let done = match deed {
        Tunnels::Table => list(&config.process().pid).map(|rows| print(&table(&rows))),
        Tunnels::Json => list(&config.process().pid).map(|rows| print(&json(&rows))),
        Tunnels::Close(tunnel) => close(&config.process().pid, tunnel).map(|()| Ok(())),
    };
    match done {
        Ok(Ok(())) => 0,
        // Who reads has seen enough.
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Ok(Err(error)) => say(report, &error.to_string()),
        Err(text) => say(report, &text),
    }
}

fn say(report: &mut Report, text: &str) -> u8 {
    report.say(Severity::Error, text);
    1
}

fn list(pid: &Path) -> Result<Vec<Row>, String> {
    let text = |fault: AskFault| fault.to_string();
    let connection = Connection::open(&control::path(pid)).map_err(text)?;
    connection.ask(Ask::List).map_err(text)?;
    let mut rows = Vec::new();
    loop {
        match connection.next().map_err(text)? {
            Reply::Rows(more) => rows.extend(more),
            Reply::Done(_) => return Ok(rows),
            Reply::Refused(why) => return Err(why),
        }
    }
}

fn close(pid: &Path, tunnel: u64) -> Result<(), String> {
    let text = |fault: AskFault| fault.to_string();
    let connection = Connection::open(&control::path(pid)).map_err(text)?;
    connection.ask(Ask::Close(tunnel)).map_err(text)?;
    match connection.next().map_err(text)? {
        Reply::Refused(why) => Err(why),
        Reply::Done(_) | Reply::Rows(_) => Ok(()),
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Columns as wide as their widest cell; numbers to the right.
fn table(rows: &[Row]) -> String {
    let mut cells: Vec<[String; COLUMNS.len()]> = vec![COLUMNS.map(|(name, _)| name.to_owned())];
    cells.extend(rows.iter().map(|row| {
        [
            row.id.to_string(),
            shown(&row.client),
            shown(&row.server),
            shown(&row.upstream),
            duration(row.age_ms),
            duration(row.idle_ms),
            row.written[0].to_string(),
            row.written[1].to_string(),
            row.thread.to_string(),
        ]
    }));
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..COLUMNS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &cells {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(COLUMNS) {
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What the network sent must not speak to the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { '?' } else { one }).collect()
}

/// `4.2s`, `12m03s`, `3h05m`, `9d04h`.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// One object a line in one array. Ids are texts: they have more bits than a number of JSON is
/// sure to keep.
fn json(rows: &[Row]) -> String {
    let objects: Vec<String> = rows.iter().map(|row| format!("  {}", object(row))).collect();
    match objects.is_empty() {
        true => "[]\n".into(),
        false => format!("[\n{}\n]\n", objects.join(",\n")),
    }
}

fn object(row: &Row) -> String {
    format!(
        "{{\"id\": \"{}\", \"client\": {}, \"server\": {}, \"upstream\": {}, \"group\": {}, \
         \"request\": {}, \"age_ms\": {}, \"idle_ms\": {}, \"bytes_to_client\": {}, \
         \"bytes_to_upstream\": {}, \"bytes_waiting_for_client\": {}, \
         \"bytes_waiting_for_upstream\": {}, \"half_closed\": {}, \"thread\": {}}}",
        row.id,
        quoted(&row.client),
        quoted(&row.server),
        quoted(&row.upstream),
        quoted(&row.group),
        quoted(&row.request),
        row.age_ms,
        row.idle_ms,
        row.written[0],
        row.written[1],
        row.waiting[0],
        row.waiting[1],
        row.half_closed,
        row.thread,
    )
}

/// RFC 8259, 7.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for one in text.chars() {
        match one {
            '"' | '\\' => quoted.extend(['\\', one]),
            one if u32::from(one) < 0x20 || one == '\x7f' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(one));
            }
            one => quoted.push(one),
        }
    }
    quoted.push('"');
    quoted
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

const COLUMNS: [(&str, Align); 9] = [
    ("ID", Align::Right),
    ("CLIENT", Align::Left),
    ("SERVER", Align::Left),
    ("UPSTREAM", Align::Left),
    ("AGE", Align::Right),
    ("IDLE", Align::Right),
    ("TO-CLIENT", Align::Right),
    ("TO-UPSTREAM", Align::Right),
    ("THREAD", Align::Right),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            id: 4_294_967_296,
            thread: 0,
            client: "::1".into(),
            server: "a\x1b[31m".into(),
            upstream: "127.0.0.1:9".into(),
            group: "backend".into(),
            request: "GET /\"\\\n HTTP/1.1".into(),
            age_ms: 61_000,
            idle_ms: 4_250,
            written: [10, 200],
            waiting: [0, 1],
            half_closed: false,
        }
    }

    #[test]
    fn the_table_is_aligned_and_speaks_to_nobody() {
        assert_eq!(
            table(&[row()]),
            "        ID  CLIENT  SERVER  UPSTREAM       AGE  IDLE  TO-CLIENT  TO-UPSTREAM  THREAD\n\
             4294967296  ::1     a?[31m  127.0.0.1:9  1m01s  4.2s         10          200       0\n"
        );
    }

    #[test]
    fn json_is_json() {
        assert_eq!(json(&[]), "[]\n");
        let text = json(&[row(), row()]);
        assert!(text.contains(r#""request": "GET /\"\\\u000a HTTP/1.1""#), "{text}");
        assert!(text.contains(r#""id": "4294967296""#), "{text}");
        assert_eq!(text.matches("},\n").count(), 1, "{text}");
    }

    #[test]
    fn durations_are_short() {
        let of = |seconds: u64| duration(seconds * 1000);
        assert_eq!([of(0), of(59), of(60), of(3599)], ["0.0s", "59.0s", "1m00s", "59m59s"]);
        assert_eq!([of(3600), of(86_399), of(86_400)], ["1h00m", "23h59m", "1d00h"]);
    }
}
