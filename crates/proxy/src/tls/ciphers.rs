//! The cipher list of OpenSSL, evaluated over the suites that there are.
//!
//! Suites of TLS 1.3 are always on and no list concerns them, as in OpenSSL. A word that names
//! nothing here adds nothing: most lists of the world name suites that nobody should speak any more.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;

/// A suite of TLS 1.2: by OpenSSL's name, and what the words of a list may ask of it.
struct Known {
    name: &'static str,
    words: &'static [&'static str],
    bits: u32,
    suite: SupportedCipherSuite,
}

/// In OpenSSL's own order.
static KNOWN: &[Known] = &[
    Known {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        words: &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "SHA384", "FIPS"],
        bits: 256,
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    },
    Known {
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        words: &["aRSA", "AES", "AES256", "AESGCM", "SHA384", "FIPS"],
        bits: 256,
        suite: suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    },
    Known {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        words: &["aECDSA", "ECDSA", "CHACHA20", "SHA256"],
        bits: 256,
        suite: suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Known {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        words: &["aRSA", "CHACHA20", "SHA256"],
        bits: 256,
        suite: suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Known {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        words: &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "SHA256", "FIPS"],
        bits: 128,
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    },
    Known {
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        words: &["aRSA", "AES", "AES128", "AESGCM", "SHA256", "FIPS"],
        bits: 128,
        suite: suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    },
];

/// What every suite here is, in the words of a list.
const ALL_ARE: &[&str] =
    &["ALL", "HIGH", "TLSv1.2", "ECDHE", "EECDH", "kECDHE", "kEECDH", "DEFAULT", "COMPLEMENTOFALL"];

/// What a list came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Evaluated {
    /// Places in [`KNOWN`], in order of preference.
    chosen: Vec<usize>,
    /// Suites that the list adds by name and that do not exist here.
    pub absent: Vec<String>,
}

impl Evaluated {
    /// OpenSSL refuses a list without any suite.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// The suites of TLS 1.3, then those chosen.
    pub fn suites(&self) -> Vec<SupportedCipherSuite> {
        let newest = [
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS13_AES_128_GCM_SHA256,
        ];
        newest.into_iter().chain(self.chosen.iter().map(|&at| KNOWN[at].suite)).collect()
    }
}

/// Evaluates a list as `SSL_CTX_set_cipher_list` does.
pub fn evaluate(list: &str) -> Evaluated {
    let mut active: Vec<usize> = Vec::new();
    let mut killed: Vec<usize> = Vec::new();
    let mut absent = Vec::new();
    for word in list.split([':', ',', ';', ' ']).filter(|word| !word.is_empty()) {
        if word == "@STRENGTH" {
            active.sort_by_key(|&at| std::cmp::Reverse(KNOWN[at].bits));
            continue;
        }
        let (sign, name) = match word.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+"), name)) => (sign, name),
            _ => ("", word),
        };
        let meant = |at: &usize| name.split('+').all(|part| KNOWN[*at].is(part));
        let fitting: Vec<usize> = (0..KNOWN.len()).filter(meant).collect();
        if sign.is_empty() && fitting.is_empty() && is_suite_name(name) {
            absent.push(name.to_owned());
        }
        match sign {
            "!" => killed.extend(&fitting),
            "+" => {
                let (moved, kept): (Vec<_>, Vec<_>) =
                    active.iter().partition(|at| fitting.contains(at));
                active = [kept, moved].concat();
            }
            "-" => active.retain(|at| !fitting.contains(at)),
            _ => {
                let new: Vec<usize> =
                    fitting.into_iter().filter(|at| !active.contains(at)).collect();
                active.extend(new);
            }
        }
        active.retain(|at| !killed.contains(at));
    }
    Evaluated { chosen: active, absent }
}

impl Known {
    fn is(&self, word: &str) -> bool {
        // Nothing here is left out of the default.
        let common = ALL_ARE.contains(&word) && word != "COMPLEMENTOFALL";
        common || self.name == word || self.words.contains(&word) || self.is_standard(word)
    }

    fn is_standard(&self, word: &str) -> bool {
        word.starts_with("TLS_") && self.suite.suite().as_str() == Some(word)
    }
}

/// A word that names one suite and not a kind of them.
fn is_suite_name(word: &str) -> bool {
    word.contains('-') && !word.contains('+')
}

