//! Log files: where lines go, compiled from `access_log`, `log_format` and `error_log`.

use super::{Builder, path_of};
use crate::config::{AccessLog, ErrorTarget, LogPlace};
use crate::log_file::LogFile;
use crate::modules::error_log::{Severity, Target};
use crate::modules::log::{Access, COMBINED, Escape, Format, Place, To};
use crate::syslog::{Server, Syslog};
use crate::syslog_target::{Address, Written};
use perdura_conf::{Each, Fault, Template, Word};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Where access lines go when nothing is said.
const ACCESS_LOG: &str = "/var/log/perdura/access.log";

/// Where error lines go when nothing is said.
pub const ERROR_LOG: &str = "/var/log/perdura/error.log";

/// The formats of one configuration by name.
pub type Formats = HashMap<Vec<u8>, (Arc<Template>, Escape)>;

impl Builder<'_> {
    /// The error logs of a block: its own, or the outer block's.
    pub(super) fn error_targets(
        &mut self,
        own: Option<&Each<Target>>,
        outer: Option<&Arc<[ErrorTarget]>>,
    ) -> Arc<[ErrorTarget]> {
        let Some(Each(list)) = own else {
            return match outer {
                Some(outer) => Arc::clone(outer),
                None => Arc::new([self.default_error_log()]),
            };
        };
        let targets: Vec<_> = list.iter().map(|target| self.error_target(target)).collect();
        targets.into()
    }

    fn error_target(&mut self, target: &Target) -> ErrorTarget {
        // nginx takes an empty name as the standard error stream.
        let file = if let Some(written) = &target.syslog {
            self.syslog(&target.file, written)
        } else if target.file.is("stderr") || target.file.bytes.is_empty() {
            None
        } else {
            Some(self.log_file(self.options.prefix.join(path_of(&target.file.bytes))))
        };
        ErrorTarget { file, severity: target.severity }
    }

    fn default_error_log(&mut self) -> ErrorTarget {
        let path = match self.options.error_log.as_deref() {
            Some("stderr") => None,
            Some(path) => Some(self.options.prefix.join(path)),
            None => Some(PathBuf::from(ERROR_LOG)),
        };
        let file = path.map(|path| self.log_file(path));
        ErrorTarget { file, severity: Severity::Error }
    }

    /// The log file at `path`, one for all that name it.
    fn log_file(&mut self, path: PathBuf) -> Arc<LogFile> {
        if let Some(file) = self.logs.iter().find(|file| file.path == path) {
            return Arc::clone(file);
        }
        let file = Arc::new(LogFile::new(path));
        self.logs.push(Arc::clone(&file));
        file
    }

    /// The log of a syslog target; none when its name cannot be looked up.
    fn syslog(&mut self, word: &Word, written: &Written) -> Option<Arc<LogFile>> {
        let name = path_of(&word.bytes).to_owned();
        if let Some(log) = self.logs.iter().find(|log| log.path == name) {
            return Some(Arc::clone(log));
        }
        let server = match &written.server {
            Address::Known(server) => server.clone(),
            Address::Name { name, port } => {
                let found = self.world.resolve(name).ok().and_then(|list| list.first().copied());
                let Some(ip) = found else {
                    let message = format!("host not found in syslog server \"{name}\"");
                    self.faults.push(Fault::new(word.place, message));
                    return None;
                };
                Server::Inet((ip, *port).into())
            }
        };
        let hostname = written.with_hostname.then(crate::hostname);
        let levels = (written.facility, written.severity);
        let syslog = Syslog::new(server, levels, written.tag.clone(), hostname);
        let log = Arc::new(LogFile::syslog(name, syslog));
        self.logs.push(Arc::clone(&log));
        Some(log)
    }

    /// The formats of the `http` block, nginx's own among them.
    pub(super) fn formats(&mut self, own: Option<&Each<Format>>) -> Formats {
        let mut formats = Formats::new();
        let combined = Word { bytes: COMBINED.as_bytes().to_vec(), place: super::nowhere().place };
        match Template::compile(&combined, &mut self.names) {
            Ok(template) => {
                formats.insert(b"combined".to_vec(), (Arc::new(template), Escape::Default));
            }
            Err(fault) => self.faults.push(fault),
        }
        for format in own.map_or(&[][..], |Each(list)| list) {
            let value = (Arc::new(format.template.clone()), format.escape);
            if formats.insert(format.name.bytes.clone(), value).is_some() {
                self.faults.push(Fault::new(
                    format.name.place,
                    format!("duplicate \"log_format\" name \"{}\"", format.name.text()),
                ));
            }
        }
        formats
    }

    /// The access logs of a block; none when one of them is `off`.
    pub(super) fn access_logs(
        &mut self,
        settings: &Each<Access>,
        written: bool,
        formats: &Formats,
    ) -> Vec<AccessLog> {
        if !written {
            let file = self.log_file(PathBuf::from(ACCESS_LOG));
            let format = formats.get(&b"combined"[..]);
            return format
                .map(|(template, escape)| AccessLog {
                    place: LogPlace::Fixed(file),
                    condition: None,
                    template: Arc::clone(template),
                    escape: *escape,
                })
                .into_iter()
                .collect();
        }
        let mut logs = Vec::new();
        for access in &settings.0 {
            let Access::To(to) = access else {
                return Vec::new();
            };
            let format = &to.format;
            let name = format.as_ref().map_or(&b"combined"[..], |word| &word.bytes);
            match (formats.get(name), format) {
                (Some((template, escape)), _) => {
                    let (template, escape) = (Arc::clone(template), *escape);
                    let Some(place) = self.log_place(&to.place) else { continue };
                    self.buffer(to, &place);
                    let condition = to.condition.clone().map(Arc::new);
                    logs.push(AccessLog { place, condition, template, escape });
                }
                (None, Some(word)) => {
                    let fault = format!("unknown log format \"{}\"", word.text());
                    let fault = Fault::new(word.place, fault);
                    if !self.faults.contains(&fault) {
                        self.faults.push(fault);
                    }
                }
                (None, None) => {}
            }
        }
        logs
    }

    /// Remembers what is said of a log's buffer, until all uses of the log are known.
    fn buffer(&mut self, to: &To, place: &LogPlace) {
        if let (Some(setup), LogPlace::Fixed(file)) = (to.buffer, place) {
            self.log_buffers.push((Arc::clone(file), setup, to.word.clone()));
        }
    }

    /// Lets the lines of logs gather. All uses of a log share its buffer, and the first one in the
    /// order of the files says how it is.
    pub(super) fn log_buffers(&mut self) {
        let mut uses = std::mem::take(&mut self.log_buffers);
        uses.sort_by_cached_key(|(_, _, word)| {
            self.sources.reading_key(word.place.source, word.place.start)
        });
        // A block inherits the line of another.
        uses.dedup_by_key(|(file, _, word)| (file.path.clone(), word.place));
        for (file, setup, word) in uses {
            if file.set_buffer(setup) {
                continue;
            }
            let path = word.text();
            let message =
                format!("access_log \"{path}\" already defined with conflicting parameters");
            self.faults.push(
                Fault::new(word.place, message).hint(
                    "all lines of a file go through one buffer: say the same of it everywhere",
                ),
            );
        }
    }

    fn log_place(&mut self, place: &Place) -> Option<LogPlace> {
        Some(match place {
            Place::File(path) => LogPlace::Fixed(self.log_file(path.clone())),
            Place::Computed(template) => LogPlace::Computed(Arc::new(template.clone())),
            Place::Syslog(word, written) => LogPlace::Fixed(self.syslog(word, written)?),
        })
    }
}
