//! The handshake with a client, from its first byte on.
//!
//! It does not know which server a name belongs to (the caller chooses), writes no log and sends no
//! page.

use super::facts::{Facts, Offered};
use super::secrets::{self, Captured};
use super::session::{self, Session, Sink};
use crate::channel::Channel;
use crate::socket::Socket;
use bytes::{Buf, BytesMut};
use rustls::server::{Accepted as RustlsAccepted, Acceptor, ServerConfig};
use rustls::{Connection, Error};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// What a client turned out to speak.
pub enum Accepted {
    /// With what was read of it.
    Plain(Channel, BytesMut),
    Secured(Channel, Box<Facts>),
}

/// Why a handshake did not end.
#[derive(Debug)]
pub enum Fault {
    /// The client has gone without a byte.
    Left,
    /// It has gone in the middle of the handshake.
    Closed,
    TimedOut,
    Broken(io::Error),
    Tls(Error),
    /// The configuration rejects it.
    Rejected,
    /// There are no certificates for it.
    Lacking,
}

/// The server that was chosen by a name.
pub struct Choice {
    pub chosen: Chosen,
    /// The name in lower case, if a server has it.
    pub name: Option<Box<[u8]>>,
}

/// What a chosen server does.
pub enum Chosen {
    Greets(Arc<ServerConfig>),
    /// It wants no client, or no server of the address can greet.
    Rejects,
    /// Its certificates cannot be had now; whoever chose has said why.
    Lacks,
}

/// Takes a client within `limit`. `choose` gives the server for a name; `inbox` is what was read of
/// the connection before.
pub async fn accept(
    (channel, inbox): (Channel, BytesMut),
    limit: Duration,
    choose: impl FnOnce(&Offered) -> Choice,
) -> Result<Accepted, Fault> {
    let deadline = Instant::now() + limit;
    let first = within(deadline, &channel, |socket| {
        if let Some(&byte) = inbox.first() {
            return Ok(Some(byte));
        }
        let mut byte = [0];
        let count = socket.try_peek(&mut byte).map_err(Fault::Broken)?;
        Ok((count > 0).then_some(byte[0]))
    });
    match first.await? {
        None => return Err(Fault::Left),
        // A handshake, or a hello of SSLv2 that will be refused: as nginx sees it.
        Some(byte) if byte == HANDSHAKE || byte & 0x80 != 0 => {}
        Some(_) => return Ok(Accepted::Plain(channel, inbox)),
    }
    let mut hearing = Hearing { acceptor: Acceptor::default(), inbox };
    let accepted = within(deadline, &channel, |socket| hearing.hello(socket)).await?;
    let offered = Offered::of(&accepted.client_hello());
    let Choice { chosen, name } = choose(&offered);
    let refuse = |alert: &[u8], fault| {
        let _ = channel.socket().try_write(alert);
        Err(fault)
    };
    let config = match chosen {
        Chosen::Greets(config) => config,
        Chosen::Rejects => return refuse(&UNRECOGNIZED_NAME, Fault::Rejected),
        Chosen::Lacks => return refuse(&INTERNAL_ERROR, Fault::Lacking),
    };
    // The server's part of TLS 1.3 is over with its first flight, and so its secrets are made here.
    let mut captured = Captured::default();
    let entered = secrets::capture(&mut captured, || accepted.into_connection(config));
    let connection = entered.map_err(|(fault, mut alert)| {
        let _ = alert.write_all(&mut Sink(channel.socket()));
        Fault::Tls(fault)
    })?;
    let mut session = Session::new(Connection::Server(connection), hearing.inbox, captured);
    shake_hands(&mut session, &channel, deadline).await?;
    let facts = match session.connection() {
        Connection::Server(connection) => Box::new(Facts::of(connection, offered, name)),
        Connection::Client(_) => return Err(Fault::Closed),
    };
    Ok(Accepted::Secured(channel.secured(session), facts))
}