/// A suite's name in OpenSSL's words, for `$ssl_cipher`.
pub fn name_of(suite: rustls::CipherSuite) -> String {
    if let Some(known) = KNOWN.iter().find(|known| known.suite.suite() == suite) {
        return known.name.to_owned();
    }
    match suite.as_str() {
        // Those of TLS 1.3 are the only ones that OpenSSL calls as the standard does.
        Some(name) if name.starts_with("TLS13_") => name.replacen("TLS13_", "TLS_", 1),
        _ => offered_name(u16::from(suite)),
    }
}

/// A suite that a client offers: OpenSSL's name if it knows one, else its number.
fn offered_name(number: u16) -> String {
    let known = OFFERED.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("0x{number:04x}"), |(_, name)| (*name).to_owned())
}

/// Suites that clients offer and that are not spoken here.
const OFFERED: &[(u16, &str)] = &[
    (0x002f, "AES128-SHA"),
    (0x0033, "DHE-RSA-AES128-SHA"),
    (0x0035, "AES256-SHA"),
    (0x0039, "DHE-RSA-AES256-SHA"),
    (0x003c, "AES128-SHA256"),
    (0x003d, "AES256-SHA256"),
    (0x0067, "DHE-RSA-AES128-SHA256"),
    (0x006b, "DHE-RSA-AES256-SHA256"),
    (0x009c, "AES128-GCM-SHA256"),
    (0x009d, "AES256-GCM-SHA384"),
    (0x009e, "DHE-RSA-AES128-GCM-SHA256"),
    (0x009f, "DHE-RSA-AES256-GCM-SHA384"),
    (0x00ff, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
    (0x1304, "TLS_AES_128_CCM_SHA256"),
    (0x1305, "TLS_AES_128_CCM_8_SHA256"),
    (0xc009, "ECDHE-ECDSA-AES128-SHA"),
    (0xc00a, "ECDHE-ECDSA-AES256-SHA"),
    (0xc013, "ECDHE-RSA-AES128-SHA"),
    (0xc014, "ECDHE-RSA-AES256-SHA"),
    (0xc023, "ECDHE-ECDSA-AES128-SHA256"),
    (0xc024, "ECDHE-ECDSA-AES256-SHA384"),
    (0xc027, "ECDHE-RSA-AES128-SHA256"),
    (0xc028, "ECDHE-RSA-AES256-SHA384"),
    (0xc09e, "DHE-RSA-AES128-CCM"),
    (0xc09f, "DHE-RSA-AES256-CCM"),
    (0xc0ac, "ECDHE-ECDSA-AES128-CCM"),
    (0xc0ad, "ECDHE-ECDSA-AES256-CCM"),
    (0xccaa, "DHE-RSA-CHACHA20-POLY1305"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        evaluate(list).chosen.iter().map(|&at| KNOWN[at].name).collect()
    }

    #[test]
    fn lists_come_to_what_openssl_makes_of_them() {
        assert_eq!(names("HIGH:!aNULL:!MD5").len(), 6);
        assert_eq!(names("DEFAULT").len(), 6);
        assert_eq!(names("ALL:!aRSA").len(), 3);
        assert_eq!(names("AES128+aECDSA"), ["ECDHE-ECDSA-AES128-GCM-SHA256"]);
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:@STRENGTH"),
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(names("AES128:-aRSA:AES128").len(), 2);
        assert_eq!(names("!AES:ALL:AES").len(), 2);
        assert_eq!(names("AESGCM:+AES256")[0], "ECDHE-ECDSA-AES128-GCM-SHA256");
    }

    #[test]
    fn what_is_not_there_is_told() {
        let list = evaluate("ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:!DES-CBC3-SHA");
        assert_eq!(list.absent, ["DHE-RSA-AES128-GCM-SHA256"]);
        assert!(evaluate("RC4:eNULL:AES128-SHA").is_empty());
        assert!(evaluate("").is_empty());
    }

    #[test]
    fn suites_are_called_as_openssl_calls_them() {
        use rustls::CipherSuite;
        assert_eq!(name_of(CipherSuite::TLS13_AES_128_GCM_SHA256), "TLS_AES_128_GCM_SHA256");
        assert_eq!(
            name_of(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
            "ECDHE-RSA-AES128-GCM-SHA256"
        );
        assert_eq!(name_of(CipherSuite::Unknown(0x0a0a)), "0x0a0a");
        assert_eq!(name_of(CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA), "AES128-SHA");
    }
}
