//! The resolver of a thread: a name's look-up over aliases and servers, shared by all who wait for
//! the same name.

use super::cache::Cache;
use super::exchange::{self, AskFault, PATIENCE, random_number};
use super::message::{ALIASES_MAX, Answer, Found, Kind};
use super::{Families, Name, Setup};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Why a name has no addresses; the words and numbers are nginx's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFault {
    /// The server's own code: 1 to 5 (RFC 1035, 4.1.1).
    Code(u8),
    TimedOut,
    /// So many names are asked for that no more can be.
    Busy,
}

impl LookupFault {
    const SERVER_FAILURE: Self = Self::Code(2);
    pub const NOT_FOUND: Self = Self::Code(3);
}

impl fmt::Display for LookupFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, words) = match self {
            Self::Code(1) => (1, "Format error"),
            Self::Code(2) => (2, "Server failure"),
            Self::Code(3) => (3, "Host not found"),
            Self::Code(4) => (4, "Unimplemented"),
            Self::Code(5) => (5, "Operation refused"),
            Self::Code(code) => (i32::from(*code), "Unknown error"),
            Self::TimedOut => (110, "Operation timed out"),
            Self::Busy => (11, "Too many names are being resolved"),
        };
        write!(out, "{code}: {words}")
    }
}

/// What came of a look-up.
type Outcome = Result<Rc<[IpAddr]>, LookupFault>;

/// Those who wait for a name hold receivers of it.
type Flight = Rc<watch::Sender<Option<Outcome>>>;

/// Says something to the error log.
type Complain = Rc<dyn Fn(&str)>;

/// The resolvers of one thread, each with its cache: they outlive the configuration that names them.
pub struct Resolvers {
    by_setup: RefCell<HashMap<Arc<Setup>, Rc<Resolver>>>,
    complain: Complain,
}

/// The resolver of one `resolver` directive.
pub struct Resolver {
    setup: Arc<Setup>,
    cache: RefCell<Cache>,
    flights: RefCell<HashMap<Name, Flight>>,
    /// Which server is asked first next time.
    turn: Cell<usize>,
    complain: Complain,
}

/// Names that are asked for at once by one resolver, at most.
const FLIGHTS_MAX: usize = 1024;

/// How often all servers are asked for one name, at most.
const ROUNDS_MAX: usize = 16;

/// How long the addresses of one family are held back for those of the other. nginx waits until the
/// request's own time is over.
const FAMILY_GRACE: Duration = Duration::from_secs(2);

impl Resolvers {
    pub fn new(complain: impl Fn(&str) + 'static) -> Self {
        Self { by_setup: RefCell::default(), complain: Rc::new(complain) }
    }

    /// The resolver with this setup; its cache is kept across reloads that leave it as it is.
    pub fn get(&self, setup: &Arc<Setup>) -> Rc<Resolver> {
        let mut all = self.by_setup.borrow_mut();
        let make = || Rc::new(Resolver::new(Arc::clone(setup), Rc::clone(&self.complain)));
        Rc::clone(all.entry(Arc::clone(setup)).or_insert_with(make))
    }

    /// Forgets answers that no longer hold, and resolvers that know nothing.
    pub fn sweep(&self, now_ms: u64) {
        self.by_setup.borrow_mut().retain(|_, resolver| {
            resolver.cache.borrow_mut().sweep(now_ms);
            let idle = resolver.cache.borrow().is_empty() && resolver.flights.borrow().is_empty();
            !idle || Rc::strong_count(resolver) > 1
        });
    }
}

impl Resolver {
    fn new(setup: Arc<Setup>, complain: Complain) -> Self {
        Self {
            setup,
            cache: RefCell::default(),
            flights: RefCell::default(),
            turn: Cell::default(),
            complain,
        }
    }

    /// The addresses of a name, in an order that begins anywhere, within `limit`.
    pub async fn resolve(
        self: &Rc<Self>,
        text: &str,
        limit: Duration,
    ) -> Result<Vec<IpAddr>, LookupFault> {
        let name = Name::parse(text).ok_or(LookupFault::NOT_FOUND)?;
        if let Some(known) = self.cache.borrow().get(&name, crate::now_ms()) {
            return Ok(rotated(&known));
        }
        let mut outcome = self.flight(name)?.subscribe();
        let waited = tokio::time::timeout(limit, outcome.wait_for(Option::is_some)).await;
        let arrived = match waited {
            Ok(Ok(value)) => value.clone(),
            // Whoever looked it up has panicked.
            Ok(Err(_)) => None,
            Err(_) => return Err(LookupFault::TimedOut),
        };
        arrived.unwrap_or(Err(LookupFault::SERVER_FAILURE)).map(|found| rotated(&found))
    }

