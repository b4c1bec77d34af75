//! Where things are when nobody says otherwise, in one place.

use std::path::PathBuf;

use crate::cli::Command;

/// The configuration file without `-c`. Absolute, so that `-p` alone does not move it.
pub const CONF: &str = "/etc/perdura/perdura.conf";

/// What relative paths begin from without `-p`.
pub const PREFIX: &str = "/etc/perdura/";

/// Where error lines go without `-e` until the configuration names a file.
pub const ERROR_LOG: &str = "stderr";

/// The program's name before every message.
pub const PROGRAM: &str = "perdura";

/// The prefix as nginx keeps it: with a slash at its end, relative if it was given so.
pub fn prefix(command: &Command) -> PathBuf {
    let Some(prefix) = &command.prefix else {
        return PathBuf::from(PREFIX);
    };
    let mut prefix = prefix.clone();
    if !prefix.as_encoded_bytes().ends_with(b"/") {
        prefix.push("/");
    }
    PathBuf::from(prefix)
}

/// The configuration file: `-c` counts from the prefix.
pub fn conf(command: &Command) -> PathBuf {
    match &command.conf {
        Some(conf) => prefix(command).join(conf),
        None => PathBuf::from(CONF),
    }
}

/// What the configuration is built with.
pub fn options(command: &Command) -> perdura_proxy::Options {
    perdura_proxy::Options {
        conf: conf(command),
        prefix: prefix(command),
        globals: command.globals.clone().unwrap_or_default(),
        error_log: command.error_log.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(arguments: &[&str]) -> (PathBuf, PathBuf) {
        let command = crate::cli::read(arguments.iter().map(Into::into)).unwrap();
        (prefix(&command), conf(&command))
    }

    #[test]
    fn paths_resolve_as_nginx_resolves_them() {
        for (arguments, prefix, conf) in [
            (&[][..], PREFIX, CONF),
            (&["-p", "/srv"], "/srv/", CONF),
            (&["-p", "/srv", "-c", "x.conf"], "/srv/", "/srv/x.conf"),
            (&["-c", "x.conf"], PREFIX, "/etc/perdura/x.conf"),
            (&["-p", "/srv/", "-c", "/etc/x.conf"], "/srv/", "/etc/x.conf"),
            (&["-p", "here", "-c", "x.conf"], "here/", "here/x.conf"),
            (&["-p.", "-cx.conf"], "./", "./x.conf"),
        ] {
            let found = of(arguments);
            assert_eq!(found.0.as_os_str(), prefix, "{arguments:?}");
            assert_eq!(found.1.as_os_str(), Path::new(conf).as_os_str(), "{arguments:?}");
        }
    }
}
