//! The options, once: `-h`, the man page and the completions of three shells come from these tables.
//!
//! Not here: what an option does, and how the command line is read (`cli`), which a test compares
//! with the tables.

// They are made by the test that compares them with the files in `packaging`.
#[cfg(test)]
mod completions;
#[cfg(test)]
mod page;

use crate::paths;

/// What stands behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    None,
    File,
    Folder,
    /// One of these.
    Words(&'static [&'static str]),
    /// A directive or a variable.
    Explained,
    /// Anything.
    Text,
}

/// One option.
struct Choice {
    /// Its spellings.
    spelled: &'static [&'static str],
    /// What its value is called; empty without one.
    called: &'static str,
    value: Value,
    /// nginx's words where nginx has the option.
    what: &'static str,
    default: &'static str,
}

const fn flag(spelled: &'static [&'static str], what: &'static str) -> Choice {
    Choice { spelled, called: "", value: Value::None, what, default: "" }
}

const fn with(
    spelled: &'static [&'static str],
    (called, value): (&'static str, Value),
    what: &'static str,
) -> Choice {
    Choice { spelled, called, value, what, default: "" }
}

const OPTIONS: &[Choice] = &[
    flag(&["-?", "-h"], "this help"),
    flag(&["-v"], "show version and exit"),
    flag(&["-V"], "show version and configure options then exit"),
    flag(&["-t"], "test configuration and exit"),
    flag(&["-T"], "test configuration, dump it and exit"),
    flag(&["-q"], "suppress non-error messages during configuration testing"),
    with(&["-s"], ("signal", Value::Words(ORDERS)), "send signal to a master process"),
    Choice {
        default: paths::PREFIX,
        ..with(&["-p"], ("prefix", Value::Folder), "set prefix path")
    },
    Choice {
        default: paths::ERROR_LOG,
        ..with(&["-e"], ("filename", Value::File), "set error log file")
    },
    Choice {
        default: paths::CONF,
        ..with(&["-c"], ("filename", Value::File), "set configuration file")
    },
    with(&["-g"], ("directives", Value::Text), "set global directives out of configuration file"),
    with(
        &["--explain"],
        ("name", Value::Explained),
        "print the manual of a directive or a $variable and exit",
    ),
];

/// What `-s` takes.
const ORDERS: &[&str] = &["stop", "quit", "reopen", "reload", "upgrade"];

/// Options of `tunnels` alone.
#[cfg(test)]
const OF_TUNNELS: &[Choice] = &[
    flag(&["--json"], "list the tunnels as JSON"),
    with(&["--close"], ("id", Value::Text), "end the tunnel with this id"),
];

/// The sub-commands: name, what it does.
const COMMANDS: &[(&str, &str)] = &[
    ("demo", "show a WebSocket tunnel in the browser; needs no configuration"),
    ("tunnels", "list the live tunnels of the running program, or end one"),
];

/// What the master does when it gets a signal.
#[cfg(test)]
const SIGNALS: &[(&str, &str)] = &[
    ("TERM, INT", "end at once"),
    ("QUIT", "end when the last client has been served"),
    ("HUP", "read the configuration anew; nothing that is open is disturbed"),
    ("USR1", "open the log files anew"),
    ("USR2", "start the program anew beside this one, from its file"),
    ("WINCH", "accept nothing more (as a daemon only)"),
];

const SYNOPSIS: &[&str] = &[
    "perdura [-?hvVtTq] [-s signal] [-p prefix]\n        [-e filename] [-c filename] [-g directives]",
    "perdura --explain name",
    "perdura tunnels [--json] [--close id] [-p prefix] [-c filename]",
    "perdura demo",
];

/// What `-h` prints behind the version.
pub fn help() -> String {
    let mut text = String::new();
    for (index, way) in SYNOPSIS.iter().enumerate() {
        let before = if index == 0 { "Usage: " } else { "       " };
        text += &format!("{before}{}\n", way.replace('\n', "\n       "));
    }
    text += "\nOptions:\n";
    for option in OPTIONS {
        let name = [&option.spelled.join(","), option.called].join(" ");
        text += &format!("  {:<14}: {}\n", name.trim_end(), option.meaning());
    }
    text += "\nCommands:\n";
    for (name, what) in COMMANDS {
        text += &format!("  {name:<14}: {what}\n");
    }
    text + "\n"
}

impl Choice {
    /// What it does, with its words or its default.
    fn meaning(&self) -> String {
        match self.value {
            Value::Words(words) => format!("{}: {}", self.what, words.join(", ")),
            _ if !self.default.is_empty() => format!("{} (default: {})", self.what, self.default),
            _ => self.what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The files of `packaging` that are made of the tables.
    fn made() -> [(&'static str, String); 4] {
        [
            ("perdura.8", page::text()),
            ("completions/perdura.bash", completions::bash()),
            ("completions/perdura.zsh", completions::zsh()),
            ("completions/perdura.fish", completions::fish()),
        ]
    }

    /// Writes what is stale, and fails for it unless `BLESS=1` asked for that.
    #[test]
    fn the_manual_page_and_the_completions_are_fresh() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
        let mut stale = Vec::new();
        for (name, text) in made() {
            let path = folder.join(name);
            if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
                continue;
            }
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            stale.push(name);
        }
        if std::env::var_os("BLESS").is_none() {
            assert_eq!(stale, Vec::<&str>::new(), "these were stale and are written anew");
        }
    }

    #[test]
    fn every_option_is_read() {
        for option in OPTIONS {
            for spelled in option.spelled {
                let value = match option.value {
                    Value::None => None,
                    Value::Words(words) => Some(words[0]),
                    _ => Some("x"),
                };
                let line = [*spelled].into_iter().chain(value).map(Into::into);
                assert!(crate::cli::read(line).is_ok(), "{spelled}");
                if value.is_some() {
                    assert!(crate::cli::read([spelled.into()]).is_err(), "{spelled} wants a value");
                }
            }
        }
        for order in ORDERS {
            assert!(crate::cli::read(["-s".into(), order.into()]).is_ok(), "{order}");
        }
        assert!(crate::cli::read(["-s".into(), "nonsense".into()]).is_err());
        for (name, _) in COMMANDS {
            assert!(crate::cli::read([name.into()]).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_made_names_every_option() {
        for (name, text) in made() {
            for option in OPTIONS.iter().chain(OF_TUNNELS) {
                for spelled in option.spelled {
                    let roff = spelled.replace('-', "\\-");
                    let bare = spelled.trim_start_matches('-');
                    let fish = [format!("-s {bare}"), format!("-l {bare}"), format!("'{bare}'")];
                    let known = text.contains(spelled)
                        || text.contains(&roff)
                        || fish.iter().any(|form| text.contains(form));
                    assert!(known, "{name} does not know {spelled}");
                }
            }
        }
    }
}
