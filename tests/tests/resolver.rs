//! Names that a request brings, and name servers that cut, lie, loop, flap or say nothing.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use perdura_tests::nameserver::{A, AAAA, CNAME, labels};
use perdura_tests::{Client, NameServer, Payload, Proxy, Reply, Setup, Upstream, seed};
use rustix::process::Signal;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Where nobody answers.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 6, 6));

fn here(ttl_s: u32) -> Reply {
    Reply::Addresses(ttl_s, vec![HERE])
}

fn lie() -> Reply {
    Reply::Addresses(600, vec![ELSEWHERE])
}

struct Stage {
    proxy: Proxy,
    upstream: Upstream,
}

impl Stage {
    /// A proxy that passes `/?to=NAME` to the upstream under that name.
    fn new(names: &NameServer, parameters: &str, extra: &str) -> Self {
        Self::with(&format!("resolver {} {parameters}; {extra}", names.address()))
    }

    fn with(resolver: &str) -> Self {
        let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 2\n>\n>> up\n");
        let port = upstream.address().port();
        let server = format!("{resolver} location / {{ proxy_pass http://$arg_to:{port}; }}");
        let proxy = Proxy::examined(&Setup::server(&server));
        Self { proxy, upstream }
    }

    #[track_caller]
    fn status(&self, name: &str) -> u16 {
        Client::get(self.proxy.address(), &format!("/?to={name}")).status()
    }

    #[track_caller]
    fn log(&self, line: &str) {
        self.proxy.wait_for_error(line);
    }
}

#[test]
fn an_answer_is_kept_as_long_as_it_says() {
    let names = NameServer::start(|question| match question.name.as_str() {
        "long.example" => here(600),
        _ => here(0),
    });
    let stage = Stage::new(&names, "ipv6=off", "");
    for _ in 0..3 {
        assert_eq!(stage.status("long.example"), 200);
        assert_eq!(stage.status("never.example"), 200);
    }
    assert_eq!((names.asked("long.example"), names.asked("never.example")), (1, 3));
}

#[test]
fn valid_overrides_what_an_answer_says() {
    let names = NameServer::start(|_| here(0));
    let mut stage = Stage::new(&names, "ipv6=off valid=10m", "");
    (0..3).for_each(|_| assert_eq!(stage.status("a.example"), 200));
    assert_eq!(names.asked("a.example"), 1);
    // A reload that leaves the resolver as it was keeps what it knows.
    let port = stage.upstream.address().port();
    let resolver = format!("resolver {} ipv6=off valid=10m;", names.address());
    stage.proxy.rewrite(&Setup::server(&format!(
        "{resolver} location / {{ proxy_pass http://$arg_to:{port}; }} \
         location = /new {{ return 204; }}"
    )));
    stage.proxy.signal(Signal::HUP);
    perdura_tests::until("the new configuration holds", Duration::from_secs(8), || {
        Client::get(stage.proxy.address(), "/new").status() == 204
    });
    assert_eq!(stage.status("a.example"), 200);
    assert_eq!(names.asked("a.example"), 1);
}

#[test]
fn both_families_are_asked_unless_one_is_left_out() {
    let names = NameServer::start(|question| match question.kind {
        A => here(60),
        _ => Reply::Addresses(60, Vec::new()),
    });
    let kinds = |name: &str| -> HashSet<u16> {
        let questions = names.questions().into_iter();
        questions.filter(|one| one.name == name).map(|one| one.kind).collect()
    };
    assert_eq!(Stage::new(&names, "", "").status("both.example"), 200);
    assert_eq!(kinds("both.example"), HashSet::from([A, AAAA]));
    assert_eq!(Stage::new(&names, "ipv6=off", "").status("four.example"), 200);
    assert_eq!(kinds("four.example"), HashSet::from([A]));
    assert_eq!(Stage::new(&names, "ipv4=off", "").status("six.example"), 502);
    assert_eq!(kinds("six.example"), HashSet::from([AAAA]));
}

