//! The page `docs/benchmarks.md`: prose by hand, figures between markers by us.
//!
//! Called by `compare` and `unbroken` when they are told to write.

use std::fs;
use std::path::Path;

use super::fault::Fault;

/// Where the page is, seen from the root of the repository.
pub const PATH: &str = "docs/benchmarks.md";
/// What `compare` writes.
pub const COMPARE: Part = Part { name: "figures", command: "compare" };
/// What `unbroken` writes.
pub const UNBROKEN: Part = Part { name: "promises", command: "unbroken" };

/// A part of the page that a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    name: &'static str,
    command: &'static str,
}

/// Puts `figures` between the markers of `part` in the page at `path`.
pub fn write(path: &Path, part: Part, figures: &str) -> Result<(), Fault> {
    let page = fs::read_to_string(path).map_err(Fault::file(path))?;
    let page = replaced(&page, part, figures).ok_or(Fault::NoMarkers { path: path.to_owned() })?;
    fs::write(path, page).map_err(Fault::file(path))
}

fn replaced(page: &str, part: Part, figures: &str) -> Option<String> {
    let (begin, end) = part.markers();
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", figures.trim()))
}

impl Part {
    fn markers(self) -> (String, String) {
        let Part { name, command } = self;
        (
            format!("<!-- {name}: begin; written by `perdura-bench {command} --write` -->"),
            format!("<!-- {name}: end -->"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let [(begin, end), (other, last)] = [COMPARE, UNBROKEN].map(Part::markers);
        let page = format!("# Title\n\n{begin}\nold\n{end}\nprose\n{other}\n{last}\n");
        let once = replaced(&page, COMPARE, "new\n").unwrap();
        let wanted = format!("# Title\n\n{begin}\n\nnew\n\n{end}\nprose\n{other}\n{last}\n");
        assert_eq!(once, wanted);
        assert_eq!(replaced(&once, COMPARE, "new").as_deref(), Some(once.as_str()));
        assert_eq!(replaced("no markers", UNBROKEN, "new"), None);
    }
}
