//! Where things are when nobody says otherwise, in one place.

use std::path::PathBuf;

use crate::cli::Command;

/// The configuration file without `-c`. Absolute, so that `-p` alone does not move it.
pub const CONF: &str = "/etc/perdura/perdura.conf";

/// What relative paths begin from without `-p`.
pub const PREFIX: &str = "/etc/perdura/";

/// The folder of the logs that nobody named. It is made when it is not there: a package would bring
/// it, a program that was just built does not.
pub const LOG_FOLDER: &str = "/var/log/perdura";

/// Where error lines go without `-e` when the configuration names no file.
pub const ERROR_LOG: &str = "/var/log/perdura/error.log";

/// Where requests are logged when the configuration does not say.
pub const ACCESS_LOG: &str = "/var/log/perdura/access.log";

/// The pid file when the configuration names none.
pub const PID: &str = "/run/perdura.pid";

/// What stands for the standard error stream where a log file is named.
pub const STDERR: &str = "stderr";

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

    #[test]
    fn the_defaults_are_those_of_the_configuration() {
        let folder = std::env::temp_dir().join(format!("perdura-paths-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("x.conf"), "events {} http { server { listen 1; } }").unwrap();
        let prefix = folder.display().to_string();
        let arguments = ["-p", &prefix, "-c", "x.conf"].map(Into::into);
        let options = options(&crate::cli::read(arguments).unwrap());
        let built = perdura_proxy::build(&perdura_proxy::Disk::new(), &options);
        std::fs::remove_dir_all(&folder).unwrap();
        let config = built.config.unwrap_or_else(|| panic!("{:?}", built.faults));
        let process = config.process();
        assert_eq!(process.pid, Path::new(PID));
        assert_eq!(process.error_logs[0].path(), Some(&PathBuf::from(ERROR_LOG)));
        let logs: Vec<_> = config.log_files().iter().collect();
        assert!(logs.contains(&&PathBuf::from(ACCESS_LOG)), "{logs:?}");
        assert!(logs.iter().all(|path| path.parent() == Some(Path::new(LOG_FOLDER))), "{logs:?}");
    }

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
