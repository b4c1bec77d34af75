//! Where a request's file is: `root` and `alias` (nginx's `ngx_http_map_uri_to_path`).
//!
//! It looks at no disk. Content handlers, `try_files` and variables ask it.

use crate::config::{Alias, Replaces};
use crate::error_log;
use crate::modules::error_log::Severity;
use crate::request::Request;
use perdura_conf::Part;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The path was rewritten, so the alias does not know what it stands for; the error log says so, and
/// the client gets 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AliasUnfit;

/// `$document_root`: the value of `root` or `alias`, absolute.
pub fn root(request: &Request) -> Vec<u8> {
    if let Some(alias) = &request.location.alias {
        return absolute(request, request.value(&alias.path));
    }
    let template = &request.location.core.root;
    let mut root = request.value(template);
    // nginx strips one slash from the end of the root as it was written.
    if let Some(Part::Text(text)) = template.parts().last()
        && text.ends_with(b"/")
    {
        root.pop();
    }
    absolute(request, root)
}

fn absolute(request: &Request, path: Vec<u8>) -> Vec<u8> {
    request.config.process.prefix.join(OsString::from_vec(path)).into_os_string().into_vec()
}

/// The file or folder that the request's path names.
pub fn mapped(request: &Request) -> Result<Vec<u8>, AliasUnfit> {
    with_name(request, None)
}

/// Where `name` is, which stands for the request's path, or for what of it an alias leaves.
pub fn with_name(request: &Request, name: Option<&[u8]>) -> Result<Vec<u8>, AliasUnfit> {
    let left = match request.location.alias.as_deref() {
        None => 0,
        Some(_) if !request.fits_location => {
            let location = String::from_utf8_lossy(&request.location.name);
            let message = format!(
                "\"alias\" cannot be used in location \"{location}\" where URI was rewritten"
            );
            error_log::request(request, Severity::Alert, &message);
            return Err(AliasUnfit);
        }
        Some(Alias { replaces: Replaces::Prefix(length), .. }) => *length,
        // The alias is the whole path, unless `try_files` found something below it.
        Some(Alias { replaces: Replaces::Path, .. }) if request.adds_to_alias => 0,
        Some(Alias { replaces: Replaces::Path, .. }) => request.path.len(),
    };
    let mut path = root(request);
    path.extend_from_slice(name.unwrap_or(request.path.get(left..).unwrap_or_default()));
    Ok(path)
}
