//! Targets of CONNECT and authorities of variables: no panic, what was read is read alike again, and
//! nothing is an address that is not written as one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perdura_proxy::h1::validate_host;
use perdura_proxy::{Authority, AuthorityHost};

fuzz_target!(|input: &[u8]| {
    if let Ok(named) = validate_host(input) {
        assert!(!named.host.iter().any(u8::is_ascii_uppercase));
        let again = validate_host(&named.host).expect("a host is a host");
        assert_eq!((again.host, again.port), (named.host.clone(), None));
        let port = named.port.unwrap_or(443);
        let text = [&named.host[..], format!(":{port}").as_bytes()].concat();
        if let Ok(authority) = Authority::parse(&text) {
            // A host that is called `unix` reads as a path: whoever judges it refuses paths.
            let is_path = matches!(authority.host, AuthorityHost::Unix(_));
            assert!(is_path == text.starts_with(b"unix:"));
            assert!(is_path || authority.port == Some(port));
            look_at(&authority);
        }
    }
    if let Ok(authority) = Authority::parse(input) {
        look_at(&authority);
    }
});

fn look_at(authority: &Authority) {
    match &authority.host {
        AuthorityHost::Ip(ip) if ip.is_ipv4() => {
            assert_eq!(authority.text.split(':').next(), Some(ip.to_string().as_str()));
        }
        AuthorityHost::Ip(ip) => {
            let inner = authority.text.strip_prefix('[').and_then(|text| text.split(']').next());
            assert_eq!(inner.and_then(|inner| inner.parse().ok()), Some(*ip));
        }
        AuthorityHost::Name(name) => {
            assert!(!name.is_empty() && name.parse::<std::net::IpAddr>().is_err(), "{name:?}");
        }
        AuthorityHost::Unix(_) => return,
    }
    let again = Authority::parse(authority.text.as_bytes()).expect("a text of its own");
    assert_eq!(&again, authority);
}
