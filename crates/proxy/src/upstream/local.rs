//! The address of a connection's near end, when the configuration says where it comes from.
//!
//! `exchange` and `tunnel` ask for it before they connect; `connecting` tells what went wrong.

use crate::error_log;
use crate::grammar::Bind;
use crate::modules::error_log::Severity;
use crate::request::Request;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// An address of this machine to connect from.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    pub address: SocketAddr,
    /// The address may be another machine's, whose packets come back here by the system's rules.
    pub transparent: bool,
}

/// What the system refused about the near end: no upstream is to blame, and none can be reached.
#[derive(Debug)]
pub struct LocalFault {
    /// In nginx's words.
    pub deed: String,
    pub severity: Severity,
    pub error: io::Error,
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({})", self.deed, crate::errno_text(&self.error))
    }
}

impl std::error::Error for LocalFault {}

impl Local {
    /// What `bind` comes to for this request. A text that is no address is left out with a line in
    /// the log, as nginx leaves it out; an empty one says nothing.
    pub fn of(request: &Request, bind: &Bind) -> Option<Self> {
        let Bind::To { address, transparent } = bind else {
            return None;
        };
        let text = request.value(address);
        let found = Bind::address(&text);
        if found.is_none() && !text.is_empty() {
            let message = format!("invalid local address \"{}\"", String::from_utf8_lossy(&text));
            error_log::request(request, Severity::Error, &message);
        }
        found.map(|address| Self { address, transparent: *transparent })
    }

    /// Gives the address to a socket that is not connected yet.
    ///
    /// # Errors
    /// A [`LocalFault`] inside of an [`io::Error`].
    pub fn prepare(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let fault = |deed, severity| {
            move |error: io::Error| {
                io::Error::new(error.kind(), LocalFault { deed, severity, error })
            }
        };
        if self.transparent {
            let raw = socket2::SockRef::from(&socket);
            let (option, done) = match self.address {
                SocketAddr::V4(_) => ("IP_TRANSPARENT", raw.set_ip_transparent_v4(true)),
                SocketAddr::V6(_) => ("IPV6_TRANSPARENT", raw.set_ip_transparent_v6(true)),
            };
            done.map_err(fault(format!("setsockopt({option})"), Severity::Alert))?;
        }
        // nginx names the address as it was written: without the port when none was.
        let shown = match self.address.port() {
            0 => self.address.ip().to_string(),
            _ => self.address.to_string(),
        };
        rustix::net::bind(socket, &self.address)
            .map_err(io::Error::from)
            .map_err(fault(format!("bind({shown})"), Severity::Crit))
    }
}
