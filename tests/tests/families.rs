//! Differential cases that a table makes: every byte at every place of a request where it
//! could be read in two ways, and many paths. nginx and perdura must answer alike; where
//! perdura is stricter on purpose, the family says which outcomes are meant.

use perdura_tests::{Case, Outcome, Payload, Program, Step, Suite, Verdict, family, play};

type Clients = Vec<(String, Vec<Step>)>;

/// Whether an outcome that differs from nginx's is meant.
type Meant = fn(&str, &Outcome, &Outcome) -> bool;

fn main() {
    let mut suite = Suite::default();
    add(&mut suite, "transfer encodings", transfer_encodings, closed_or_trimmed);
    add(&mut suite, "bytes in names", || bytes("name", name), refused);
    add(&mut suite, "bytes in values", || bytes("value", value), refused_or_trimmed);
    add(&mut suite, "bytes in targets", || bytes("target", target), refused);
    add(&mut suite, "bytes in methods", || bytes("method", method), never);
    add(&mut suite, "bytes in hosts", || bytes("host", host), refused);
    add(&mut suite, "bytes in versions", || bytes("version", version), never);
    add(&mut suite, "paths", paths, never);
    add(&mut suite, "ranges", ranges, never);
    std::process::exit(suite.run());
}

fn add(suite: &mut Suite, name: &'static str, clients: fn() -> Clients, meant: Meant) {
    suite.add(name, move || run(name, clients(), meant));
}

fn run(name: &str, clients: Clients, meant: Meant) -> Vec<Verdict> {
    if Program::Nginx.find().is_none() {
        return vec![("nginx is installed".to_owned(), Some("apt-get install nginx-light".into()))];
    }
    let case = family(name, stage(), clients);
    let both = play(Program::Nginx, &case, &[])
        .and_then(|nginx| play(Program::Perdura, &case, &[]).map(|ours| (nginx, ours)));
    let (nginx, ours) = match both {
        Ok(both) => both,
        Err(fault) => return vec![("both programs run".to_owned(), Some(fault))],
    };
    let judge = |(client, (nginx, ours)): (&perdura_tests::CaseClient, (Outcome, Outcome))| {
        let (nginx, ours) = (comparable(nginx), comparable(ours));
        let same = nginx == ours || meant(&client.name, &nginx, &ours);
        let why = (!same).then(|| format!("--- nginx\n{nginx}--- perdura\n{ours}"));
        (client.name.clone(), why)
    };
    case.clients.iter().zip(nginx.into_iter().zip(ours)).map(judge).collect()
}

/// Error logs are left out: their wording has cases of its own.
fn comparable(outcome: Outcome) -> Outcome {
    Outcome { errors: String::new(), log: String::new(), ..outcome }
}

fn stage() -> Case {
    let text = "-- http\n    proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n\
        -- upstream\n-- file html/static/a.txt\n0123456789abcdefghijklmnopqrstuvwxyz\n\
        -- server\n\
        location / { proxy_pass http://@upstream@; }\n\
        location /sub/ { proxy_pass http://@upstream@/other/; }\n\
        location /static/ { }\n\
        location ~ ^/(\\w+)/re/ { return 200 \"$1 $uri\"; }\n\
        location ^~ /hat/ { return 200 \"hat $uri\"; }\n";
    Case::parse("family", text).expect("the stage of the families")
}

/// Outcomes that are the same, or meant to be stricter: nothing goes up, and the client is
/// refused (rows `control-bytes`, `field-grammar`, `host`, `fragment`).
fn refused(_: &str, _: &Outcome, ours: &Outcome) -> bool {
    let status = ours.client.split(' ').nth(1).unwrap_or_default();
    ours.upstream.is_empty() && ["400", "501"].contains(&status)
}

/// The same, or a blank at the end of a value that is no part of it (row `blanks`).
fn refused_or_trimmed(name: &str, nginx: &Outcome, ours: &Outcome) -> bool {
    let trimmed = nginx.upstream.replace("\\x09\n", "\n") == ours.upstream;
    refused(name, nginx, ours) || (name.contains("09") && trimmed)
}

/// The same answer, but the connection ends with it, because a field that was dropped may
/// have been framing to somebody (row `odd-framing`); or a tab that is a blank (row `blanks`).
fn closed_or_trimmed(name: &str, nginx: &Outcome, ours: &Outcome) -> bool {
    let closes = ours.client.contains("Connection: close") && ours.client.contains("[closed]");
    let one_answer = ours.client.matches("HTTP/1.1 ").count() == 1;
    let closed = nginx.upstream == ours.upstream && closes && one_answer;
    refused(name, nginx, ours) || closed || name.starts_with("09 ")
}

fn never(_: &str, _: &Outcome, _: &Outcome) -> bool {
    false
}

fn request(head: Vec<u8>) -> Vec<Step> {
    vec![Step::Send(head), Step::Response]
}

