//! The command line: nginx's options, read as nginx reads them, and the sub-commands of ours.
//!
//! By hand, because a library would be more generous than nginx is: `-c=x` names the file `=x`
//! there, `-tqc x` is three options, and a lone `-` is none. Not here: what the options do.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub deed: Deed,
    pub show: Show,
    /// `-q`: say nothing that is no error while testing.
    pub quiet: bool,
    /// `-p`, as given.
    pub prefix: Option<OsString>,
    /// `-c`, as given.
    pub conf: Option<OsString>,
    /// `-g`.
    pub globals: Option<String>,
    /// `-e`.
    pub error_log: Option<String>,
    /// What is to be explained.
    pub explain: Option<String>,
}

/// What is done after [`Show`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deed {
    #[default]
    Serve,
    /// `-t`; with `dump`, `-T`.
    Test {
        dump: bool,
    },
    Order(Order),
    Tunnels(Tunnels),
    Demo,
    /// `--explain`: the manual of a directive or a variable.
    Explain,
    /// Only to show something.
    Nothing,
}

/// `perdura tunnels`: what is done with the live tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnels {
    Table,
    Json,
    /// The one with this id ends.
    Close(u64),
}

/// `-s`: what the running master is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Stop,
    Quit,
    Reopen,
    Reload,
    /// Ours: the binary upgrade in one.
    Upgrade,
}

impl Order {
    const ALL: [(Order, &'static str); 5] = [
        (Order::Stop, "stop"),
        (Order::Quit, "quit"),
        (Order::Reopen, "reopen"),
        (Order::Reload, "reload"),
        (Order::Upgrade, "upgrade"),
    ];

    fn named(word: &OsStr) -> Option<Order> {
        Self::ALL.iter().find(|(_, name)| word == *name).map(|(order, _)| *order)
    }
}

/// What is shown first: each includes the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Show {
    pub version: bool,
    pub help: bool,
    pub configure: bool,
}

/// Why the command line makes no sense, in nginx's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CliFault {
    InvalidArgument {
        text: String,
    },
    InvalidOption {
        letter: char,
    },
    InvalidOrder {
        word: String,
    },
    Missing {
        letter: char,
        what: &'static str,
    },
    /// nginx takes any bytes here; a path in a directive must be text for us.
    NotText {
        letter: char,
    },
    UnexpectedArgument {
        text: String,
    },
    /// `--explain` without a name.
    NothingToExplain,
    /// `--close` without a number.
    NoTunnelId {
        text: String,
    },
}

impl fmt::Display for CliFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliFault::InvalidArgument { text } => write!(f, "invalid option: \"{text}\""),
            CliFault::InvalidOption { letter } => write!(f, "invalid option: \"{letter}\""),
            CliFault::InvalidOrder { word } => write!(f, "invalid option: \"-s {word}\""),
            CliFault::Missing { letter, what } => {
                write!(f, "option \"-{letter}\" requires {what}")
            }
            CliFault::NotText { letter } => write!(f, "option \"-{letter}\" is not UTF-8"),
            CliFault::UnexpectedArgument { text } => write!(f, "unexpected argument: \"{text}\""),
            CliFault::NothingToExplain => {
                f.write_str("option \"--explain\" requires the name of a directive or a $variable")
            }
            CliFault::NoTunnelId { text } => {
                write!(f, "option \"--close\" requires the id of a tunnel, not \"{text}\"")
            }
        }
    }
}

/// Reads the arguments behind the program's name.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, CliFault> {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.peek().is_some_and(|first| first == "demo") {
        return match arguments.nth(1) {
            None => Ok(Command { deed: Deed::Demo, ..Command::default() }),
            Some(more) => {
                Err(CliFault::UnexpectedArgument { text: more.to_string_lossy().into_owned() })
            }
        };
    }
    if arguments.peek().is_some_and(|first| first == "tunnels") {
        return tunnels(arguments.skip(1));
    }
    let mut reading = Reading::default();
    while let Some(argument) = arguments.next() {
        if argument == "--explain" {
            let name = arguments.next().filter(|name| !name.is_empty());
            let name = name.ok_or(CliFault::NothingToExplain)?;
            reading.command.explain = Some(name.to_string_lossy().into_owned());
            continue;
        }
        reading.argument(&argument, || arguments.next())?;
    }
    Ok(reading.command())
}

