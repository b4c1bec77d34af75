//! Shell patterns as `include` uses them: what glob(3) does with flags 0 in the C locale.
//!
//! `*`, `?` and `[...]` (ranges, `!` and `^`, classes such as `[:alpha:]`), `\` before a character
//! that is meant itself; names that begin with a dot only where the pattern has the dot; the paths
//! sorted as bytes. Not here: braces and `~`, which glob(3) does not know with these flags either.
//! Called by `Disk`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The most paths that one pattern may give, at any of its levels.
pub(super) const PATHS_MAX: usize = 10_000;

/// The paths that match, sorted; an empty list when none does. A folder that cannot be read counts
/// as empty, as in glob(3) without GLOB_ERR.
///
/// # Errors
/// E2BIG when there are more than [`PATHS_MAX`].
pub(super) fn paths(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let pattern = pattern.as_os_str().as_bytes();
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let mut rest = pattern;
    while !rest.is_empty() {
        let slashes = rest.iter().take_while(|&&byte| byte == b'/').count();
        let (separator, after) = rest.split_at(slashes);
        let length = after.iter().position(|&byte| byte == b'/').unwrap_or(after.len());
        let (component, behind) = after.split_at(length);
        found = step(found, separator, component, behind.is_empty())?;
        rest = behind;
    }
    found.sort();
    Ok(found.into_iter().map(|path| PathBuf::from(OsString::from_vec(path))).collect())
}

/// Every path of `found`, one component longer.
fn step(
    found: Vec<Vec<u8>>,
    separator: &[u8],
    component: &[u8],
    last: bool,
) -> io::Result<Vec<Vec<u8>>> {
    let mut longer = Vec::new();
    for mut base in found {
        base.extend_from_slice(separator);
        if component.is_empty() {
            // A slash at the end: folders only.
            if path_of(&base).is_dir() {
                longer.push(base);
            }
            continue;
        }
        if !has_wildcard(component) {
            base.extend(unescaped(component));
            if path_of(&base).symlink_metadata().is_ok() {
                longer.push(base);
            }
            continue;
        }
        for name in names_in(&base) {
            if !matches_name(component, &name) {
                continue;
            }
            let mut path = base.clone();
            path.extend_from_slice(&name);
            if last || path_of(&path).is_dir() {
                longer.push(path);
            }
        }
        if longer.len() > PATHS_MAX {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
    }
    Ok(longer)
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn names_in(base: &[u8]) -> Vec<Vec<u8>> {
    let folder = if base.is_empty() { Path::new(".") } else { path_of(base) };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<Vec<u8>> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().into_vec())).collect();
    // The two that `read_dir` leaves out; only a pattern that begins with a dot matches them.
    names.extend([b".".to_vec(), b"..".to_vec()]);
    names
}

fn has_wildcard(component: &[u8]) -> bool {
    let mut bytes = component.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

fn unescaped(component: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(component.len());
    let mut bytes = component.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(bytes.next().copied().unwrap_or(b'\\')),
            byte => plain.push(byte),
        }
    }
    plain
}

fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let hidden = name.first() == Some(&b'.');
    let asks_for_dot = pattern.starts_with(b".") || pattern.starts_with(b"\\.");
    (!hidden || asks_for_dot) && matches(pattern, name)
}

/// Backtracks to the last `*` only, which is enough: so the time is bounded by the product of both
/// lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, position));
            continue;
        }
        if position == name.len() && at == pattern.len() {
            return true;
        }
        match name.get(position).and_then(|&byte| one(&pattern[at..], byte)) {
            Some(length) => {
                at += length;
                position += 1;
            }
            None => match star {
                Some((after, from)) if from < name.len() => {
                    (at, position) = (after, from + 1);
                    star = Some((after, from + 1));
                }
                _ => return false,
            },
        }
    }
}

/// How much of the pattern's start stands for `byte`, if it does.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => match bracket(pattern, byte) {
            Some((length, inside)) => inside.then_some(length),
            // Not closed: an ordinary character.
            None => (byte == b'[').then_some(1),
        },
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        plain => (plain == byte).then_some(1),
    }
}

/// The length of a bracket expression, and whether `byte` is in it; `None` when it has no end.
fn bracket(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let mut at = 1;
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let mut inside = false;
    loop {
        match *pattern.get(at)? {
            b']' if at > first => return Some((at + 1, inside != negated)),
            b'[' if pattern.get(at + 1) == Some(&b':') => {
                match class(&pattern[at..], byte) {
                    Some((length, has)) => {
                        inside |= has;
                        at += length;
                    }
                    None => {
                        inside |= byte == b'[';
                        at += 1;
                    }
                };
            }
            _ => {
                let (low, length) = literal(&pattern[at..])?;
                at += length;
                let mut high = low;
                if pattern.get(at) == Some(&b'-') && pattern.get(at + 1).is_some_and(|&b| b != b']')
                {
                    let (end, length) = literal(&pattern[at + 1..])?;
                    high = end;
                    at += 1 + length;
                }
                inside |= (low..=high).contains(&byte);
            }
        }
    }
}

fn literal(pattern: &[u8]) -> Option<(u8, usize)> {
    match pattern {
        [b'\\', escaped, ..] => Some((*escaped, 2)),
        [plain, ..] => Some((*plain, 1)),
        [] => None,
    }
}

