//! Listings of folders (`autoindex`), byte for byte as nginx makes them.
//!
//! `mod.rs` asks for one when no index file stands for the folder. The folder is read at once, on the
//! request's thread, as nginx does it.

use super::fault::{FileFault, errno_of};
use super::file::path_of;
use crate::clock;
use crate::modules::autoindex::{Format, Settings};
use crate::request::Request;
use crate::response::{Content, Response};
use crate::uri::{self, Escape};
use bytes::Bytes;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// Entries of one listing, at most; a larger folder is not listed.
pub const ENTRIES_MAX: usize = 100_000;

/// The columns that a name has.
const NAME_WIDTH: usize = 50;

/// What is in a folder under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Vec<u8>,
    kind: Kind,
    modified: i64,
    size: u64,
}

/// Folders stand before the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Other,
}

/// The listing of the folder at `path`, which ends in a slash as a rule.
pub fn of(request: &Request, path: Vec<u8>) -> Result<Response, FileFault> {
    let settings = &request.location.autoindex;
    let callback = match settings.autoindex_format {
        Format::Jsonp => callback(&request.args)?,
        Format::Html | Format::Xml | Format::Json => None,
    };
    let entries = read(path)?;
    let (media_type, text) = match settings.autoindex_format {
        Format::Html => ("text/html", html(&request.path, settings, &entries)),
        Format::Xml => ("text/xml; charset=utf-8", xml(&entries)),
        Format::Json | Format::Jsonp => match callback {
            Some(name) => {
                let start = [b"/* callback */\r\n", name, b"("].concat();
                ("application/javascript", [&start[..], &json(&entries), b");"].concat())
            }
            None => ("application/json", json(&entries)),
        },
    };
    Ok(Response {
        status: 200,
        content_type: Some(media_type.as_bytes().to_vec()),
        content: Content::Memory(Bytes::from(text)),
        ..Response::default()
    })
}

/// The function that `callback` names; what is no name is refused.
fn callback(args: &[u8]) -> Result<Option<&[u8]>, FileFault> {
    let Some(name) = uri::argument(args, b"callback").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    match name.iter().all(is_name) {
        true => Ok(Some(name)),
        false => Err(FileFault::BadCallback { name: name.to_vec() }),
    }
}

fn read(mut path: Vec<u8>) -> Result<Vec<Entry>, FileFault> {
    if path.len() > 1 {
        path.pop();
    }
    let unread = |path: &[u8], error: &io::Error| FileFault::FolderNotRead {
        path: path.to_vec(),
        errno: errno_of(error),
    };
    let folder = fs::read_dir(path_of(&path)).map_err(|error| unread(&path, &error))?;
    let mut entries = Vec::new();
    for item in folder {
        let item = item.map_err(|error| unread(&path, &error))?;
        let name = item.file_name().as_bytes().to_vec();
        if name.starts_with(b".") {
            continue;
        }
        if entries.len() == ENTRIES_MAX {
            return Err(FileFault::FolderTooLarge { path });
        }
        entries.extend(entry(name, &item));
    }
    entries.sort_by(|a, b| {
        let is_file = |entry: &Entry| entry.kind != Kind::Folder;
        is_file(a).cmp(&is_file(b)).then_with(|| a.name.cmp(&b.name))
    });
    Ok(entries)
}

/// What a name is; a link that leads nowhere is shown as itself, and what has gone is left out.
fn entry(name: Vec<u8>, item: &fs::DirEntry) -> Option<Entry> {
    let found = fs::metadata(item.path()).or_else(|_| item.metadata()).ok()?;
    let kind = match () {
        () if found.is_dir() => Kind::Folder,
        () if found.is_file() => Kind::File,
        () => Kind::Other,
    };
    Some(Entry { name, kind, modified: found.mtime(), size: found.len() })
}

fn html(path: &[u8], settings: &Settings, entries: &[Entry]) -> Vec<u8> {
    let path = html_escaped(path);
    let offset = match settings.autoindex_localtime.0 {
        true => clock::offset(clock::Wall::now().seconds),
        false => 0,
    };
    let mut out = b"<html>\r\n<head><title>Index of ".to_vec();
    out.extend_from_slice(&path);
    out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
    out.extend_from_slice(&path);
    out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
    for entry in entries {
        html_name(entry, &mut out);
        let date = clock::listing_date(entry.modified + offset);
        let size = match settings.autoindex_exact_size.0 {
            true => exact_size(entry),
            false => rounded_size(entry),
        };
        out.extend_from_slice(format!(" {date} {size}\r\n").as_bytes());
    }
    out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
    out
}

