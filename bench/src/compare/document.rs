//! The page `docs/benchmarks.md`: prose by hand, figures between two markers by us.
//!
//! Called by `compare` when it is told to write.

use std::fs;
use std::path::Path;

use super::fault::Fault;

/// Where the page is, seen from the root of the repository.
pub const PATH: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- figures: begin; written by `perdura-bench compare --write` -->";
const END: &str = "<!-- figures: end -->";

/// Puts `figures` between the markers of the page at `path`.
pub fn write(path: &Path, figures: &str) -> Result<(), Fault> {
    let page = fs::read_to_string(path).map_err(Fault::file(path))?;
    let page = replaced(&page, figures).ok_or(Fault::NoMarkers { path: path.to_owned() })?;
    fs::write(path, page).map_err(Fault::file(path))
}

fn replaced(page: &str, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("# Title\n\n{BEGIN}\nold\n{END}\nprose\n");
        let once = replaced(&page, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGIN}\n\nnew\n\n{END}\nprose\n"));
        assert_eq!(replaced(&once, "new").as_deref(), Some(once.as_str()));
        assert_eq!(replaced("no markers", "new"), None);
    }
}