    /// The look-up of a name that is under way, or a new one.
    fn flight(self: &Rc<Self>, name: Name) -> Result<Flight, LookupFault> {
        let mut flights = self.flights.borrow_mut();
        if let Some(flight) = flights.get(&name) {
            return Ok(Rc::clone(flight));
        }
        if flights.len() >= FLIGHTS_MAX {
            return Err(LookupFault::Busy);
        }
        let flight: Flight = Rc::new(watch::Sender::new(None));
        flights.insert(name.clone(), Rc::clone(&flight));
        tokio::task::spawn_local(fly(Rc::clone(self), name, Rc::clone(&flight)));
        Ok(flight)
    }

    /// Looks a name up, whoever may have asked before.
    async fn look_up(&self, name: &Name) -> Outcome {
        let (addresses, ttl_s) = match self.setup.families {
            Families::Ipv4 => self.family(name, Kind::A).await?,
            Families::Ipv6 => self.family(name, Kind::Aaaa).await?,
            Families::Both => self.both(name).await?,
        };
        let addresses: Rc<[IpAddr]> = addresses.into();
        let ms = self.setup.valid_ms.unwrap_or(u64::from(ttl_s) * 1000);
        let known = Rc::clone(&addresses);
        self.cache.borrow_mut().put(name.clone(), known, ms, crate::now_ms());
        Ok(addresses)
    }

    /// Both families at once; the first addresses wait a while for the others.
    async fn both(&self, name: &Name) -> Result<(Vec<IpAddr>, u32), LookupFault> {
        let (v4, v6) = (self.family(name, Kind::A), self.family(name, Kind::Aaaa));
        tokio::pin!(v4, v6);
        let (v4, v6) = tokio::select! {
            first = &mut v4 => {
                let second = match first {
                    Ok(_) => tokio::time::timeout(FAMILY_GRACE, v6).await.ok(),
                    Err(_) => Some(v6.await),
                };
                (Some(first), second)
            }
            first = &mut v6 => {
                let second = match first {
                    Ok(_) => tokio::time::timeout(FAMILY_GRACE, v4).await.ok(),
                    Err(_) => Some(v4.await),
                };
                (second, Some(first))
            }
        };
        match (v4, v6) {
            (Some(Ok((mut all, ttl4_s))), Some(Ok((more, ttl6_s)))) => {
                all.extend(more);
                Ok((all, ttl4_s.min(ttl6_s)))
            }
            (Some(Ok(one)), _) | (_, Some(Ok(one))) => Ok(one),
            // That a name does not exist says less than any other fault.
            (Some(Err(LookupFault::NOT_FOUND)), Some(Err(fault))) | (Some(Err(fault)), _) => {
                Err(fault)
            }
            (None, Some(Err(fault))) => Err(fault),
            (None, None) => Err(LookupFault::TimedOut),
        }
    }

    /// The addresses of one family, through as many aliases as it takes.
    async fn family(&self, name: &Name, kind: Kind) -> Result<(Vec<IpAddr>, u32), LookupFault> {
        let mut name = name.clone();
        let mut ttl_s = u32::MAX;
        for _ in 0..ALIASES_MAX {
            let answer = self.question(&name, kind).await?;
            if answer.code != 0 {
                return Err(LookupFault::Code(answer.code));
            }
            match answer.follow(&name) {
                Found::Addresses(addresses, own_s) => return Ok((addresses, ttl_s.min(own_s))),
                Found::Alias(target, own_s) => {
                    ttl_s = ttl_s.min(own_s);
                    name = target;
                }
                Found::Nothing => return Err(LookupFault::NOT_FOUND),
                Found::Endless => break,
            }
        }
        (self.complain)(&format!("aliases of {name} lead to no end while resolving"));
        Err(LookupFault::SERVER_FAILURE)
    }

    /// Asks one server after the other, round by round.
    async fn question(&self, name: &Name, kind: Kind) -> Result<Answer, LookupFault> {
        let servers = &self.setup.servers;
        let first = self.turn.replace(self.turn.get().wrapping_add(1));
        for _ in 0..ROUNDS_MAX {
            // A round in which all servers refuse is over at once; the next one waits.
            let pause = tokio::time::sleep(PATIENCE);
            for offset in 0..servers.len() {
                let server = servers[first.wrapping_add(offset) % servers.len()];
                match exchange::ask(server, name, kind).await {
                    // nginx takes these for no answer at all.
                    Ok(answer) if answer.code == 1 || answer.code > 5 => {
                        let code = LookupFault::Code(answer.code);
                        self.complain_of(server, &format!("DNS error ({code})"));
                    }
                    Ok(answer) => return Ok(answer),
                    Err(fault) => self.note(server, &fault),
                }
            }
            pause.await;
        }
        Err(LookupFault::TimedOut)
    }

