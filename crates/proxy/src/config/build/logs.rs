//! Log files: where lines go, compiled from `access_log`, `log_format` and `error_log`.

use super::{Builder, path_of};
use crate::config::{AccessLog, ErrorTarget};
use crate::log_file::LogFile;
use crate::modules::error_log::{Severity, Target};
use crate::modules::log::{Access, COMBINED, Escape, Format};
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
        let file = if target.file.is("stderr") || target.file.bytes.is_empty() {
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
                    file,
                    template: Arc::clone(template),
                    escape: *escape,
                })
                .into_iter()
                .collect();
        }
        let mut logs = Vec::new();
        for access in &settings.0 {
            let Access::To { path, format, .. } = access else {
                return Vec::new();
            };
            let name = format.as_ref().map_or(&b"combined"[..], |word| &word.bytes);
            match (formats.get(name), format) {
                (Some((template, escape)), _) => logs.push(AccessLog {
                    file: self.log_file(path.clone()),
                    template: Arc::clone(template),
                    escape: *escape,
                }),
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
}