/// `[:name:]` inside a bracket expression: its length, and whether `byte` is in it.
fn class(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let end = pattern.windows(2).skip(2).position(|pair| pair == b":]")? + 2;
    let has = match &pattern[2..end] {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    };
    Some((end + 2, has))
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, CString};

    use super::*;

    /// What glob(3) itself says.
    fn of_system(pattern: &Path) -> Vec<PathBuf> {
        let pattern = CString::new(pattern.as_os_str().as_bytes()).unwrap();
        // SAFETY: `found` is all zeroes, as glob(3) wants it without GLOB_APPEND; its paths are
        // read only up to `gl_pathc` and freed once.
        unsafe {
            let mut found: libc::glob_t = std::mem::zeroed();
            let code = libc::glob(pattern.as_ptr(), 0, None, &raw mut found);
            let mut paths = Vec::new();
            if code == 0 {
                for index in 0..found.gl_pathc {
                    let path = CStr::from_ptr(*found.gl_pathv.add(index));
                    paths.push(PathBuf::from(OsStr::from_bytes(path.to_bytes())));
                }
            }
            libc::globfree(&raw mut found);
            paths
        }
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, files: &[&str]) -> Self {
            let id = std::process::id();
            let folder = std::env::temp_dir().join(format!("perdura-glob-{name}-{id}"));
            for file in files {
                let path = folder.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const FILES: &[&str] = &[
        "a.conf",
        "b.conf",
        "B.conf",
        "10.conf",
        "9.conf",
        ".hidden.conf",
        "a-b.conf",
        "[x].conf",
        "a*b.conf",
        "ab.conf",
        "axxb.conf",
        "sites/one.conf",
        "sites/two.conf",
        "sites/.three.conf",
        "other/one.conf",
        ".dir/one.conf",
        "a]b",
        "a^b",
        "a!b",
        "ä.conf",
        "conf",
        "deep/er/x.conf",
    ];

    #[test]
    fn agrees_with_the_system_on_a_table() {
        let folder = Folder::new("table", FILES);
        let _ = std::os::unix::fs::symlink("/nowhere/at/all", folder.0.join("dangling.conf"));
        for pattern in [
            "*",
            "*.conf",
            "?.conf",
            "??.conf",
            "a*",
            "*a*",
            "a*b*",
            "**",
            "*.*",
            ".*",
            ".*.conf",
            "[ab].conf",
            "[!ab].conf",
            "[^a].conf",
            "[a-z].conf",
            "[A-Z].conf",
            "[0-9]*.conf",
            "[[:digit:]]*",
            "[[:upper:]].conf",
            "[]a]*",
            "a[]^!]b",
            "[[]x[]].conf",
            "\\[x\\].conf",
            "a\\*b.conf",
            "[a",
            "[",
            "[!",
            "[]",
            "*/",
            "*/*",
            "*/*.conf",
            "s*/one.conf",
            "*/one.conf",
            "*/./one.conf",
            "*/../a.conf",
            "sites/*",
            "sites/",
            "sites",
            "none",
            "none/*",
            "none*",
            "sites//*.conf",
            ".dir/*",
            ".*/one.conf",
            "*/.*",
            "a.conf/*",
            "*/*/*.conf",
            "[a-].conf",
            "a[-]b.conf",
            "[z-a].conf",
            "dangling*",
            "d*/x",
            "[[:nonsense:]]*",
            "sites/[ot]*",
            "\\*",
            "a[/]b",
            "*\\",
            "[\\]]*",
            "[a\\-z]*",
        ] {
            let pattern = folder.0.join(pattern);
            assert_eq!(paths(&pattern).unwrap(), of_system(&pattern), "{}", pattern.display());
        }
    }

    #[test]
    fn agrees_with_the_system_on_random_patterns() {
        let folder = Folder::new("random", FILES);
        let seed = 0x5eed_0001_u64;
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        const PIECES: &[&str] = &[
            "*",
            "?",
            "a",
            "b",
            "x",
            ".",
            "conf",
            "/",
            "[a-c]",
            "[!a]",
            "sites",
            "one",
            "-",
            "\\a",
            "[[:alpha:]]",
            "[.]",
            "er",
            "9",
        ];
        for round in 0..3000 {
            let length = 1 + random(6);
            let pattern: String =
                (0..length).map(|_| PIECES[random(PIECES.len() as u64) as usize]).collect();
            // glibc takes a plain file for `file/`; we do not, and nobody includes a folder.
            let pattern = pattern.trim_end_matches('/');
            let path = PathBuf::from(format!("{}/{pattern}", folder.0.display()));
            assert_eq!(
                paths(&path).unwrap(),
                of_system(&path),
                "seed {seed:#x}, round {round}: {pattern}"
            );
        }
    }

    #[test]
    fn many_stars_are_no_explosion() {
        let pattern = b"*a".repeat(200);
        assert!(!matches(&pattern, &[b'b'; 4000]));
        assert!(matches(&pattern, &[b'a'; 4000]));
    }

    #[test]
    fn the_limit_is_reached() {
        let names: Vec<String> = (0..=PATHS_MAX).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let folder = Folder::new("limit", &names);
        let error = paths(&folder.0.join("*")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
    }
}
