//! What came of trying to connect to an upstream, for the log and for whoever tries the next one.

use super::local::LocalFault;
use crate::config::Address;
use crate::error_log;
use crate::modules::error_log::Severity;
use crate::request::Request;
use std::fmt::Display;
use std::io;
use tokio::time::error::Elapsed;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconnected {
    /// The client went away meanwhile.
    Gone,
    /// This process or the system lacks something: no other peer could be reached either.
    Own,
    Failed,
    TimedOut,
}

/// Says that the client did not wait.
pub fn log_gone(request: &Request, url: &dyn Display) {
    let message = "client prematurely closed connection, so upstream connection is closed too \
                   while connecting to upstream";
    error_log::upstream(request, Severity::Info, message, url);
}

/// Logs what failed and says what it means.
pub fn judge<T>(
    request: &Request,
    peer: &Address,
    url: &dyn Display,
    connected: Result<io::Result<T>, Elapsed>,
) -> Result<T, Unconnected> {
    match connected {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if is_out_of_descriptors(&error) => {
            let reason = crate::errno_text(&error);
            let message = format!("socket() failed ({reason}) while connecting to upstream");
            error_log::upstream(request, Severity::Alert, &message, url);
            Err(Unconnected::Own)
        }
        Ok(Err(error)) => {
            if let Some(fault) = local_fault(&error) {
                let message = format!("{fault} while connecting to upstream");
                error_log::upstream(request, fault.severity, &message, url);
                return Err(Unconnected::Own);
            }
            let reason = crate::errno_text(&error);
            let to = match peer {
                Address::Unix(path) => format!(" to unix:{}", path.display()),
                Address::Inet(_) => String::new(),
            };
            let message = format!("connect(){to} failed ({reason}) while connecting to upstream");
            error_log::upstream(request, Severity::Error, &message, url);
            Err(Unconnected::Failed)
        }
        Err(_) => {
            let message =
                "upstream timed out (110: Connection timed out) while connecting to upstream";
            error_log::upstream(request, Severity::Error, message, url);
            Err(Unconnected::TimedOut)
        }
    }
}

/// The system refused the near end's address.
fn local_fault(error: &io::Error) -> Option<&LocalFault> {
    error.get_ref()?.downcast_ref()
}

/// No other peer could be reached either.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}