/// What follows `tunnels`: its own long options, and those of nginx's that say which master.
fn tunnels(mut arguments: impl Iterator<Item = OsString>) -> Result<Command, CliFault> {
    let mut reading = Reading::default();
    let mut deed = Tunnels::Table;
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"--json" => deed = Tunnels::Json,
            b"--close" => {
                let text = arguments.next().unwrap_or_default().to_string_lossy().into_owned();
                let id = text.parse().map_err(|_| CliFault::NoTunnelId { text })?;
                deed = Tunnels::Close(id);
            }
            _ => reading.argument(&argument, || arguments.next())?,
        }
    }
    let mut command = reading.command();
    match command.deed {
        Deed::Nothing => {}
        Deed::Serve => command.deed = Deed::Tunnels(deed),
        _ => return Err(CliFault::UnexpectedArgument { text: "tunnels".into() }),
    }
    Ok(command)
}

#[derive(Default)]
struct Reading {
    command: Command,
    test: bool,
    dump: bool,
    order: Option<Order>,
}

impl Reading {
    /// One argument: letters behind a dash, the last of which may take a value from the rest of
    /// the argument or from the next one.
    fn argument(
        &mut self,
        argument: &OsStr,
        mut next: impl FnMut() -> Option<OsString>,
    ) -> Result<(), CliFault> {
        let Some(letters) = argument.as_bytes().strip_prefix(b"-") else {
            let text = argument.to_string_lossy().into_owned();
            return Err(CliFault::InvalidArgument { text });
        };
        for (index, &letter) in letters.iter().enumerate() {
            if self.flag(letter) {
                continue;
            }
            let letter = char::from(letter);
            let Some((_, what)) = VALUES.iter().find(|(known, _)| *known == letter) else {
                return Err(CliFault::InvalidOption { letter });
            };
            let attached = &letters[index + 1..];
            let value = match attached.is_empty() {
                false => OsStr::from_bytes(attached).to_owned(),
                true => next().ok_or(CliFault::Missing { letter, what })?,
            };
            return self.value(letter, value);
        }
        Ok(())
    }

    fn flag(&mut self, letter: u8) -> bool {
        let show = &mut self.command.show;
        match letter {
            b'?' | b'h' => (show.version, show.help) = (true, true),
            b'v' => show.version = true,
            b'V' => (show.version, show.configure) = (true, true),
            b't' => self.test = true,
            b'T' => (self.test, self.dump) = (true, true),
            b'q' => self.command.quiet = true,
            _ => return false,
        }
        true
    }

    fn value(&mut self, letter: char, value: OsString) -> Result<(), CliFault> {
        let text = |value: OsString| value.into_string().map_err(|_| CliFault::NotText { letter });
        match letter {
            'p' => self.command.prefix = Some(value),
            'c' => self.command.conf = Some(value),
            'e' => self.command.error_log = Some(text(value)?),
            'g' => self.command.globals = Some(text(value)?),
            _ => {
                let word = value.to_string_lossy().into_owned();
                let order = Order::named(&value).ok_or(CliFault::InvalidOrder { word })?;
                self.order = Some(order);
            }
        }
        Ok(())
    }

    /// nginx's precedence: what is shown ends the program unless something is to be tested; a test
    /// comes before an order.
    fn command(mut self) -> Command {
        if self.command.explain.is_some() {
            self.command.deed = Deed::Explain;
            return self.command;
        }
        self.command.deed = match (self.test, self.command.show.version, self.order) {
            (true, _, _) => Deed::Test { dump: self.dump },
            (false, true, _) => Deed::Nothing,
            (false, false, Some(order)) => Deed::Order(order),
            (false, false, None) => Deed::Serve,
        };
        self.command
    }
}