/// The first byte of a record that begins a handshake.
const HANDSHAKE: u8 = 22;

/// A fatal alert: the name is not known (RFC 6066, 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A fatal alert: it is no fault of the client's (RFC 8446, 6.2).
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// A fatal alert: this is not what was waited for (RFC 8446, 6.2).
const UNEXPECTED_MESSAGE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

/// Tries `act` until it has read enough.
async fn within<R>(
    deadline: Instant,
    channel: &Channel,
    mut act: impl FnMut(&Socket) -> Result<R, Fault>,
) -> Result<R, Fault> {
    loop {
        match act(channel.socket()) {
            Err(Fault::Broken(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        wait(channel.socket(), Interest::READABLE, deadline).await?;
    }
}

/// Leads a handshake to its end, on either side.
pub async fn shake_hands(
    session: &mut Session,
    channel: &Channel,
    deadline: Instant,
) -> Result<(), Fault> {
    let socket = channel.socket();
    loop {
        match session.shake_hands(socket) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Fault::of(error)),
        }
        let interest = if session.wants_write() { Interest::WRITABLE } else { Interest::READABLE };
        wait(socket, interest, deadline).await?;
    }
}

async fn wait(socket: &Socket, interest: Interest, deadline: Instant) -> Result<(), Fault> {
    let left = deadline.saturating_duration_since(Instant::now());
    match tokio::time::timeout(left, socket.ready(interest)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Fault::Broken(error)),
        Err(_) => Err(Fault::TimedOut),
    }
}

impl Fault {
    /// The words of the error log, without what was being done.
    pub fn words(&self) -> String {
        match self {
            Self::Left => "client closed connection".to_owned(),
            Self::Closed => "peer closed connection in SSL handshake".to_owned(),
            Self::TimedOut => "client timed out (110: Connection timed out)".to_owned(),
            Self::Broken(error) => {
                format!("SSL_do_handshake() failed ({})", crate::errno_text(error))
            }
            Self::Tls(fault) => format!("SSL_do_handshake() failed (SSL: {fault})"),
            Self::Rejected => "handshake rejected".to_owned(),
            Self::Lacking => {
                "SSL_do_handshake() failed (SSL: SSL routines::cert cb error)".to_owned()
            }
        }
    }

    fn of(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Closed;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(fault) => Self::Tls(fault.clone()),
            None => Self::Broken(error),
        }
    }
}

/// A hello that is being heard, record by record.
struct Hearing {
    acceptor: Acceptor,
    inbox: BytesMut,
}

impl Hearing {
    /// Reads until the hello is whole; what came behind it stays in the inbox.
    fn hello(&mut self, socket: &Socket) -> Result<RustlsAccepted, Fault> {
        loop {
            match session::whole_record(&self.inbox) {
                Some(length) => {
                    if let Some(accepted) = self.record(length, socket)? {
                        return Ok(accepted);
                    }
                }
                None => {
                    let count = session::fill(&mut self.inbox, socket, session::READ_MAX)
                        .map_err(Fault::Broken)?;
                    if count == 0 {
                        return Err(Fault::Closed);
                    }
                }
            }
        }
    }

    fn record(&mut self, length: usize, socket: &Socket) -> Result<Option<RustlsAccepted>, Fault> {
        let mut record = &self.inbox[..length];
        while !record.is_empty() {
            if self.acceptor.read_tls(&mut record).map_err(Fault::Broken)? == 0 {
                break;
            }
        }
        self.inbox.advance(length);
        self.acceptor.accept().map_err(|(fault, mut alert)| {
            let mut said = Vec::new();
            let _ = alert.write(&mut said);
            // rustls has no words for some of what is no hello at all.
            let said = if said.is_empty() { &UNEXPECTED_MESSAGE[..] } else { &said };
            let _ = socket.try_write(said);
            Fault::Tls(fault)
        })
    }
}
