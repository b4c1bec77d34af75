//! 100,000 generated paths through generated locations: nginx and perdura must find the same
//! location and normalise the path alike. Requests are pipelined, so it takes seconds.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use perdura_tests::{Payload, Program, Proxy, Setup};

/// Configurations, each with paths of its own.
const ROUNDS: u64 = 10;
const PATHS_PER_ROUND: usize = 10_000;

/// Requests that are sent before an answer is read.
const BATCH: usize = 100;

const SEED: u64 = 20_261_122;

/// What paths and the names of locations are made of.
const PIECES: &[&str] = &["a", "b", "ab", "A", "x.a", "x.b", "c d", ".", "..", "...", ".a", "%"];

/// The same pieces, as a client may write them, and what only a client writes.
const RAW: &[&str] = &[
    "a", "b", "ab", "A", "x.a", "x.b", "c%20d", ".", "..", "...", ".a", "%25", "%61", "%41", "%2e",
    "%2E%2e", "%2f", "", "", "a%2Fb", "%c3%a9", "a+b", "a;b", "%3f", "%23", "a:b", "~", "%7e",
];

const PATTERNS: &[&str] =
    &["\\.a$", "\\.b$", "^/a/b", "(?i)^/A/", "b/?$", "/(a|b)/\\.", " ", "^/(\\w+)/ab", "%", "\\n"];

fn seed() -> u64 {
    std::env::var("PERDURA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

#[test]
fn the_same_location_and_the_same_path() {
    if Program::Nginx.find().is_none() {
        panic!("nginx is not installed: apt-get install nginx-light");
    }
    let seed = seed();
    let mut refused = 0;
    for round in 0..ROUNDS {
        let mut chance = Payload::new(seed + round);
        let content = locations(&mut chance);
        let setup = Setup::server(&content).http("keepalive_requests 1000000;");
        let paths: Vec<String> = (0..PATHS_PER_ROUND).map(|_| path(&mut chance)).collect();
        let (nginx, ours) =
            (Proxy::start(Program::Nginx, &setup), Proxy::start(Program::Perdura, &setup));
        let (nginx, ours) = std::thread::scope(|scope| {
            let other = scope.spawn(|| answers(nginx.address(), &paths));
            let ours = answers(ours.address(), &paths);
            (other.join().expect("nginx answers"), ours)
        });
        for ((path, nginx), ours) in paths.iter().zip(&nginx).zip(&ours) {
            assert_eq!(ours, nginx, "{path} with PERDURA_SEED={seed}, round {round}:\n{content}");
            refused += usize::from(nginx.starts_with("400"));
        }
    }
    let all = ROUNDS as usize * PATHS_PER_ROUND;
    assert!(refused > all / 100 && refused < all / 2, "{refused} of {all} were no paths");
}

/// Locations of all kinds, some inside others; each says which it is.
fn locations(chance: &mut Payload) -> String {
    let mut text = String::new();
    let mut names = Vec::new();
    for number in 0..25 {
        let name = name(chance);
        if names.contains(&name) {
            continue;
        }
        let answer = format!("return 200 \"{number} $uri\";");
        let inner = match chance.below(3) {
            0 => format!("location \"{name}/a\" {{ return 200 \"{number}a $uri\"; }}"),
            1 => format!("location ~ \\.b$ {{ return 200 \"{number}b $uri\"; }}"),
            _ => String::new(),
        };
        let _ = match chance.below(4) {
            0 => writeln!(text, "location = \"{name}\" {{ {answer} }}"),
            1 => writeln!(text, "location ^~ \"{name}\" {{ {answer} {inner} }}"),
            _ => writeln!(text, "location \"{name}\" {{ {answer} {inner} }}"),
        };
        names.push(name);
    }
    for _ in 0..chance.below(5) {
        let number = chance.below(PATTERNS.len());
        let pattern = PATTERNS[number];
        let _ = writeln!(text, "location ~ \"{pattern}\" {{ return 200 \"~{number} $uri $1\"; }}");
    }
    let slashes = if chance.below(3) == 0 { "merge_slashes off;" } else { "" };
    format!("access_log off; {slashes}\n{text}")
}

fn name(chance: &mut Payload) -> String {
    let count = 1 + chance.below(3);
    let mut name = String::new();
    for _ in 0..count {
        name.push('/');
        name.push_str(PIECES[chance.below(PIECES.len())]);
    }
    if chance.below(3) == 0 {
        name.push('/');
    }
    name
}

fn path(chance: &mut Payload) -> String {
    let mut path = String::new();
    for _ in 0..1 + chance.below(6) {
        path.push('/');
        path.push_str(RAW[chance.below(RAW.len())]);
    }
    match chance.below(8) {
        0 | 1 => path.push('/'),
        2 => path.push_str("?a=/../b"),
        3 => path.push_str("/.."),
        _ => {}
    }
    path
}

/// Status and body for each path. Who closes behind an answer is asked the rest anew.
fn answers(address: SocketAddr, paths: &[String]) -> Vec<String> {
    let mut answers = Vec::with_capacity(paths.len());
    while answers.len() < paths.len() {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.set_nodelay(true).expect("a socket that does not wait");
        let mut reader = BufReader::new(stream);
        while answers.len() < paths.len() {
            let batch = &paths[answers.len()..paths.len().min(answers.len() + BATCH)];
            let requests: String = batch
                .iter()
                .map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .collect();
            // Whoever has closed already is asked anew.
            if reader.get_mut().write_all(requests.as_bytes()).is_err() {
                break;
            }
            let before = answers.len();
            let is_open = batch.iter().all(|_| match answer(&mut reader) {
                Some((answer, keeps)) => {
                    answers.push(answer);
                    keeps
                }
                None => false,
            });
            assert!(answers.len() > before || is_open, "no answer to {}", batch[0]);
            if !is_open {
                break;
            }
        }
    }
    answers
}

/// One answer, and whether the connection stays open behind it.
fn answer(reader: &mut BufReader<TcpStream>) -> Option<(String, bool)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
    let status = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut keeps) = (0, true);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse().ok()?;
        }
        keeps &= line != "Connection: close";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    // The pages of errors name the program.
    let body =
        if status == "200" { String::from_utf8_lossy(&body).into_owned() } else { String::new() };
    Some((format!("{status} {body}"), keeps))
}