#[test]
fn a_family_that_is_silent_does_not_hold_the_other_back() {
    let names = NameServer::start(|question| match question.kind {
        A => here(60),
        _ => Reply::Silence,
    });
    let stage = Stage::new(&names, "", "resolver_timeout 20s;");
    let begun = Instant::now();
    assert_eq!(stage.status("a.example"), 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn all_who_wait_for_a_name_ask_once() {
    let names = NameServer::start(|_| Reply::Silence);
    let stage = Stage::new(&names, "ipv6=off", "resolver_timeout 1s;");
    let address = stage.proxy.address();
    let ask = || std::thread::spawn(move || Client::get(address, "/?to=a.example").status());
    let waiting: Vec<_> = (0..20).map(|_| ask()).collect();
    for thread in waiting {
        assert_eq!(thread.join().expect("an answer"), 502);
    }
    stage.log("a.example could not be resolved (110: Operation timed out)");
    assert_eq!(names.asked("a.example"), 1);
}

#[test]
fn guesses_and_strangers_are_not_believed() {
    let names = NameServer::start(|_| {
        Reply::Several(vec![
            Reply::OtherId(Box::new(lie())),
            Reply::OtherPort(Box::new(lie())),
            Reply::Raw(b"\xff".to_vec()),
            Reply::Records(vec![("bank.example".into(), A, 600, vec![127, 66, 6, 6])]),
        ])
    });
    let stage = Stage::new(&names, "ipv6=off", "resolver_timeout 2s;");
    // The last packet is the answer: it says nothing about the name that was asked for.
    assert_eq!(stage.status("a.example"), 502);
    stage.log("a.example could not be resolved (3: Host not found)");
    assert!(stage.upstream.requests().is_empty());
    let names = NameServer::start(|_| {
        let lies = [Reply::OtherId(Box::new(lie())), Reply::OtherPort(Box::new(lie()))];
        Reply::Several(lies.into_iter().chain([here(60)]).collect())
    });
    assert_eq!(Stage::new(&names, "ipv6=off", "").status("a.example"), 200);
}

#[test]
fn a_flood_of_guesses_ends() {
    let guess = || Reply::OtherId(Box::new(lie()));
    let names = NameServer::start(move |_| Reply::Several((0..300).map(|_| guess()).collect()));
    let stage = Stage::new(&names, "ipv6=off", "resolver_timeout 1s;");
    assert_eq!(stage.status("a.example"), 502);
    stage.log("no packet was an answer while resolving, resolver: ");
}

#[test]
fn numbers_and_ports_cannot_be_guessed() {
    let names = NameServer::start(|_| here(0));
    let stage = Stage::new(&names, "ipv6=off", "");
    (0..60).for_each(|_| assert_eq!(stage.status("a.example"), 200));
    let questions = names.questions();
    let ids: HashSet<_> = questions.iter().map(|one| one.id).collect();
    let ports: HashSet<_> = questions.iter().map(|one| one.port).collect();
    assert!(ids.len() > 50 && ports.len() > 50, "{} numbers, {} ports", ids.len(), ports.len());
    let mut ordered: Vec<_> = questions.iter().map(|one| one.id).collect();
    ordered.sort_unstable();
    assert_ne!(ordered, questions.iter().map(|one| one.id).collect::<Vec<_>>());
}

#[test]
fn a_cut_answer_is_fetched_whole() {
    let names = NameServer::start(|question| match (question.by_stream, question.name.as_str()) {
        (false, _) => Reply::Cut,
        (true, "big.example") => {
            // 64 KiB of records, the good ones last.
            let filler = |number: u32| ("x".into(), A, 60, number.to_be_bytes().to_vec());
            let mut records: Vec<_> = (0..3300).map(filler).collect();
            records.extend((0..280).map(|_| (question.name.clone(), A, 60, vec![127, 0, 0, 1])));
            Reply::Records(records)
        }
        (true, "cut.example") => Reply::Cut,
        (true, _) => here(60),
    });
    let stage = Stage::new(&names, "ipv6=off", "resolver_timeout 1s;");
    assert_eq!(stage.status("a.example"), 200);
    assert_eq!(stage.status("big.example"), 200);
    assert_eq!(stage.status("cut.example"), 502);
    stage.log("no packet was an answer while resolving");
}

#[test]
fn aliases_are_followed_and_circles_are_left() {
    let names = NameServer::start(|question| {
        let name = question.name.as_str();
        let step = name.strip_prefix('n').and_then(|number| number.parse::<u32>().ok());
        match (name, step) {
            ("a.example", _) => Reply::Alias("b.example".into()),
            ("b.example", _) => here(60),
            ("loop.example", _) => Reply::Alias("pool.example".into()),
            ("pool.example", _) => Reply::Alias("loop.example".into()),
            ("self.example", _) => Reply::Alias("self.example".into()),
            (_, Some(step)) => Reply::Alias(format!("n{}", step + 1)),
            _ => Reply::Code(3),
        }
    });
    let stage = Stage::new(&names, "ipv6=off", "");
    assert_eq!(stage.status("a.example"), 200);
    for name in ["loop.example", "self.example", "n0"] {
        assert_eq!(stage.status(name), 502, "{name}");
        stage.log(&format!("{name} could not be resolved (2: Server failure)"));
    }
    assert!(names.questions().len() < 200, "{} questions", names.questions().len());
}

#[test]
fn the_next_server_is_asked_when_one_is_down() {
    let names = NameServer::start(|_| here(0));
    // A port that nobody has, held so that nobody gets it.
    let dead = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let dead_address = dead.local_addr().expect("the bound address");
    dead.connect("127.0.0.1:9").expect("a peer that never writes");
    let resolver = format!("resolver {dead_address} {} ipv6=off;", names.address());
    let stage = Stage::with(&resolver);
    (0..4).for_each(|_| assert_eq!(stage.status("a.example"), 200));
    stage.log("recv() failed (111: Connection refused) while resolving, resolver: ");
}

#[test]
fn a_resolver_that_is_down_costs_its_time_only() {
    let dead = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = dead.local_addr().expect("the bound address");
    dead.connect("127.0.0.1:9").expect("a peer that never writes");
    let stage = Stage::with(&format!("resolver {address}; resolver_timeout 300ms;"));
    assert_eq!(stage.status("a.example"), 502);
    stage.log("a.example could not be resolved (110: Operation timed out)");
    // nginx gives up nothing: the next request asks again.
    assert_eq!(stage.status("a.example"), 502);
}

#[test]
fn a_name_that_comes_and_goes() {
    let names = NameServer::start(|question| match question.before % 2 {
        0 => Reply::Code(3),
        _ => here(0),
    });
    let stage = Stage::new(&names, "ipv6=off", "");
    for _ in 0..5 {
        assert_eq!(stage.status("a.example"), 502);
        assert_eq!(stage.status("a.example"), 200);
    }
}

#[test]
fn a_client_that_leaves_ends_the_look_up() {
    let names = NameServer::start(|_| Reply::Silence);
    let stage = Stage::new(&names, "ipv6=off", "");
    let mut client = Client::connect(stage.proxy.address());
    client.send("GET /?to=a.example HTTP/1.1\r\nHost: a\r\n\r\n");
    perdura_tests::until("the server is asked", Duration::from_secs(5), || {
        names.asked("a.example") == 1
    });
    drop(client);
    stage.log("client prematurely closed connection while resolving");
}

#[test]
fn whatever_a_server_sends_the_proxy_lives() {
    let seed = seed();
    let names = NameServer::start(move |question| {
        let mut chance = Payload::new(seed ^ question.before as u64);
        let length = chance.below(600);
        let mut bytes = chance.take(length);
        if bytes.len() > 12 {
            // A good head, so that the reader goes on.
            let head = [question.id.to_be_bytes(), [0x81, 0x80], [0, 1], [0, 9]].concat();
            bytes[..8].copy_from_slice(&head);
            let asked = labels(&question.name);
            if bytes.len() > 16 + asked.len() {
                bytes[12..12 + asked.len()].copy_from_slice(&asked);
                let kind = [0, question.kind as u8, 0, 1];
                bytes[12 + asked.len()..16 + asked.len()].copy_from_slice(&kind);
            }
        }
        let circle = Reply::Records(vec![(
            question.name.clone(),
            CNAME,
            60,
            // A pointer to itself: behind head, question and the record's fixed part.
            vec![0xc0, (12 + 2 * (labels(&question.name).len() + 4) + 6) as u8],
        )]);
        Reply::Several(vec![Reply::Raw(bytes), circle, Reply::Code(3)])
    });
    let stage = Stage::new(&names, "ipv6=off", "resolver_timeout 2s;");
    for _ in 0..100 {
        assert_eq!(stage.status("a.example"), 502, "seed {seed}");
    }
    assert_eq!(stage.proxy.workers().len(), 1);
}
