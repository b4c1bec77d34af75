//! The access log: formats and files.

use crate::syslog_target as syslog;
use perdura_conf::{
    Arity, Each, Fault, Names, Part, Reader, Size, Statement, Template, Time, Value, Word,
    directives,
};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

directives! {
    /// Names a format of access-log lines; its strings are joined. `escape` says how variables are
    /// made safe: `default` as `\\xHH`, `json` for JSON strings, `none` not at all. `combined` is
    /// built in.
    log_format: Each<Format> = "", in HTTP;

    /// Writes a line for each request to a file or a syslog server, in a named format. The path may
    /// hold variables: then the file is opened for each line, by the worker's user, and only while
    /// the request's root is there. `if` leaves requests out for which it is empty or `0`. Lines are
    /// written at once: `buffer` and `flush` are checked and have no effect. A tunnel's line is written when
    /// it ends and says why (`$tunnel_close_reason`). Several may stand in one block; `off` ends
    /// all.
    access_log: Each<Access> = "",
        in HTTP | SERVER | LOCATION | LOCATION_IF | LIMIT_EXCEPT;
}

/// How variables are escaped in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    Default,
    Json,
    None,
}

/// A `log_format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub name: Word,
    pub escape: Escape,
    pub template: Template,
}

/// The format that nginx has built in.
pub const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
                            $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

impl Value for Format {
    const SYNTAX: &'static str = "name [escape=default|json|none] string ...";
    const ARITY: Arity = Arity::at_least(2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let name = args[0].clone();
        let mut rest = &args[1..];
        let mut escape = Escape::Default;
        if let Some(value) = rest[0].bytes.strip_prefix(b"escape=") {
            escape = match value {
                b"default" => Escape::Default,
                b"json" => Escape::Json,
                b"none" => Escape::None,
                _ => {
                    return Err(Fault::new(
                        rest[0].place,
                        format!(
                            "unknown log format escaping \"{}\"",
                            String::from_utf8_lossy(value)
                        ),
                    ));
                }
            };
            rest = &rest[1..];
        }
        for word in rest {
            check_string(word, reader.names)?;
        }
        // nginx joins the strings without anything in between.
        let bytes = rest.iter().flat_map(|word| word.bytes.iter().copied()).collect();
        let joined = Word { bytes, place: rest.first().unwrap_or(&name).place };
        Ok(Self { name, escape, template: Template::compile(&joined, reader.names)? })
    }
}

/// Whether one string of a format is valid by itself. In a format nginx words a lone `$` in its own
/// way, and knows no captures: a line may be written long after the pattern matched.
fn check_string(word: &Word, names: &mut Names) -> Result<(), Fault> {
    let template = Template::compile(word, names).map_err(|fault| {
        if fault.message == "invalid variable name" {
            let message = format!("invalid parameter \"{}\"", word.text());
            return Fault { message, ..fault };
        }
        fault
    })?;
    let capture = template.parts().iter().find_map(|part| match part {
        Part::Capture(number) => Some(*number),
        Part::Text(_) | Part::Variable(_) => None,
    });
    match capture {
        Some(number) => Err(Fault::nowhere(format!("unknown \"{number}\" variable"))
            .hint("captures have no number in a log_format: name the group, as in (?<name>...)")),
        None => Ok(()),
    }
}

/// An `access_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    Off,
    To(Box<To>),
}

/// An `access_log` that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    pub place: Place,
    pub format: Option<Word>,
    /// Requests for which it is empty or `0` leave no line.
    pub condition: Option<Template>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    /// The path depends on the request.
    Computed(Template),
    Syslog(Word, syslog::Written),
}

impl Value for Access {
    const SYNTAX: &'static str =
        "path [format [buffer=size] [flush=time] [if=condition]] | syslog:... [format] | off";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        if args[0].is("off") {
            if let Some(more) = args.get(1) {
                let message = format!("invalid parameter \"{}\"", more.text());
                return Err(
                    Fault::new(more.place, message).hint("nothing may stand behind \"off\"")
                );
            }
            return Ok(Self::Off);
        }
        let place = place(&args[0], reader)?;
        let mut parameters = Parameters::default();
        for word in args.get(2..).unwrap_or_default() {
            parameters.read(word, reader)?;
        }
        parameters.check(&args[0], &place)?;
        let condition = parameters.condition;
        Ok(Self::To(Box::new(To { place, format: args.get(1).cloned(), condition })))
    }
}

fn place(word: &Word, reader: &mut Reader<'_>) -> Result<Place, Fault> {
    if syslog::is_syslog(word) {
        return Ok(Place::Syslog(word.clone(), syslog::read(word)?));
    }
    let path = reader.path(word);
    let full = Word { bytes: path.as_os_str().as_bytes().to_vec(), place: word.place };
    let template = Template::compile(&full, reader.names)?;
    Ok(match template.constant() {
        Some(_) => Place::File(path),
        None => Place::Computed(template),
    })
}

/// What stands behind the format.
#[derive(Default)]
struct Parameters {
    buffered: bool,
    flushed: bool,
    condition: Option<Template>,
}

impl Parameters {
    fn read(&mut self, word: &Word, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let text = word.text();
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        let fault = |message: String| Fault::new(word.place, message);
        match name {
            "buffer" if Size::parse(value.as_bytes()).is_some_and(|size| size > 0) => {
                self.buffered = true;
            }
            "buffer" => return Err(fault(format!("invalid buffer size \"{value}\""))),
            "flush" if Time::parse(value.as_bytes()).is_some_and(|time| time > 0) => {
                self.flushed = true;
            }
            "flush" => return Err(fault(format!("invalid flush time \"{value}\""))),
            "if" => {
                let value = Word { bytes: value.as_bytes().to_vec(), place: word.place };
                self.condition = Some(Template::compile(&value, reader.names)?);
            }
            "gzip" => {
                let message = "\"gzip\" in \"access_log\" directive is not supported yet";
                return Err(
                    Fault::new(word.place, message).hint("compress the file when it is rotated")
                );
            }
            _ => return Err(fault(format!("invalid parameter \"{text}\""))),
        }
        Ok(())
    }

    fn check(&self, path: &Word, place: &Place) -> Result<(), Fault> {
        let message = match place {
            _ if self.flushed && !self.buffered => {
                format!("no buffer is defined for access_log \"{}\"", path.text())
            }
            Place::Computed(_) if self.buffered => {
                "buffered logs cannot have variables in name".to_owned()
            }
            Place::Syslog(..) if self.buffered => "logs to syslog cannot be buffered".to_owned(),
            _ => return Ok(()),
        };
        Err(Fault::new(path.place, message))
    }
}

/// What can only be said of a whole statement: that a buffer has no effect.
pub fn check(statement: &Statement) -> Option<Fault> {
    let mut words = statement.args.iter().skip(2).filter(|_| statement.name.is("access_log"));
    let word = words.find(|word| word.bytes.starts_with(b"buffer="))?;
    let why = "lines are written at once, so that no crash loses one";
    Some(Fault::notice(word.place, format!("\"buffer\" has no effect: {why}")))
}
