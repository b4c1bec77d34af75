//! `try_files`: nginx's handler of the PRECONTENT phase.
//!
//! It serves nothing: what it finds becomes the request's path, and the content phase goes on.

use crate::config::Replaces;
use crate::error_log;
use crate::file_path::{self, AliasUnfit};
use crate::modules::error_log::Severity;
use crate::modules::try_files::{Candidate, Kind, Otherwise, TryFiles};
use crate::phase::Step;
use crate::request::Request;
use crate::uri;
use perdura_conf::Template;

/// Looks for the files of the location's `try_files`, if it has one.
pub fn try_files(request: &mut Request) -> Step {
    let location = std::sync::Arc::clone(&request.location);
    let Some(TryFiles { candidates, otherwise }) = &location.try_files.try_files else {
        return Step::Next;
    };
    for candidate in candidates {
        match take(request, candidate) {
            Ok(true) => return Step::Next,
            Ok(false) => {}
            Err(AliasUnfit) => return Step::Refuse(500),
        }
    }
    let uri = match otherwise {
        // As with `return`, these end the request without an answer.
        Otherwise::Status(status @ (408 | 444 | 499)) => return Step::Hang(*status),
        Otherwise::Status(status) => return Step::Refuse(*status),
        Otherwise::Uri(template) => name_of(request, template),
    };
    if uri.first() == Some(&b'@') {
        return Step::RedirectNamed(uri);
    }
    let (path, args) = uri::split_args(&uri);
    Step::Redirect { path: path.to_vec(), args: args.unwrap_or_default().to_vec() }
}

/// Makes a candidate the request's path if it is there.
fn take(request: &mut Request, candidate: &Candidate) -> Result<bool, AliasUnfit> {
    let name = name_of(request, &candidate.name);
    let path = file_path::with_name(request, Some(&name))?;
    let found = match std::fs::metadata(super::file::path_of(&path)) {
        Ok(found) => found,
        Err(error) => {
            let code = super::fault::errno_of(&error);
            if !matches!(code, libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) {
                let path = String::from_utf8_lossy(&path);
                let reason = crate::errno_text(&error);
                let message = format!("stat() \"{path}\" failed ({reason})");
                error_log::request(request, Severity::Crit, &message);
            }
            return Ok(false);
        }
    };
    if found.is_dir() != (candidate.kind == Kind::Folder) {
        return Ok(false);
    }
    match request.location.alias.as_deref().map(|alias| alias.replaces) {
        None => request.path = name,
        Some(Replaces::Prefix(length)) => {
            request.path.truncate(length);
            request.path.extend_from_slice(&name);
        }
        // A folder is what the alias itself names.
        Some(Replaces::Path) if candidate.kind == Kind::Folder => {}
        Some(Replaces::Path) => {
            request.path = name;
            request.adds_to_alias = true;
        }
    }
    Ok(true)
}

/// The name that a template gives. Where an alias stands for the beginning of paths, a name with
/// variables that begins like the request's path is below the alias.
fn name_of(request: &Request, template: &Template) -> Vec<u8> {
    let name = request.value(template);
    let replaced = match request.location.alias.as_deref().map(|alias| alias.replaces) {
        Some(Replaces::Prefix(length)) if template.constant().is_none() => length,
        _ => return name,
    };
    match (name.get(..replaced), request.path.get(..replaced)) {
        (Some(start), Some(path)) if start == path => name[replaced..].to_vec(),
        _ => name,
    }
}
