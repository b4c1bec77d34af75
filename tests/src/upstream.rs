//! The upstream: takes connections, records every byte, and answers by a script.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::message::{Message, ReadAs};
use crate::script::{Answer, Blocks, Step};
use crate::secure::welcome;
use crate::wait::until;
use crate::wire::{End, Wire};

/// What came over one connection.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// What the handshake came to, where TLS is spoken.
    pub greeting: Option<String>,
    pub requests: Vec<Message>,
    /// Bytes after the last request: a tunnel's, or a request that never became whole.
    pub bytes: Vec<u8>,
    pub end: Option<End>,
}

pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocks: Blocks,
    /// The certificate of an upstream that speaks TLS.
    certificate: Option<String>,
    /// How many answers of each block have been given.
    given: HashMap<String, usize>,
    connections: Vec<Received>,
    /// A second handle of every socket that is still served, to end it when the test ends.
    streams: Vec<Option<TcpStream>>,
    /// Requests whose answer is finished.
    answered: usize,
}

impl Upstream {
    pub fn start(blocks: Blocks) -> Self {
        Self::begin(State { blocks, ..State::default() })
    }

    /// One that speaks TLS with a certificate of `tests/conf/files`.
    pub fn secured(blocks: Blocks, certificate: &str) -> Self {
        let certificate = Some(certificate.to_owned());
        Self::begin(State { blocks, certificate, ..State::default() })
    }

    fn begin(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the bound address");
        let shared = Arc::new(Shared { stopped: AtomicBool::new(false), state: Mutex::new(state) });
        let seen = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &seen));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// An upstream whose script is an `-- upstream` section.
    #[track_caller]
    pub fn scripted(text: &str) -> Self {
        Self::start(Blocks::parse(text).expect("an upstream script"))
    }

    /// A raw WebSocket echo: agrees to every handshake with the key of [`crate::HANDSHAKE`].
    pub fn echo() -> Self {
        let agree = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            crate::tunnel::ACCEPT
        );
        Self::start(Blocks::always(vec![Step::Send(agree.into_bytes()), Step::Echo]))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything received so far, by connection.
    pub fn received(&self) -> Vec<Received> {
        self.state().connections.clone()
    }

    /// All requests so far, over all connections in the order of the connections.
    pub fn requests(&self) -> Vec<Message> {
        let state = self.state();
        state.connections.iter().flat_map(|connection| connection.requests.clone()).collect()
    }

    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        until("the upstream sees the requests", PATIENCE, || self.requests().len() >= count);
    }

    /// Waits until connection `index` has ended and returns how.
    #[track_caller]
    pub fn wait_for_end(&self, index: usize) -> End {
        let end = || self.state().connections.get(index).and_then(|one| one.end);
        until("the proxy ends its upstream connection", PATIENCE, || end().is_some());
        end().unwrap_or(End::Silent)
    }

    /// Waits until no answer is being given and every connection that ended is recorded.
    pub fn open_connections(&self) -> usize {
        self.state().connections.iter().filter(|one| one.end.is_none()).count()
    }

    /// Forgets what was received, and begins the script anew.
    pub fn forget(&self) {
        let mut state = self.state();
        state.given.clear();
        for connection in &mut state.connections {
            connection.greeting = None;
            connection.requests.clear();
            connection.bytes.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.lock().streams.iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor, which sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The next answer to a request that begins with `start`.
    fn answer(&self, start: &str) -> Answer {
        let mut state = self.lock();
        let block = state.blocks.0.iter().find(|(key, _)| start.contains(key.as_str()));
        let Some((key, answers)) = block.cloned() else { return default_answer() };
        let given = state.given.entry(key).or_insert(0);
        let answer = answers.get(*given).or(answers.last()).cloned().unwrap_or_default();
        *given += 1;
        if answer.is_empty() { default_answer() } else { answer }
    }
}

fn default_answer() -> Answer {
    vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nup\n".to_vec())]
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let index = {
            let mut state = shared.lock();
            state.connections.push(Received::default());
            state.streams.push(stream.try_clone().ok());
            state.connections.len() - 1
        };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || Served { wire: Wire::new(stream), shared, index }.run());
    }
}

