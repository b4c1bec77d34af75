//! The access log: formats and files.

use crate::log_buffer::Setup;
use crate::syslog_target as syslog;
use perdura_conf::{
    Arity, Each, Fault, Names, Part, Reader, Size, Template, Time, Value, Word, directives,
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
    /// the request's root is there. `if` leaves requests out for which it is empty or `0`. With
    /// `buffer` (or `gzip`, which compresses, by level 1 and in pieces of 64k when nothing else is
    /// said) lines are written together: when the buffer is full, when `flush` has passed, before logs
    /// are opened again, at a reload and at the end; a worker that is killed loses what waits. A
    /// tunnel's line is written when it ends and says why (`$tunnel_close_reason`). Several may stand in
    /// one block; `off` ends all.
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
    /// What was written for the place, for messages.
    pub word: Word,
    pub place: Place,
    pub format: Option<Word>,
    pub buffer: Option<Setup>,
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
    const SYNTAX: &'static str = "path [format [buffer=size] [gzip[=level]] [flush=time] \
                                  [if=condition]] | syslog:... [format] | off";
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
        let buffer = parameters.buffer();
        let condition = parameters.condition;
        Ok(Self::To(Box::new(To {
            word: args[0].clone(),
            place,
            format: args.get(1).cloned(),
            buffer,
            condition,
        })))
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

/// The buffer of a compressed log when nothing is said.
const GZIP_BUFFER_BYTES: usize = 64 << 10;

/// What stands behind the format.
#[derive(Default)]
struct Parameters {
    bytes: Option<usize>,
    flush_ms: Option<u64>,
    gzip: Option<u32>,
    condition: Option<Template>,
}

impl Parameters {
    fn read(&mut self, word: &Word, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let text = word.text();
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        let fault = |message: String| Fault::new(word.place, message);
        match name {
            "buffer" => {
                let size = Size::parse(value.as_bytes()).filter(|size| *size > 0);
                let invalid = || fault(format!("invalid buffer size \"{value}\""));
                self.bytes = Some(usize::try_from(size.ok_or_else(invalid)?).unwrap_or(usize::MAX));
            }
            "flush" => {
                let time = Time::parse(value.as_bytes()).filter(|time| *time > 0);
                let invalid = || fault(format!("invalid flush time \"{value}\""));
                self.flush_ms = Some(time.ok_or_else(invalid)?);
            }
            "gzip" if text.len() == 4 || text.starts_with("gzip=") => {
                self.bytes.get_or_insert(GZIP_BUFFER_BYTES);
                let level = value.parse().ok().filter(|level| (1..=9).contains(level));
                let invalid = || fault(format!("invalid compression level \"{value}\""));
                self.gzip = Some(match text.len() {
                    // Without a level: the fastest.
                    4 => 1,
                    _ => level.ok_or_else(invalid)?,
                });
            }
            "if" => {
                let value = Word { bytes: value.as_bytes().to_vec(), place: word.place };
                self.condition = Some(Template::compile(&value, reader.names)?);
            }
            _ => return Err(fault(format!("invalid parameter \"{text}\""))),
        }
        Ok(())
    }

    fn buffer(&self) -> Option<Setup> {
        let (flush_ms, gzip) = (self.flush_ms, self.gzip);
        self.bytes.map(|bytes| Setup { bytes, flush_ms, gzip })
    }

    fn check(&self, path: &Word, place: &Place) -> Result<(), Fault> {
        let message = match place {
            _ if self.flush_ms.is_some() && self.bytes.is_none() => {
                format!("no buffer is defined for access_log \"{}\"", path.text())
            }
            Place::Computed(_) if self.bytes.is_some() => {
                "buffered logs cannot have variables in name".to_owned()
            }
            Place::Syslog(..) if self.bytes.is_some() => {
                "logs to syslog cannot be buffered".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Fault::new(path.place, message))
    }
}
