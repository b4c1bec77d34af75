//! TLS to upstreams: the `proxy_ssl_...` settings of nginx's proxy module.
//!
//! They hold where `proxy_pass` has `https://`. What is made of them stands in `tls/connect.rs`.

use crate::grammar::{PemSource, Protocols};
use perdura_conf::{Flag, Number, Template, Text, directives};

directives! {
    /// The certificate that is shown to the upstream, in PEM; a file, or `data:` and the text.
    proxy_ssl_certificate: Option<PemSource> = "", in HTTP | SERVER | LOCATION;

    /// The key of `proxy_ssl_certificate`.
    proxy_ssl_certificate_key: Option<PemSource> = "", in HTTP | SERVER | LOCATION;

    /// A file with passwords of an encrypted `proxy_ssl_certificate_key`, one in a line.
    proxy_ssl_password_file: Option<Text> = "", in HTTP | SERVER | LOCATION;

    /// The suites of TLS 1.2, as for `ssl_ciphers`.
    proxy_ssl_ciphers: Text = "DEFAULT", in HTTP | SERVER | LOCATION;

    /// The versions that are spoken to the upstream, as for `ssl_protocols`. An upstream that knows
    /// older ones only cannot be reached.
    proxy_ssl_protocols: Protocols = "TLSv1.2 TLSv1.3", in HTTP | SERVER | LOCATION;

    /// Whether the upstream must prove who it is. Without it a connection is only safe from those
    /// who listen, not from those who pretend.
    proxy_ssl_verify: Flag = "off", in HTTP | SERVER | LOCATION;

    /// How many certificates may stand between the upstream's and its root.
    proxy_ssl_verify_depth: Number = "1", in HTTP | SERVER | LOCATION;

    /// The file with the roots of upstreams' certificates.
    proxy_ssl_trusted_certificate: Option<Text> = "", in HTTP | SERVER | LOCATION;

    /// The file with revocation lists that upstreams' certificates are looked up in.
    proxy_ssl_crl: Option<Text> = "", in HTTP | SERVER | LOCATION;

    /// The name that the upstream's certificate must have, and that `proxy_ssl_server_name` sends.
    /// A port behind it is left out.
    proxy_ssl_name: Template = "$proxy_host", in HTTP | SERVER | LOCATION;

    /// Tells the upstream which name is meant, so that it can choose its certificate (SNI).
    proxy_ssl_server_name: Flag = "off", in HTTP | SERVER | LOCATION;

    /// Resumes earlier sessions with the upstream, which saves most of the handshake.
    proxy_ssl_session_reuse: Flag = "on", in HTTP | SERVER | LOCATION;
}
