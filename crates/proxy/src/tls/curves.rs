//! Groups for the exchange of keys: OpenSSL's list of names, and the names of `$ssl_curve`.

use rustls::NamedGroup;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;

/// A group by the names that OpenSSL takes for it; the first is the one that it shows.
struct Known {
    names: &'static [&'static str],
    number: u16,
    group: Option<&'static dyn SupportedKxGroup>,
}

/// In the order of preference when nothing is said, as OpenSSL 3.5 has it. Groups without a
/// counterpart are there for their names.
static KNOWN: &[Known] = &[
    Known { names: &["X25519MLKEM768"], number: 0x11ec, group: Some(kx_group::X25519MLKEM768) },
    Known { names: &["X25519"], number: 0x001d, group: Some(kx_group::X25519) },
    Known {
        names: &["prime256v1", "P-256", "secp256r1"],
        number: 0x0017,
        group: Some(kx_group::SECP256R1),
    },
    Known { names: &["secp384r1", "P-384"], number: 0x0018, group: Some(kx_group::SECP384R1) },
    Known {
        names: &["SecP256r1MLKEM768"],
        number: 0x11eb,
        group: Some(kx_group::SECP256R1MLKEM768),
    },
    Known { names: &["secp521r1", "P-521"], number: 0x0019, group: None },
    Known { names: &["X448"], number: 0x001e, group: None },
    Known { names: &["SecP384r1MLKEM1024"], number: 0x11ed, group: None },
    Known { names: &["secp256k1"], number: 0x0016, group: None },
    Known { names: &["brainpoolP256r1"], number: 0x001a, group: None },
    Known { names: &["brainpoolP384r1"], number: 0x001b, group: None },
    Known { names: &["brainpoolP512r1"], number: 0x001c, group: None },
    Known { names: &["ffdhe2048"], number: 0x0100, group: None },
    Known { names: &["ffdhe3072"], number: 0x0101, group: None },
    Known { names: &["ffdhe4096"], number: 0x0102, group: None },
    Known { names: &["ffdhe6144"], number: 0x0103, group: None },
    Known { names: &["ffdhe8192"], number: 0x0104, group: None },
];

/// How many of [`KNOWN`] are offered when nothing is said.
const DEFAULT_COUNT: usize = 4;

/// What a list came to.
#[derive(Debug)]
pub struct Evaluated {
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Names that OpenSSL knows and that do not exist here.
    pub absent: Vec<String>,
}

/// Evaluates a list as `SSL_CTX_set1_curves_list` does; `auto` is the default. `None` when a name
/// is no group's.
pub fn evaluate(list: &str) -> Option<Evaluated> {
    if list == "auto" || list == "DEFAULT" {
        let groups = KNOWN.iter().take(DEFAULT_COUNT).filter_map(|known| known.group).collect();
        return Some(Evaluated { groups, absent: Vec::new() });
    }
    let mut evaluated = Evaluated { groups: Vec::new(), absent: Vec::new() };
    for word in list.split([':', '/']) {
        // OpenSSL 3.5: a star asks for a key share, a question mark forgives an unknown name.
        let name = word.trim_start_matches(['*', '?']);
        let is_name = |one: &&str| one.eq_ignore_ascii_case(name);
        match KNOWN.iter().find(|known| known.names.iter().any(is_name)) {
            Some(Known { group: Some(group), .. }) => evaluated.groups.push(*group),
            Some(_) => evaluated.absent.push(name.to_owned()),
            None if word.contains('?') => {}
            None => return None,
        }
    }
    Some(evaluated)
}

/// A group's name in OpenSSL's words, or its number.
pub fn name_of(group: NamedGroup) -> String {
    let number = u16::from(group);
    let known = KNOWN.iter().find(|known| known.number == number);
    known.map_or_else(|| format!("0x{number:04x}"), |known| known.names[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Option<Vec<String>> {
        let evaluated = evaluate(list)?;
        Some(evaluated.groups.iter().map(|group| name_of(group.name())).collect())
    }

    #[test]
    fn lists_come_to_groups() {
        let default = ["X25519MLKEM768", "X25519", "prime256v1", "secp384r1"];
        assert_eq!(names("auto").unwrap(), default);
        assert_eq!(names("secp384r1:P-256").unwrap(), ["secp384r1", "prime256v1"]);
        assert_eq!(names("nonsense"), None);
        assert_eq!(names("?nonsense:X25519").unwrap(), ["X25519"]);
        assert_eq!(evaluate("secp521r1").unwrap().absent, ["secp521r1"]);
    }

    #[test]
    fn strange_groups_are_numbers() {
        assert_eq!(name_of(NamedGroup::Unknown(0x2a2a)), "0x2a2a");
    }
}