/// The link, cut or filled up to the column of times. A slash behind a folder's name is inside the
/// link when there is room for it.
fn html_name(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<a href=\"");
    out.extend_from_slice(&uri::escape(Escape::Component, &entry.name));
    let is_folder = entry.kind == Kind::Folder;
    if is_folder {
        out.push(b'/');
    }
    out.extend_from_slice(b"\">");
    let mut width = entry.name.len();
    if width > NAME_WIDTH {
        out.extend_from_slice(&html_escaped(&entry.name[..NAME_WIDTH - 3]));
        out.extend_from_slice(b"..&gt;</a>");
        return;
    }
    out.extend_from_slice(&html_escaped(&entry.name));
    if is_folder && width < NAME_WIDTH {
        out.push(b'/');
        width += 1;
    }
    out.extend_from_slice(b"</a>");
    out.resize(out.len() + NAME_WIDTH - width, b' ');
}

fn html_escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            byte => out.push(byte),
        }
    }
    out
}

fn exact_size(entry: &Entry) -> String {
    match entry.kind {
        Kind::Folder => format!("{:>19}", "-"),
        Kind::File | Kind::Other => format!("{:>19}", entry.size),
    }
}

fn rounded_size(entry: &Entry) -> String {
    const UNITS: [(u64, char); 2] = [(1 << 30, 'G'), (1 << 20, 'M')];
    if entry.kind == Kind::Folder {
        return format!("{:>7}", "-");
    }
    let size = entry.size;
    let rounded = |unit: u64| size / unit + u64::from(size % unit > unit / 2 - 1);
    for (unit, letter) in UNITS {
        if size > unit - 1 {
            return format!("{:>6}{letter}", rounded(unit));
        }
    }
    match size {
        10_000.. => format!("{:>6}K", rounded(1 << 10)),
        _ => format!("{size:>7}"),
    }
}

fn xml(entries: &[Entry]) -> Vec<u8> {
    let mut out = b"<?xml version=\"1.0\"?>\r\n<list>\r\n".to_vec();
    for entry in entries {
        let kind = word(entry.kind);
        let mut start = format!("<{kind} mtime=\"{}\"", clock::utc_date(entry.modified));
        if entry.kind == Kind::File {
            // Writing to a String cannot fail.
            let _ = write!(start, " size=\"{}\"", entry.size);
        }
        out.extend_from_slice(start.as_bytes());
        out.push(b'>');
        out.extend_from_slice(&html_escaped(&entry.name));
        out.extend_from_slice(format!("</{kind}>\r\n").as_bytes());
    }
    out.extend_from_slice(b"</list>\r\n");
    out
}

fn json(entries: &[Entry]) -> Vec<u8> {
    let mut out = b"[".to_vec();
    for (index, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\r\n" } else { b",\r\n" });
        out.extend_from_slice(b"{ \"name\":\"");
        entry.name.iter().for_each(|&byte| crate::access_log::json_byte(byte, &mut out));
        let (kind, date) = (word(entry.kind), clock::http_date(entry.modified));
        out.extend_from_slice(format!("\", \"type\":\"{kind}\", \"mtime\":\"{date}\"").as_bytes());
        if entry.kind == Kind::File {
            out.extend_from_slice(format!(", \"size\":{}", entry.size).as_bytes());
        }
        out.extend_from_slice(b" }");
    }
    out.extend_from_slice(b"\r\n]");
    out
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Folder => "directory",
        Kind::File => "file",
        Kind::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::super::scratch::Scratch;
    use super::*;

    fn of_size(size: u64) -> Entry {
        Entry { name: b"a".to_vec(), kind: Kind::File, modified: 0, size }
    }

    #[test]
    fn sizes_are_rounded_as_nginx_does() {
        let shown = |size| rounded_size(&of_size(size)).trim().to_owned();
        for (size, expected) in [
            (0, "0"),
            (9999, "9999"),
            (10_000, "10K"),
            (10_751, "10K"),
            (10_752, "11K"),
            (1_048_575, "1024K"),
            (1_048_576, "1M"),
            (1_572_863, "1M"),
            (1_572_864, "2M"),
            (1 << 30, "1G"),
            (5 << 30, "5G"),
        ] {
            assert_eq!(shown(size), expected, "{size}");
        }
    }

    #[test]
    fn folders_come_first_and_hidden_names_not_at_all() {
        let scratch = Scratch::new();
        scratch.file("a", b"1");
        scratch.file(".b", b"1");
        scratch.folder("z");
        scratch.link("dangling", "nowhere");
        let entries = read([scratch.root(), b"/"].concat()).expect("a folder");
        let names: Vec<_> =
            entries.iter().map(|entry| (entry.name.as_slice(), entry.kind)).collect();
        let expected = [(&b"z"[..], Kind::Folder), (b"a", Kind::File), (b"dangling", Kind::Other)];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_cannot_be_read_has_nginxs_status() {
        let scratch = Scratch::new();
        let missing = read([scratch.root(), b"/no/"].concat()).expect_err("nothing there");
        assert_eq!(missing.status(), 404);
        assert!(missing.message().is_some_and(|text| text.starts_with("opendir() \"")));
        assert_eq!(callback(b"callback=a-b").map_err(|fault| fault.status()), Err(400));
        assert_eq!(callback(b"callback=a.b"), Ok(Some(&b"a.b"[..])));
    }
}
