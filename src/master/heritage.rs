//! What a new program gets from the running master at a binary upgrade: an environment variable that
//! names descriptors, as nginx's `NGINX`.
//!
//! `PERDURA=1;LINK;FD;FD`: the version, the socket to the other master, the sockets that listen.

use std::os::fd::{OwnedFd, RawFd};

use rustix::io::FdFlags;

use super::process;

/// The name of the variable.
pub const VARIABLE: &str = "PERDURA";

/// The descriptors that were inherited.
pub struct Heritage {
    pub link: OwnedFd,
    pub listeners: Vec<OwnedFd>,
}

impl Heritage {
    /// Takes what the environment names. Called once, before anything is opened. `None` without a
    /// variable, or when it names what is not there.
    pub fn take() -> Option<Heritage> {
        let text = std::env::var(VARIABLE).ok()?;
        let (link, listeners) = decode(&text)?;
        let own = |number| {
            let fd = process::own(number)?;
            rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
            Some(fd)
        };
        let link = own(link)?;
        Some(Heritage { link, listeners: listeners.into_iter().filter_map(own).collect() })
    }
}

/// The variable's value.
pub fn encode(link: RawFd, listeners: &[RawFd]) -> String {
    let numbers: Vec<String> = [link].iter().chain(listeners).map(RawFd::to_string).collect();
    format!("{VERSION};{}", numbers.join(";"))
}

fn decode(text: &str) -> Option<(RawFd, Vec<RawFd>)> {
    let mut words = text.split(';');
    if words.next()? != VERSION {
        return None;
    }
    let link = words.next()?.parse().ok()?;
    let listeners: Result<Vec<RawFd>, _> = words.map(str::parse).collect();
    let listeners = listeners.ok()?;
    let mut all = [&[link], &listeners[..]].concat();
    all.sort_unstable();
    // The same number twice would have two owners.
    (!all.windows(2).any(|pair| pair[0] == pair[1])).then_some((link, listeners))
}

const VERSION: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_travels_and_nonsense_is_refused() {
        assert_eq!(decode(&encode(7, &[8, 9])), Some((7, vec![8, 9])));
        assert_eq!(decode(&encode(7, &[])), Some((7, vec![])));
        for text in ["", "1", "2;7;8", "1;x", "1;7;8;8", "1;7;7", "1;7;"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
