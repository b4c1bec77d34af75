//! TLS of the client's side: the settings of nginx's `ngx_http_ssl_module`.
//!
//! What is made of them stands in `tls/`; files are read in `config/build/tls.rs`. Where rustls has
//! nothing for a value of OpenSSL's, the grammar or the builder says so.

use crate::grammar::{PemSource, Protocols};
use perdura_conf::{
    Arity, Each, Fault, Flag, Number, Reader, Seconds, Size, Text, Value, Word, choice, directives,
};

directives! {
    /// The file with the server's certificate in PEM, and behind it those that lead to its root. It
    /// may stand several times, for keys of several kinds (RSA and ECDSA). It is read when the
    /// configuration is: a reload takes the new one, and no connection notices. `data:` before the
    /// text itself takes the place of a file. With variables (`$ssl_server_name`, or a map of it) the
    /// file is read in each handshake, by the worker and with its rights.
    ssl_certificate: Each<PemSource> = "", in HTTP | SERVER;

    /// The private key of each `ssl_certificate`, in the same order. The worker needs no right to
    /// read the file.
    ssl_certificate_key: Each<PemSource> = "", in HTTP | SERVER;

    /// A file with the passwords of encrypted keys, one in a line; they are tried one after the
    /// other.
    ssl_password_file: Option<Text> = "", in HTTP | SERVER;

    /// The versions that are spoken. There are TLSv1.2 and TLSv1.3; older ones are warned about and
    /// left out.
    ssl_protocols: Protocols = "TLSv1.2 TLSv1.3", in HTTP | SERVER;

    /// The suites of TLS 1.2, as a list in OpenSSL's words. It is evaluated over the six suites with
    /// ECDHE and an AEAD; TLS 1.3 has its own three, which no list concerns.
    ssl_ciphers: Text = "HIGH:!aNULL:!MD5", in HTTP | SERVER;

    /// The server's order of suites counts and not the client's.
    ssl_prefer_server_ciphers: Flag = "off", in HTTP | SERVER;

    /// The groups for the exchange of keys, in order of preference. `auto` is
    /// `X25519MLKEM768:X25519:prime256v1:secp384r1`.
    ssl_ecdh_curve: Text = "auto", in HTTP | SERVER;

    /// How much is put in one record. Smaller records let a browser begin sooner; larger ones cost
    /// less. More than 16k is the same as 16k.
    ssl_buffer_size: Size = "16k", in HTTP | SERVER;

    /// Answers the handshake of names that belong to this server with an alert. In the default
    /// server it refuses clients that ask for no known name, and no certificate is needed.
    ssl_reject_handshake: Flag = "off", in HTTP | SERVER;

    /// Whether a client must show a certificate (`on`), may (`optional`), or may show one of an
    /// unknown issuer (`optional_no_ca`, for an application that judges itself). Requests with a
    /// bad certificate get 400 (495 for `error_page`), those without one that must get 400 (496).
    ssl_verify_client: Demand = "off", in HTTP | SERVER;

    /// How many certificates may stand between a client's and its root.
    ssl_verify_depth: Number = "1", in HTTP | SERVER;

    /// The file with the roots of clients' certificates, whose names are sent to clients.
    ssl_client_certificate: Option<Text> = "", in HTTP | SERVER;

    /// The file with roots of clients' certificates, whose names are not sent.
    ssl_trusted_certificate: Option<Text> = "", in HTTP | SERVER;

    /// The file with revocation lists that clients' certificates are looked up in.
    ssl_crl: Option<Text> = "", in HTTP | SERVER;

    /// Where sessions are kept that a client may resume without a ticket. `shared:NAME:SIZE` is one
    /// cache for all servers that name it, `builtin` one of the server itself; a megabyte holds
    /// some 4,000 sessions. `none` and `off` keep none. Caches live as long as the worker process.
    ssl_session_cache: SessionCache = "none", in HTTP | SERVER;

    /// How long a session may be resumed.
    ssl_session_timeout: Seconds = "5m", in HTTP | SERVER;

    /// Lets clients keep their sessions themselves, sealed in a ticket.
    ssl_session_tickets: Flag = "on", in HTTP | SERVER;

    /// A file with the key that tickets are sealed with: 48 or 80 random bytes. The first seals,
    /// all of them open. Without one the key is made anew by each worker process and changed every
    /// `ssl_session_timeout`. Servers share tickets across machines only with such files.
    ssl_session_ticket_key: Each<Text> = "", in HTTP | SERVER;

    /// Early data of TLS 1.3 is not taken yet, and `-t` says so: it is refused in the handshake, and
    /// clients send it again when that is over.
    ssl_early_data: Flag = "off", in HTTP | SERVER;

    /// Staples the answer of the certificate's OCSP responder to the handshake. It is taken from
    /// `ssl_stapling_file`; fetching it is not built yet, and `-t` says so.
    ssl_stapling: Flag = "off", in HTTP | SERVER;

    /// The file with the answer to staple, in DER.
    ssl_stapling_file: Option<Text> = "", in HTTP | SERVER;
}

choice! {
    /// What is demanded of a client.
    pub enum Demand {
        Off = "off",
        On = "on",
        Optional = "optional",
        OptionalNoCa = "optional_no_ca",
    }
}

/// `ssl_session_cache`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionCache {
    /// Neither kept nor said to be not.
    None,
    Off,
    /// Of the server itself, and how many sessions it holds.
    Builtin {
        sessions: usize,
    },
    Shared {
        name: String,
        sessions: usize,
    },
}

/// Sessions in a megabyte, as nginx documents.
const SESSIONS_PER_MEGABYTE: u64 = 4000;

/// nginx's own cache holds so many when nothing is said.
const BUILTIN_SESSIONS: usize = 20 * 1024;

/// Eight pages, below which nginx finds a zone too small.
const ZONE_MIN: u64 = 8 * 4096;

/// Sessions in one cache at most; each may need some kilobytes.
const SESSIONS_MAX: u64 = 1 << 20;

impl Value for SessionCache {
    const SYNTAX: &'static str = "off | none | [builtin[:size]] [shared:name:size]";
    const ARITY: Arity = Arity::between(1, 2);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut cache = Self::None;
        for word in args {
            let text = word.text();
            let invalid = || Fault::new(word.place, format!("invalid session cache \"{text}\""));
            cache = match text.split_once(':') {
                None if text == "off" => Self::Off,
                None if text == "none" => Self::None,
                None if text == "builtin" => Self::Builtin { sessions: BUILTIN_SESSIONS },
                Some(("builtin", count)) => {
                    let sessions = Number::parse(count.as_bytes()).ok_or_else(invalid)?;
                    Self::Builtin { sessions: sessions.min(SESSIONS_MAX) as usize }
                }
                Some(("shared", rest)) => {
                    let (name, size) = rest.split_once(':').ok_or_else(invalid)?;
                    let size = Size::parse(size.as_bytes()).filter(|_| !name.is_empty());
                    let size = size.ok_or_else(invalid)?;
                    if size < ZONE_MIN {
                        let message = format!("session cache \"{text}\" is too small");
                        return Err(Fault::new(word.place, message));
                    }
                    let sessions =
                        (size.saturating_mul(SESSIONS_PER_MEGABYTE) >> 20).min(SESSIONS_MAX);
                    Self::Shared { name: name.to_owned(), sessions: sessions as usize }
                }
                _ => return Err(invalid()),
            };
        }
        Ok(cache)
    }
}
