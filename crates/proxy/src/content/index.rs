//! Files that stand for a folder: the search that nginx's index handler makes.
//!
//! It serves nothing: what it finds is a path to go on with, because another location may be
//! responsible for the file. `mod.rs` calls it for paths that end in a slash.

use super::fault::{FileFault, errno_of};
use super::file::path_of;
use std::fs;

/// The path, as a client would ask for it, of the first name that stands for the folder `path`, which
/// is `folder` on the disk; `None` when the folder is there and none of the files.
///
/// A name that begins with a slash is taken without a look at the disk. What has the name need not be
/// a file: the redirect finds that out.
pub fn find(
    folder: &[u8],
    path: &[u8],
    names: impl Iterator<Item = Vec<u8>>,
) -> Result<Option<Vec<u8>>, FileFault> {
    let mut folder_is_there = false;
    for name in names {
        if name.starts_with(b"/") {
            return Ok(Some(name));
        }
        let full = [folder, &name].concat();
        let Err(error) = fs::metadata(path_of(&full)) else {
            return Ok(Some([path, &name].concat()));
        };
        let errno = errno_of(&error);
        match errno {
            libc::ENOTDIR | libc::ENAMETOOLONG => {
                return Err(FileFault::IndexMissing { path: full, errno });
            }
            libc::EACCES => return Err(FileFault::IndexForbidden { path: full }),
            libc::ELOOP | libc::EMLINK => {
                return Err(FileFault::IndexNotExamined { path: full, errno });
            }
            _ => {}
        }
        if !folder_is_there {
            test_folder(folder, &full)?;
            folder_is_there = true;
        }
        if errno != libc::ENOENT {
            return Err(FileFault::IndexNotExamined { path: full, errno });
        }
    }
    Ok(None)
}

/// Whether the folder itself is there: without it the first missing file is the news, and the
/// client gets 404 instead of 403.
fn test_folder(folder: &[u8], full: &[u8]) -> Result<(), FileFault> {
    // An alias may lack its last slash.
    let cut = folder.strip_suffix(b"/").filter(|cut| !cut.is_empty());
    let folder = cut.unwrap_or(folder).to_vec();
    match fs::metadata(path_of(&folder)) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(FileFault::NotFolder { path: folder }),
        Err(error) => match errno_of(&error) {
            libc::ENOENT => {
                Err(FileFault::IndexMissing { path: full.to_vec(), errno: libc::ENOENT })
            }
            // The file in it could be looked for, so the folder can be searched.
            libc::EACCES => Ok(()),
            errno => Err(FileFault::IndexNotExamined { path: folder, errno }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::scratch::Scratch;
    use super::*;

    fn found(scratch: &Scratch, path: &str, names: &[&str]) -> Result<Option<Vec<u8>>, FileFault> {
        let names = names.iter().map(|name| name.as_bytes().to_vec());
        let folder = [scratch.root(), path.as_bytes()].concat();
        find(&folder, path.as_bytes(), names)
    }

    fn path(text: &str) -> Result<Option<Vec<u8>>, FileFault> {
        Ok(Some(text.as_bytes().to_vec()))
    }

    #[test]
    fn the_first_name_that_is_there_is_taken() {
        let scratch = Scratch::new();
        scratch.file("a/index.html", b"x");
        scratch.file("a/index.htm", b"x");
        assert_eq!(
            found(&scratch, "/a/", &["no", "index.htm", "index.html"]),
            path("/a/index.htm")
        );
        assert_eq!(found(&scratch, "/a/", &["no"]), Ok(None));
        assert_eq!(found(&scratch, "/", &["no"]), Ok(None));
    }

    #[test]
    fn a_name_with_a_slash_is_taken_unseen_when_its_turn_comes() {
        let scratch = Scratch::new();
        scratch.file("a/index.html", b"x");
        assert_eq!(found(&scratch, "/a/", &["no", "/b", "index.html"]), path("/b"));
        assert_eq!(found(&scratch, "/a/", &["index.html", "/b"]), path("/a/index.html"));
    }

    #[test]
    fn a_folder_may_have_the_name() {
        let scratch = Scratch::new();
        scratch.folder("a/index.html");
        assert_eq!(found(&scratch, "/a/", &["index.html"]), path("/a/index.html"));
    }

    #[test]
    fn a_missing_folder_is_told_from_a_missing_file() {
        let scratch = Scratch::new();
        scratch.file("file", b"x");
        let missing = |path: &str, errno| {
            let path = [scratch.root(), path.as_bytes()].concat();
            Err(FileFault::IndexMissing { path, errno })
        };
        assert_eq!(found(&scratch, "/b/", &["i"]), missing("/b/i", libc::ENOENT));
        assert_eq!(found(&scratch, "/file/", &["i"]), missing("/file/i", libc::ENOTDIR));
        let long = format!("/{}/", "n".repeat(300));
        assert_eq!(
            found(&scratch, &long, &["i"]),
            missing(&format!("{long}i"), libc::ENAMETOOLONG)
        );
        // Nobody looks for the folder when the first name is taken unseen.
        assert_eq!(found(&scratch, "/b/", &["/c"]), path("/c"));
    }

    #[test]
    fn links_in_a_circle_are_refused() {
        let scratch = Scratch::new();
        scratch.link("circle", "circle");
        let fault = found(&scratch, "/circle/", &["i"]).expect_err("no way in");
        assert_eq!((fault.status(), fault.message()), (403, None));
    }

    #[test]
    fn a_name_that_holds_a_nul_is_missing() {
        let scratch = Scratch::new();
        assert_eq!(found(&scratch, "/", &["a\0b"]), Ok(None));
    }
}