/// The options that take a value, and what nginx calls it when it is missing.
const VALUES: [(char, &str); 5] = [
    ('p', "directory name"),
    ('e', "file name"),
    ('c', "file name"),
    ('g', "parameter"),
    ('s', "parameter"),
];

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn of(line: &str) -> Result<Command, CliFault> {
        read(line.split(' ').filter(|word| !word.is_empty()).map(OsString::from))
    }

    #[test]
    fn deeds() {
        for (line, deed) in [
            ("", Deed::Serve),
            ("-", Deed::Serve),
            ("-t", Deed::Test { dump: false }),
            ("-T", Deed::Test { dump: true }),
            ("-tq", Deed::Test { dump: false }),
            ("-tT", Deed::Test { dump: true }),
            ("-vt", Deed::Test { dump: false }),
            ("-ts stop", Deed::Test { dump: false }),
            ("-v", Deed::Nothing),
            ("-V", Deed::Nothing),
            ("-h", Deed::Nothing),
            ("-?", Deed::Nothing),
            ("-s stop", Deed::Order(Order::Stop)),
            ("-sstop", Deed::Order(Order::Stop)),
            ("-s quit", Deed::Order(Order::Quit)),
            ("-s reopen", Deed::Order(Order::Reopen)),
            ("-qs reload", Deed::Order(Order::Reload)),
            ("-s upgrade", Deed::Order(Order::Upgrade)),
            ("-v -s stop", Deed::Nothing),
            ("demo", Deed::Demo),
            ("--explain map", Deed::Explain),
            ("-t --explain $host -c x", Deed::Explain),
            ("tunnels", Deed::Tunnels(Tunnels::Table)),
            ("tunnels --json -c x", Deed::Tunnels(Tunnels::Json)),
            ("tunnels -c x --close 7", Deed::Tunnels(Tunnels::Close(7))),
            ("tunnels -h", Deed::Nothing),
        ] {
            assert_eq!(of(line).map(|command| command.deed), Ok(deed), "{line}");
        }
    }

    #[test]
    fn values_are_attached_or_follow() {
        let expected = Command {
            prefix: Some("/p".into()),
            conf: Some("x.conf".into()),
            globals: Some("daemon".into()),
            error_log: Some("stderr".into()),
            quiet: true,
            deed: Deed::Test { dump: false },
            ..Command::default()
        };
        for line in [
            "-tq -p /p -c x.conf -g daemon -e stderr",
            "-p/p -cx.conf -gdaemon -estderr -q -t",
            "-tqp /p -c x.conf -gdaemon -e stderr",
            "-tqcx.conf -p/p -g daemon -e stderr",
            "-c other -c x.conf -p/p -tqgdaemon -estderr",
        ] {
            assert_eq!(of(line), Ok(expected.clone()), "{line}");
        }
        assert_eq!(of("-c=x").unwrap().conf, Some("=x".into()), "nginx takes the sign as well");
        assert_eq!(of("-c -t").unwrap().conf, Some("-t".into()), "a value may look like an option");
    }

    #[test]
    fn faults_are_worded_as_nginx_words_them() {
        for (line, text) in [
            ("-x", "invalid option: \"x\""),
            ("-tqx", "invalid option: \"x\""),
            ("--help", "invalid option: \"-\""),
            ("foo", "invalid option: \"foo\""),
            ("-t demo", "invalid option: \"demo\""),
            ("-c", "option \"-c\" requires file name"),
            ("-tc", "option \"-c\" requires file name"),
            ("-e", "option \"-e\" requires file name"),
            ("-p", "option \"-p\" requires directory name"),
            ("-g", "option \"-g\" requires parameter"),
            ("-s", "option \"-s\" requires parameter"),
            ("-s foo", "invalid option: \"-s foo\""),
            ("-sfoo", "invalid option: \"-s foo\""),
            ("-h -x", "invalid option: \"x\""),
            ("demo loud", "unexpected argument: \"loud\""),
            ("tunnels loud", "invalid option: \"loud\""),
            ("tunnels --close", "option \"--close\" requires the id of a tunnel, not \"\""),
            ("tunnels --close x", "option \"--close\" requires the id of a tunnel, not \"x\""),
            ("tunnels -t", "unexpected argument: \"tunnels\""),
        ] {
            assert_eq!(of(line).map_err(|fault| fault.to_string()), Err(text.into()), "{line}");
        }
    }

    #[test]
    fn bytes_that_are_no_text() {
        let bytes = OsString::from_vec(b"\xff.conf".to_vec());
        let command = read(["-c".into(), bytes.clone()]).unwrap();
        assert_eq!(command.conf, Some(bytes.clone()));
        assert_eq!(read(["-g".into(), bytes]), Err(CliFault::NotText { letter: 'g' }));
    }
}
