//! The outer end of a tunnel, as its peer sees it: a stream that reads, writes and ends one
//! direction, plain or with TLS by rustls.
//!
//! Clones are the same end. Nothing waits: what cannot be done now is `WouldBlock`.

use std::cell::RefCell;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;

use rustls::Connection;

/// One end.
#[derive(Clone)]
pub struct Outer(Rc<RefCell<End>>);

struct End {
    socket: TcpStream,
    tls: Option<Connection>,
    /// Its direction is to end once everything is sent.
    ends: bool,
    /// Writes until the keys change.
    fuse: u32,
}

impl Outer {
    pub fn new(socket: TcpStream, tls: Option<Connection>) -> Outer {
        socket.set_nonblocking(true).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        Outer(Rc::new(RefCell::new(End { socket, tls, ends: false, fuse: UPDATE_EVERY })))
    }

    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        let end = &mut *self.0.borrow_mut();
        let Some(tls) = &mut end.tls else { return end.socket.write(bytes) };
        flush(tls, &mut end.socket)?;
        end.fuse -= 1;
        if end.fuse == 0 {
            end.fuse = UPDATE_EVERY;
            // TLS 1.2 cannot.
            let _ = tls.refresh_traffic_keys();
        }
        // What it takes it will send.
        let taken = tls.writer().write(bytes)?;
        flush(tls, &mut end.socket)?;
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    pub fn read(&self, into: &mut [u8]) -> Result<usize> {
        let end = &mut *self.0.borrow_mut();
        let Some(tls) = &mut end.tls else { return end.socket.read(into) };
        flush(tls, &mut end.socket)?;
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.read_tls(&mut end.socket)? == 0 {
                // Not announced: `reader` says so.
                return tls.reader().read(into);
            }
            tls.process_new_packets().map_err(Error::other)?;
        }
    }

    /// Ends this end's direction, in order.
    pub fn shut(&self) -> Result<()> {
        let end = &mut *self.0.borrow_mut();
        let Some(tls) = &mut end.tls else { return end.socket.shutdown(Shutdown::Write) };
        tls.send_close_notify();
        end.ends = true;
        Ok(())
    }

    /// Sends what is left to be sent, and then the FIN if that is due.
    pub fn settle(&self) -> Result<()> {
        let end = &mut *self.0.borrow_mut();
        let Some(tls) = &mut end.tls else { return Ok(()) };
        flush(tls, &mut end.socket)?;
        if end.ends && !tls.wants_write() {
            end.ends = false;
            end.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

fn flush(tls: &mut Connection, socket: &mut TcpStream) -> Result<()> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            done => _ = done?,
        }
    }
    Ok(())
}

/// Writes between two changes of the keys.
const UPDATE_EVERY: u32 = 40;
