//! What each variable means, in a sentence: for `--explain` and the manual.
//!
//! Not here: how values are found. That every variable has its sentence, and every sentence its
//! variable, is tested.

use std::fmt::Write as _;

/// Variables with a name of their own, in the order of the alphabet.
const MEANINGS: &[(&str, &str)] = &[
    ("args", "The arguments of the request: what stands behind the `?`."),
    (
        "binary_remote_addr",
        "The client's address as bytes, 4 or 16 of them: a short key for zones.",
    ),
    ("body_bytes_sent", "Bytes sent to the client, without the head of the answer."),
    ("bytes_sent", "Bytes sent to the client."),
    ("connection", "The number of the client's connection."),
    ("connection_requests", "How many requests came over this connection, with this one."),
    ("connection_time", "How long the client's connection has lasted, in seconds."),
    ("connections_active", "How many connections of clients there are."),
    ("connections_reading", "How many connections are sending a request's head."),
    ("connections_waiting", "How many connections wait for their next request."),
    ("connections_writing", "How many connections are being answered."),
    ("content_length", "The request's `Content-Length`."),
    ("content_type", "The request's `Content-Type`."),
    ("document_root", "The `root` or `alias` that holds for the request."),
    ("document_uri", "The path of the request, normalised, as `$uri`."),
    ("gzip_ratio", "How many times smaller `gzip` made the body that was sent."),
    ("host", "The host of the request line, else of `Host`, else the server's first name."),
    ("hostname", "The name of this machine."),
    ("https", "`on` where the client speaks TLS, else empty."),
    ("invalid_referer", "Empty where `valid_referers` allows the request's `Referer`, else `1`."),
    ("is_args", "`?` where the request has arguments, else empty."),
    ("is_request_port", "`:` where the request names a port, else empty."),
    ("limit_conn_status", "What `limit_conn` did: PASSED, REJECTED or REJECTED_DRY_RUN."),
    ("limit_rate", "How many bytes in a second the client gets, at most; `set` can change it."),
    ("limit_req_status", "What `limit_req` did: PASSED, DELAYED, REJECTED, or one of them dry."),
    ("msec", "The time in seconds since 1970, with milliseconds."),
    ("nginx_version", "The version of nginx whose behaviour is followed."),
    ("pid", "The number of the worker process."),
    ("pipe", "Always `.`: whether a request was pipelined is not known."),
    ("proxy_add_x_forwarded_for", "`X-Forwarded-For` of the client, with its address added."),
    ("proxy_host", "The name and port that `proxy_pass` says."),
    ("proxy_port", "The port that `proxy_pass` says, or its scheme's."),
    ("proxy_protocol_addr", "The client's address in the header of the PROXY protocol."),
    ("proxy_protocol_port", "The client's port in the header of the PROXY protocol."),
    ("proxy_protocol_server_addr", "The server's address in the header of the PROXY protocol."),
    ("proxy_protocol_server_port", "The server's port in the header of the PROXY protocol."),
    ("query_string", "The arguments of the request, as `$args`."),
    ("realip_remote_addr", "The address that the connection came from, before `real_ip_header`."),
    ("realip_remote_port", "The port that the connection came from, before `real_ip_header`."),
    ("realpath_root", "The `root` or `alias` that holds, with symbolic links resolved."),
    ("remote_addr", "The client's address; that of `real_ip_header` where it is trusted."),
    ("remote_port", "The client's port."),
    ("remote_user", "The name that the client gave for `auth_basic`."),
    ("request", "The request line as it came."),
    ("request_body", "The request's body, where it was read into memory."),
    ("request_completion", "`OK` where the request was answered completely, else empty."),
    ("request_filename", "The file that the request means, by `root` or `alias` and path."),
    ("request_id", "16 random bytes in hexadecimal, the same for all of a request."),
    ("request_length", "Bytes of the request: line, head and body."),
    ("request_method", "The method of the request."),
    ("request_port", "The port that the request names, if it does."),
    ("request_time", "Seconds from the first bytes of the request on; a tunnel's whole life."),
    ("request_uri", "The target of the request as it came, with its arguments."),
    ("scheme", "`http` or `https`."),
    ("secure_link", "What `secure_link` or `secure_link_secret` finds out about the link."),
    ("secure_link_expires", "When the link ends, as `secure_link` is given it."),
    ("server_addr", "The address at which the connection was accepted."),
    ("server_name", "The first name of the server that answers."),
    ("server_port", "The port at which the connection was accepted."),
    ("server_protocol", "The protocol of the request, such as `HTTP/1.1`."),
    ("ssl_alpn_protocol", "The protocol that ALPN chose."),
    ("ssl_cipher", "The cipher suite of the connection."),
    ("ssl_ciphers", "The cipher suites that the client offered."),
    (
        "ssl_client_cert",
        "The client's certificate as PEM, with a tab before all lines but the first.",
    ),
    ("ssl_client_escaped_cert", "The client's certificate as PEM, percent-encoded."),
    ("ssl_client_fingerprint", "The SHA-1 fingerprint of the client's certificate."),
    ("ssl_client_i_dn", "The issuer of the client's certificate (RFC 2253)."),
    (
        "ssl_client_i_dn_legacy",
        "The issuer of the client's certificate in the form of old versions.",
    ),
    ("ssl_client_raw_cert", "The client's certificate as PEM."),
    ("ssl_client_s_dn", "The subject of the client's certificate (RFC 2253)."),
    (
        "ssl_client_s_dn_legacy",
        "The subject of the client's certificate in the form of old versions.",
    ),
    ("ssl_client_serial", "The serial number of the client's certificate."),
    ("ssl_client_v_end", "The end of the client's certificate."),
    ("ssl_client_v_remain", "Days until the client's certificate ends."),
    ("ssl_client_v_start", "The beginning of the client's certificate."),
    ("ssl_client_verify", "SUCCESS, NONE, or FAILED with the reason."),
    ("ssl_curve", "The group of the key exchange."),
    ("ssl_curves", "The groups that the client offered."),
    ("ssl_early_data", "Always empty: early data are refused."),
    ("ssl_protocol", "The version of TLS."),
    ("ssl_server_name", "The name that the client asked for by SNI."),
    ("ssl_session_id", "Always empty: the number of a session is not known."),
    ("ssl_session_reused", "`r` where the session was taken up again, else `.`."),
    ("status", "The status of the answer."),
    ("time_iso8601", "The local time in the form of ISO 8601."),
    ("time_local", "The local time in the form of the Common Log Format."),
    ("tunnel_close_reason", "Why the tunnel ended; empty for a request that became none."),
    ("upstream_addr", "The addresses of the upstream servers that were asked."),
    ("upstream_bytes_received", "Bytes that came from each of them."),
    ("upstream_bytes_sent", "Bytes that went to each of them."),
    ("upstream_connect_time", "Seconds that connecting to each of them took."),
    ("upstream_header_time", "Seconds until the head of each one's answer was there."),
    ("upstream_response_length", "Bytes of the body of each one's answer."),
    ("upstream_response_time", "Seconds until each one's answer was complete."),
    ("upstream_status", "The status of each one's answer."),
    ("uri", "The path of the request, normalised; `rewrite` and `try_files` change it."),
];