    fn note(&self, server: SocketAddr, fault: &AskFault) {
        match fault {
            AskFault::System(deed, error) => {
                let reason = crate::errno_text(error);
                self.complain_of(server, &format!("{deed} failed ({reason})"));
            }
            AskFault::Closed => self.complain_of(server, "server closed the connection"),
            AskFault::Nonsense => self.complain_of(server, "no packet was an answer"),
            // nginx says nothing of a packet that may have been lost.
            AskFault::Silent => {}
        }
    }

    fn complain_of(&self, server: SocketAddr, what: &str) {
        (self.complain)(&format!("{what} while resolving, resolver: {server}"));
    }
}

/// Looks a name up for as long as somebody waits for it.
async fn fly(resolver: Rc<Resolver>, name: Name, flight: Flight) {
    let landing = Landing { resolver: &resolver, name: &name };
    let outcome = tokio::select! {
        outcome = resolver.look_up(&name) => Some(outcome),
        () = nobody_waits(&flight) => None,
    };
    // Who comes from here on looks into the cache.
    drop(landing);
    flight.send_replace(outcome);
}

/// Resolves when the last of those who wait has gone.
async fn nobody_waits(flight: &Flight) {
    loop {
        flight.closed().await;
        if flight.receiver_count() == 0 {
            return;
        }
    }
}

/// Takes the flight out of the list, also when the look-up panics.
struct Landing<'r> {
    resolver: &'r Resolver,
    name: &'r Name,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.resolver.flights.borrow_mut().remove(self.name);
    }
}

/// The addresses from any of them on, so that the first is not always the same.
fn rotated(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut list = addresses.to_vec();
    if let Some(count) = std::num::NonZeroUsize::new(list.len()) {
        // Without a random number they stay as they are.
        list.rotate_left(usize::from(random_number().unwrap_or(0)) % count);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(test);
    }

    /// A resolver before a server that says nothing, which must be kept.
    fn silent() -> (Rc<Resolver>, std::net::UdpSocket) {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let setup = Setup {
            servers: vec![server.local_addr().unwrap()],
            valid_ms: None,
            families: Families::Ipv4,
        };
        (Rc::new(Resolver::new(Arc::new(setup), Rc::new(|_: &str| {}))), server)
    }

    #[test]
    fn names_under_way_have_a_limit_and_are_given_back() {
        run(async {
            let (resolver, _server) = silent();
            let limit = Duration::from_secs(1);
            let waiting: Vec<_> = (0..FLIGHTS_MAX)
                .map(|number| {
                    let resolver = Rc::clone(&resolver);
                    tokio::task::spawn_local(async move {
                        resolver.resolve(&format!("n{number}"), limit).await
                    })
                })
                .collect();
            while resolver.flights.borrow().len() < FLIGHTS_MAX {
                tokio::task::yield_now().await;
            }
            assert_eq!(resolver.resolve("more", limit).await, Err(LookupFault::Busy));
            // Who asks for a name that is under way needs no place of its own.
            assert_eq!(resolver.resolve("n1", limit).await, Err(LookupFault::TimedOut));
            for task in waiting {
                assert_eq!(task.await.unwrap(), Err(LookupFault::TimedOut));
            }
            while !resolver.flights.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        run(async {
            let (resolver, server) = silent();
            server.set_nonblocking(true).unwrap();
            for text in ["", ".", "a..b", &"x".repeat(64)] {
                let found = resolver.resolve(text, Duration::from_secs(5)).await;
                assert_eq!(found, Err(LookupFault::NOT_FOUND), "{text:?}");
            }
            assert!(server.recv(&mut [0; 1]).is_err());
        });
    }

    #[test]
    fn a_server_that_says_nothing_is_not_asked_for_ever() {
        run(async {
            // Timers run out as soon as nothing else is left to do.
            tokio::time::pause();
            let (resolver, server) = silent();
            server.set_nonblocking(true).unwrap();
            let found = resolver.resolve("a.example", Duration::from_secs(86_400)).await;
            assert_eq!(found, Err(LookupFault::TimedOut));
            let packets = std::iter::from_fn(|| server.recv(&mut [0; 512]).ok());
            assert_eq!(packets.count(), ROUNDS_MAX);
        });
    }

    #[test]
    fn faults_are_worded_as_nginx_words_them() {
        assert_eq!(LookupFault::NOT_FOUND.to_string(), "3: Host not found");
        assert_eq!(LookupFault::TimedOut.to_string(), "110: Operation timed out");
        assert_eq!(LookupFault::Code(9).to_string(), "9: Unknown error");
    }
}