/// One connection of the upstream.
struct Served {
    wire: Wire,
    shared: Arc<Shared>,
    index: usize,
}

impl Served {
    fn run(mut self) {
        self.wire.patience(UPSTREAM_PATIENCE);
        let end = self.serve();
        let left = self.wire.take_buffer();
        let mut state = self.shared.lock();
        state.streams[self.index] = None;
        let record = &mut state.connections[self.index];
        record.bytes.extend(left);
        record.end = Some(end);
    }

    fn serve(&mut self) -> End {
        let certificate = self.shared.lock().certificate.clone();
        if let Some(name) = certificate {
            let told = self.wire.secure(welcome(&name));
            let refused = told.is_err();
            let told = told.unwrap_or_else(|refused| refused);
            self.shared.lock().connections[self.index].greeting = Some(told);
            if refused {
                return End::Closed;
            }
        }
        loop {
            let request = match Message::read_head(&mut self.wire) {
                Ok(head) => head,
                Err(end) => return end,
            };
            let answer = self.shared.answer(&request.start());
            let early = answer.first() == Some(&Step::Early);
            let request =
                if early { request } else { request.read_body(&mut self.wire, ReadAs::Request) };
            let broken = request.end;
            self.shared.lock().connections[self.index].requests.push(request);
            if let Some(end) = broken {
                return end;
            }
            if let Err(end) = self.perform(&answer) {
                return end;
            }
            self.shared.lock().answered += 1;
        }
    }

    fn perform(&mut self, answer: &Answer) -> Result<(), End> {
        for step in answer {
            match step {
                Step::Send(bytes) => self.wire.send(bytes)?,
                Step::Read(count) => {
                    let bytes = self.wire.exactly(*count)?;
                    self.record(&bytes);
                }
                Step::Rest => drop(self.drain()),
                Step::Hold => return Err(self.drain()),
                Step::Echo => return Err(self.echo()),
                Step::Fin => self.wire.fin(),
                Step::Close => return Err(End::Closed),
                Step::Reset => return Err(self.reset()),
                Step::Pause => std::thread::park_timeout(Duration::from_millis(5)),
                Step::Wait(time) => std::thread::park_timeout(*time),
                _ => {}
            }
        }
        Ok(())
    }

    fn echo(&mut self) -> End {
        loop {
            let bytes = match self.wire.some() {
                Ok(bytes) => bytes,
                Err(end) => {
                    self.wire.fin();
                    return end;
                }
            };
            self.record(&bytes);
            if let Err(end) = self.wire.send(&bytes) {
                return end;
            }
        }
    }

    fn drain(&mut self) -> End {
        loop {
            match self.wire.some() {
                Ok(bytes) => self.record(&bytes),
                Err(end) => return end,
            }
        }
    }

    /// Only the first bytes are kept: a tunnel may carry more than a test wants to hold.
    fn record(&self, bytes: &[u8]) {
        let kept = &mut self.shared.lock().connections[self.index].bytes;
        let room = RECORDED.saturating_sub(kept.len());
        kept.extend(&bytes[..bytes.len().min(room)]);
    }

    /// The RST goes out when the last handle of the socket is dropped.
    fn reset(&mut self) -> End {
        let linger = rustix::net::sockopt::set_socket_linger;
        linger(self.wire.stream(), Some(Duration::ZERO)).expect("SO_LINGER");
        End::Reset
    }
}

const PATIENCE: Duration = Duration::from_secs(8);
/// The upstream waits longer than every client, so that the client's failure is the one seen.
const UPSTREAM_PATIENCE: Duration = Duration::from_secs(120);
const RECORDED: usize = 8 << 20;