/// Variables whose names go on with a name of something else.
const FAMILIES: &[(&str, &str)] = &[
    ("arg_", "The argument `NAME` of the request."),
    ("cookie_", "The cookie `NAME` of the request."),
    ("http_", "The field `NAME` of the request; `_` stands for `-`."),
    (
        "proxy_protocol_tlv_",
        "The value `NAME` (or a number, `0xNN`) of the PROXY protocol, version 2.",
    ),
    ("sent_http_", "The field `NAME` of the answer; `_` stands for `-`."),
    ("upstream_cookie_", "The cookie `NAME` that the upstream sets."),
    ("upstream_http_", "The field `NAME` of the upstream's answer; `_` stands for `-`."),
];

/// What `--explain $NAME` prints, for a name without its `$`.
pub fn explain(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if let Some((_, meaning)) = MEANINGS.iter().find(|(known, _)| *known == name) {
        return Some(format!("Variable: ${name}\n\n{meaning}\n"));
    }
    let of = |(family, _): &&(&str, &str)| name.len() > family.len() && name.starts_with(*family);
    let (family, meaning) = FAMILIES.iter().filter(of).max_by_key(|(family, _)| family.len())?;
    let rest = &name[family.len()..];
    Some(format!("Variable: ${family}NAME\n\n{}\n", meaning.replace("NAME", rest)))
}

/// Every name that has a meaning, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    MEANINGS.iter().map(|(name, _)| *name)
}

/// The page of the manual: file name and text.
pub fn page() -> (String, String) {
    let mut text = String::from(
        "<!-- Generated from the table of variables; do not edit. -->\n\n# Variables\n\n",
    );
    for (name, meaning) in MEANINGS {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "* `${name}`: {meaning}");
    }
    for (family, meaning) in FAMILIES {
        let _ = writeln!(text, "* `${family}NAME`: {meaning}");
    }
    ("variables.md".to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::{Binding, own_names};

    #[test]
    fn every_variable_has_its_sentence_and_every_sentence_its_variable() {
        let told: Vec<_> = names().collect();
        let mut own = own_names();
        own.sort_unstable();
        assert_eq!(told, own);
        for (family, _) in FAMILIES {
            assert!(Binding::of(&format!("{family}x")).is_some(), "{family}");
            assert!(Binding::of(family).is_none(), "{family}");
        }
        for (_, meaning) in MEANINGS.iter().chain(FAMILIES) {
            assert!(meaning.ends_with('.'), "{meaning}");
        }
    }

    #[test]
    fn a_family_is_explained_by_the_longest_name() {
        let text = explain("upstream_http_x_y").unwrap();
        assert!(
            text.starts_with("Variable: $upstream_http_NAME\n\nThe field `x_y` of the upstream")
        );
        assert!(explain("HOST").unwrap().starts_with("Variable: $host\n"));
        assert_eq!(explain("http_"), None);
        assert_eq!(explain("nonsense"), None);
    }
}
