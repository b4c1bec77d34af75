//! The access log: formats and files.

use perdura_conf::{Arity, Each, Fault, Names, Part, Reader, Template, Value, Word, directives};

directives! {
    /// Names a format of access-log lines; its strings are joined. `escape` says how variables are
    /// made safe: `default` as `\\xHH`, `json` for JSON strings, `none` not at all. `combined` is
    /// built in.
    log_format: Each<Format> = "", in HTTP;

    /// Writes a line for each request to a file, in a named format. A tunnel's line is written when
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
    To { file: Word, path: std::path::PathBuf, format: Option<Word> },
}

impl Value for Access {
    const SYNTAX: &'static str = "path [format] | off";
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
        let unsupported = |word: &Word, what: &str| {
            Err(Fault::new(
                word.place,
                format!("{what} in \"access_log\" directive is not supported yet"),
            ))
        };
        if args[0].bytes.starts_with(b"syslog:") {
            return unsupported(&args[0], "\"syslog:\"");
        }
        if args[0].bytes.contains(&b'$') {
            return unsupported(&args[0], "a path with variables");
        }
        if let Some(word) = args.get(2) {
            let text = word.text();
            let name = text.split('=').next().unwrap_or_default();
            if matches!(name, "buffer" | "flush" | "gzip" | "if") {
                return unsupported(word, &format!("\"{name}\""));
            }
            return Err(Fault::new(word.place, format!("invalid parameter \"{text}\"")));
        }
        let path = reader.path(&args[0]);
        Ok(Self::To { file: args[0].clone(), path, format: args.get(1).cloned() })
    }
}
