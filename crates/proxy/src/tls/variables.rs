//! What `$ssl_...` gives for a connection.

use super::certificate::Fields;
use super::client_policy::{ClientPolicy, Shown};
use super::facts::Facts;
use super::{name, pem};
use crate::clock::Wall;
use crate::uri::{self, Escape};
use aws_lc_rs::digest;
use std::fmt::Write as _;
use std::sync::Arc;

/// A value of a connection's TLS, and how it is found; `None` when it has none.
pub type Value = fn(&Facts) -> Option<String>;

/// Every name but `ssl_client_verify`, which asks for a policy as well.
pub const VALUES: &[(&str, Value)] = &[
    ("ssl_alpn_protocol", |facts| full(&String::from_utf8_lossy(&facts.alpn))),
    ("ssl_cipher", |facts| full(&facts.suite)),
    ("ssl_ciphers", |facts| full(&facts.offered.suites)),
    ("ssl_client_cert", |facts| {
        // Lines after the first begin with a tab, so that it could be a folded field.
        Some(client_text(facts)?.replace('\n', "\n\t"))
    }),
    ("ssl_client_escaped_cert", |facts| {
        let text = format!("{}\n", client_text(facts)?);
        let escaped = uri::escape(Escape::Component, text.as_bytes());
        String::from_utf8(escaped.into_owned()).ok()
    }),
    ("ssl_client_fingerprint", |facts| {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, facts.chain.first()?);
        Some(hexadecimal(digest.as_ref()).to_lowercase())
    }),
    ("ssl_client_i_dn", |facts| name::rfc2253(fields(facts)?.issuer)),
    ("ssl_client_i_dn_legacy", |facts| name::legacy(fields(facts)?.issuer)),
    ("ssl_client_raw_cert", |facts| Some(client_text(facts)? + "\n")),
    ("ssl_client_s_dn", |facts| name::rfc2253(fields(facts)?.subject)),
    ("ssl_client_s_dn_legacy", |facts| name::legacy(fields(facts)?.subject)),
    ("ssl_client_serial", |facts| {
        let serial = fields(facts)?.serial;
        let digits = serial.iter().position(|&byte| byte != 0).map_or(&[0][..], |at| &serial[at..]);
        Some(hexadecimal(digits))
    }),
    ("ssl_client_v_end", |facts| Some(moment(fields(facts)?.not_after))),
    ("ssl_client_v_remain", |facts| {
        let left = fields(facts)?.not_after - Wall::now().seconds;
        Some((left / SECONDS_OF_DAY).max(0).to_string())
    }),
    ("ssl_client_v_start", |facts| Some(moment(fields(facts)?.not_before))),
    ("ssl_curve", |facts| full(&facts.group)),
    ("ssl_curves", |facts| full(&facts.offered.groups)),
    // It is refused, so that no request ever comes early.
    ("ssl_early_data", |_| None),
    ("ssl_protocol", |facts| full(facts.protocol)),
    ("ssl_server_name", |facts| facts.offered.name.as_deref().and_then(full)),
    // rustls keeps the numbers of sessions to itself.
    ("ssl_session_id", |_| None),
    ("ssl_session_reused", |facts| full(if facts.is_resumed { "r" } else { "." })),
];

/// `$ssl_client_verify`.
pub fn client_verify(facts: &Facts, policy: Option<&Arc<ClientPolicy>>) -> String {
    let shown = match policy {
        Some(policy) => facts.shown(policy),
        None => Shown::Nothing,
    };
    match shown {
        Shown::Nothing => "NONE".to_owned(),
        Shown::Good => "SUCCESS".to_owned(),
        Shown::Bad(fault) => format!("FAILED:{}", fault.words()),
    }
}

fn full(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn fields(facts: &Facts) -> Option<Fields<'_>> {
    Fields::read(facts.chain.first()?)
}

/// The client's certificate in PEM, without the end of its last line.
fn client_text(facts: &Facts) -> Option<String> {
    let text = pem::section("CERTIFICATE", facts.chain.first()?);
    Some(text.trim_end().to_owned())
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

const SECONDS_OF_DAY: i64 = 24 * 60 * 60;

/// As OpenSSL prints a time: `Nov 22 18:30:00 2026 GMT`.
fn moment(seconds: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, rest) = (seconds.div_euclid(SECONDS_OF_DAY), seconds.rem_euclid(SECONDS_OF_DAY));
    let (year, month, day) = super::certificate::date_of(days);
    let name = MONTHS[(month - 1) as usize % MONTHS.len()];
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{name} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_openssl() {
        assert_eq!(moment(0), "Jan  1 00:00:00 1970 GMT");
        assert_eq!(moment(1_709_208_000), "Feb 29 12:00:00 2024 GMT");
        assert_eq!(moment(2_524_608_000 - 1), "Dec 31 23:59:59 2049 GMT");
    }
}