/// One client for each byte, at the place that `make` puts it.
fn bytes(place: &str, make: fn(u8) -> Vec<u8>) -> Clients {
    // A line end ends the line: those are cases of their own.
    let odd = (0..=255u8).filter(|byte| !b"\r\n".contains(byte));
    odd.map(|byte| (format!("{place} {byte:02x}"), request(make(byte)))).collect()
}

fn name(byte: u8) -> Vec<u8> {
    let before = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-".as_slice();
    [before, &[byte], b"A: b\r\n\r\n"].concat()
}

fn value(byte: u8) -> Vec<u8> {
    let before = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-A: a".as_slice();
    [before, &[byte], b"b\r\nX-B: ", &[byte], b"\r\n\r\n"].concat()
}

fn target(byte: u8) -> Vec<u8> {
    let after = b"b?c=d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".as_slice();
    [b"GET /sub/a".as_slice(), &[byte], after].concat()
}

fn method(byte: u8) -> Vec<u8> {
    let after = b"T / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".as_slice();
    [b"GE".as_slice(), &[byte], after].concat()
}

fn host(byte: u8) -> Vec<u8> {
    let after = b"b\r\nConnection: close\r\n\r\n".as_slice();
    [b"GET / HTTP/1.1\r\nHost: a".as_slice(), &[byte], after].concat()
}

fn version(byte: u8) -> Vec<u8> {
    let after = b"\r\nHost: a\r\nConnection: close\r\n\r\n".as_slice();
    [b"GET / HTTP/1.".as_slice(), &[byte], after].concat()
}

/// `Transfer-Encoding: chunked` with an odd byte at each of four places, and by name.
fn transfer_encodings() -> Clients {
    let mut clients = Vec::new();
    for byte in (1..=0x1f).chain(0x7f..=0xff).filter(|byte: &u8| !b"\r\n".contains(byte)) {
        for (place, parts) in [
            ("before the name", ["", "Transfer-Encoding: chunked"]),
            ("behind the name", ["Transfer-Encoding", ": chunked"]),
            ("before the value", ["Transfer-Encoding: ", "chunked"]),
            ("behind the value", ["Transfer-Encoding: chunked", ""]),
        ] {
            let line = [parts[0].as_bytes(), &[byte], parts[1].as_bytes()].concat();
            clients.push((format!("{byte:02x} {place}"), smuggle(&line)));
        }
    }
    for line in [
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;",
        "Transfer-Encoding: chunked; a=b",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunk",
        "Transfer-Encoding: chunkedd",
        "Transfer-Encoding: cow, chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:  chunked",
        "transfer-encoding: Chunked",
        "Transfer_Encoding: chunked",
        "Transfer Encoding: chunked",
        "X-A: b\nTransfer-Encoding: chunked",
        "Transfer-Encoding\n: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Content-Encoding: chunked",
        "TE: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\n Transfer-Encoding: chunked",
    ] {
        clients.push((format!("{line:?}"), smuggle(line.as_bytes())));
    }
    clients
}

/// A request whose body is a second request to whoever does not believe the line.
fn smuggle(line: &[u8]) -> Vec<Step> {
    let before = b"POST /first HTTP/1.1\r\nHost: a\r\n".as_slice();
    let after = b"\r\n\r\n0\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\
        Connection: close\r\n\r\n"
        .as_slice();
    vec![Step::Send([before, line, after].concat()), Step::Rest]
}

/// Paths out of the pieces that normalising turns around.
fn paths() -> Clients {
    const PIECES: &[&str] = &[
        "/", "/", "/", "/", ".", "..", "a", "b", "sub", "hat", "re", "static", "a.txt", "%2f",
        "%2F", "%2e", "%2E", "%61", "%25", "%20", "%3f", "%c3%a9", "?", "?x=y", "//", "/./",
        "/../", ";", "+", "%", "%0", "%zz", ":", "@", "\\", "~", "&", "=", "%00", "%7f",
    ];
    let mut chance = Payload::new(20_261_122);
    let mut clients: Clients = Vec::new();
    while clients.len() < 500 {
        let count = 1 + chance.below(9);
        let path: String = (0..count).map(|_| PIECES[chance.below(PIECES.len())]).collect();
        let path = format!("/{path}");
        if clients.iter().any(|(name, _)| *name == path) {
            continue;
        }
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        clients.push((path, request(head.into_bytes())));
    }
    clients
}

/// Ranges out of their pieces.
fn ranges() -> Clients {
    const PIECES: &[&str] =
        &["0", "1", "5", "35", "36", "40", "-", "-", "-", ",", " ", "999999999999999999999"];
    let mut chance = Payload::new(7_233);
    let mut clients: Clients = Vec::new();
    while clients.len() < 200 {
        let count = 1 + chance.below(6);
        let range: String = (0..count).map(|_| PIECES[chance.below(PIECES.len())]).collect();
        // Several ranges have a boundary that is made up anew for each answer.
        let name = format!("bytes={range}");
        if range.contains(',') || clients.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let head = format!(
            "GET /static/a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: {name}\r\n\r\n"
        );
        clients.push((name, request(head.into_bytes())));
    }
    clients
}
