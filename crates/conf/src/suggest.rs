//! The nearest known name, for hints. Whoever knows the names calls it.

/// Longer names get no suggestion: the table that is filled grows with the square.
const NAME_BYTES_MAX: usize = 64;

/// The candidate that `name` was most likely meant to be, or none when all are too different.
///
/// One edit is allowed for every three letters: an insertion, a removal, another letter or two
/// letters swapped. Of equally near candidates the first one is taken.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.trim_start_matches('\u{feff}').to_ascii_lowercase();
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let allowed = (name.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate.len().abs_diff(name.len()) > allowed || candidate.len() > NAME_BYTES_MAX {
            continue;
        }
        let distance = distance(name.as_bytes(), candidate.to_ascii_lowercase().as_bytes());
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many edits lead from one text to the other, where no letter is edited twice (optimal string
/// alignment).
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut before = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, &a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in other.iter().enumerate() {
            let mut edits = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == other[j - 1] && b == one[i - 1] {
                edits = edits.min(before[j - 1] + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["proxy_pass", "proxy_set_header", "listen", "root", "return"];

    #[test]
    fn finds_what_was_mistyped() {
        assert_eq!(suggest("proxy_pas", NAMES), Some("proxy_pass"));
        assert_eq!(suggest("porxy_pass", NAMES), Some("proxy_pass"));
        assert_eq!(suggest("Listen", NAMES), Some("listen"));
        assert_eq!(suggest("retrun", NAMES), Some("return"));
        assert_eq!(suggest("\u{feff}root", NAMES), Some("root"));
    }

    #[test]
    fn says_nothing_when_nothing_is_near() {
        assert_eq!(suggest("gzip", NAMES), None);
        assert_eq!(suggest("", NAMES), None);
        assert_eq!(suggest("x", NAMES), None);
    }

    #[test]
    fn a_name_past_the_limit_gets_no_suggestion() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(suggest(&long, [long.as_str()]), None);
        let longest = "a".repeat(NAME_BYTES_MAX);
        assert_eq!(suggest(&longest, [longest.as_str()]), Some(longest.as_str()));
    }

    #[test]
    fn swapped_letters_are_one_edit() {
        assert_eq!(distance(b"ab", b"ba"), 1);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
    }
}
