//! TLS of the actors: a client that checks nothing but tells what it met, and an upstream's side.
//!
//! rustls speaks; what the other side did is told in one line ([`Secured::told`]), so that two
//! programs can be compared by it. Certificates are told by their files.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption,
};
use rustls::client::{Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoClientAuth;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, HandshakeKind, NamedGroup};
use rustls::{ProtocolVersion, SignatureScheme, SupportedProtocolVersion};

use crate::certificates::certificate;
use crate::golden::conf_files;

/// How a client greets: the words behind `tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The name that is asked for; none otherwise.
    pub name: Option<String>,
    /// The certificate that is shown, without its ending.
    pub certificate: Option<String>,
    /// `1.2` or `1.3`, when only one of them is spoken.
    pub version: Option<String>,
    pub alpn: Vec<String>,
}

impl Greeting {
    /// Reads `[name=NAME] [certificate=NAME] [version=1.2|1.3] [alpn=NAME,...]`.
    pub fn parse<'w>(words: impl Iterator<Item = &'w str>) -> Result<Self, String> {
        let mut greeting = Self::default();
        for word in words {
            match word.split_once('=') {
                Some(("name", name)) => greeting.name = Some(name.to_owned()),
                Some(("certificate", name)) => greeting.certificate = Some(name.to_owned()),
                Some(("version", version @ ("1.2" | "1.3"))) => {
                    greeting.version = Some(version.to_owned());
                }
                Some(("alpn", list)) => {
                    greeting.alpn = list.split(',').map(str::to_owned).collect();
                }
                _ => return Err(format!("a client cannot greet with {word:?}")),
            }
        }
        Ok(greeting)
    }
}

/// One client over several connections: it comes again with the sessions that it was given, whatever
/// name it asks for.
#[derive(Debug)]
pub struct Visitor {
    sessions: Arc<AnyName>,
    checks: Arc<Trusting>,
    shown: HashMap<Option<String>, Arc<dyn ResolvesClientCert>>,
}

impl Default for Visitor {
    fn default() -> Self {
        Self {
            sessions: Arc::new(AnyName(ClientSessionMemoryCache::new(SESSIONS))),
            checks: Arc::new(Trusting(provider())),
            shown: HashMap::new(),
        }
    }
}

impl Visitor {
    /// A connection that has not greeted yet.
    pub fn greet(&mut self, greeting: &Greeting) -> Connection {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions(greeting.version.as_deref()))
            .expect("versions that the provider has")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.checks) as _);
        let mut config = builder.with_no_client_auth();
        let known = self.shown.entry(greeting.certificate.clone());
        // Sessions are resumed with the certificate that they began with.
        let shown = known.or_insert_with(|| match &greeting.certificate {
            None => Arc::clone(&config.client_auth_cert_resolver),
            Some(name) => Arc::new(SingleCertAndKey::from(credential(name))),
        });
        config.client_auth_cert_resolver = Arc::clone(shown);
        config.resumption = Resumption::store(Arc::clone(&self.sessions) as _);
        config.enable_sni = greeting.name.is_some();
        config.alpn_protocols = greeting.alpn.iter().map(|name| name.clone().into()).collect();
        let name = greeting.name.clone().unwrap_or("127.0.0.1".to_owned());
        let name = ServerName::try_from(name).expect("a name that can be asked for");
        ClientConnection::new(Arc::new(config), name).expect("a client").into()
    }
}

/// An upstream's side: its certificate, without the ending. It asks for a certificate of its client,
/// takes any, and tells it.
pub fn welcome(name: &str) -> Connection {
    let asks = Arc::new(Trusting(provider()));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions(None))
        .expect("versions that the provider has")
        .with_client_cert_verifier(match name.strip_suffix("-unasked") {
            None => asks as Arc<dyn ClientCertVerifier>,
            Some(_) => Arc::new(NoClientAuth),
        })
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credential(name))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    ServerConnection::new(Arc::new(config)).expect("a server").into()
}

/// A stream with TLS.
#[derive(Debug)]
pub struct Secured {
    pub stream: TcpStream,
    connection: Connection,
    has_ended: bool,
}

impl Secured {
    /// Shakes hands; an error is what the other side did, in one line.
    pub fn new(stream: TcpStream, mut connection: Connection) -> Result<Self, String> {
        let mut socket = &stream;
        while connection.is_handshaking() || connection.wants_write() {
            if let Err(error) = connection.complete_io(&mut socket) {
                return Err(refusal(&error));
            }
        }
        Ok(Self { stream, connection, has_ended: false })
    }

    /// What the handshake came to.
    pub fn told(&self) -> String {
        let mut told = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
            _ => "TLSv1.3".to_owned(),
        };
        if let Connection::Server(server) = &self.connection
            && let Some(name) = server.server_name()
        {
            told += &format!(" name={name}");
        }
        if let Some(own) = self.connection.peer_certificates().and_then(<[_]>::first) {
            told += &format!(" certificate={}", file_of(own));
        }
        if let Some(protocol) = self.connection.alpn_protocol() {
            told += &format!(" alpn={}", String::from_utf8_lossy(protocol));
        }
        if self.connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            told += " resumed";
        }
        told
    }

    /// Says that nothing more comes.
    pub fn say_goodbye(&mut self) {
        self.connection.send_close_notify();
        let _ = self.connection.complete_io(&mut &self.stream);
    }
}

/// A handshake that did not end, as the other side had it.
fn refusal(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => format!("refused with {alert:?}"),
        Some(fault) => format!("failed: {fault}"),
        None => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "silence".to_owned(),
            _ => "refused without a word".to_owned(),
        },
    }
}

impl Read for Secured {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Whether the end was said or not is told apart elsewhere.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            if self.has_ended {
                return Ok(0);
            }
            self.has_ended = self.connection.read_tls(&mut &self.stream)? == 0;
            let opened = self.connection.process_new_packets();
            while self.connection.wants_write() {
                self.connection.write_tls(&mut &self.stream)?;
            }
            opened.map_err(|fault| io::Error::new(io::ErrorKind::ConnectionReset, fault))?;
        }
    }
}

impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.connection.writer().write(bytes)?;
        self.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut &self.stream)?;
        }
        Ok(())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn versions(only: Option<&str>) -> Vec<&'static SupportedProtocolVersion> {
    match only {
        Some("1.2") => vec![&rustls::version::TLS12],
        Some(_) => vec![&rustls::version::TLS13],
        None => vec![&rustls::version::TLS13, &rustls::version::TLS12],
    }
}

/// A certificate with its key, by its file's name without the ending.
fn credential(name: &str) -> CertifiedKey {
    let name = name.strip_suffix("-unasked").unwrap_or(name);
    let chain = CertificateDer::pem_file_iter(certificate(&format!("{name}.crt")));
    let chain: Result<Vec<_>, _> = chain.expect("a certificate's file").collect();
    // Two certificates are of one key.
    let key = if name == "oldclient" { "client" } else { name };
    let key = PrivateKeyDer::from_pem_file(certificate(&format!("{key}.key"))).expect("a key");
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a known key");
    CertifiedKey::new(chain.expect("certificates"), key)
}

/// The file that holds a certificate, without the ending.
fn file_of(own: &CertificateDer<'_>) -> String {
    let holds = |path: &Path| CertificateDer::from_pem_file(path).is_ok_and(|one| one == *own);
    let mut files: Vec<_> = std::fs::read_dir(conf_files())
        .expect("the folder")
        .flatten()
        .map(|one| one.path())
        .collect();
    files.sort();
    let found =
        files.iter().find(|path| path.extension().is_some_and(|end| end == "crt") && holds(path));
    let stem = found.and_then(|path| path.file_stem()).map(|stem| stem.to_string_lossy());
    stem.map_or("unknown".to_owned(), |stem| stem.into_owned())
}

const SESSIONS: usize = 8;

/// Takes whoever has the key of the certificate that he shows.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl Trusting {
    fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Trusting {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// Sessions that are tried with every server: what rustls, left to itself, would never do.
#[derive(Debug)]
struct AnyName(ClientSessionMemoryCache);

fn any_name() -> ServerName<'static> {
    ServerName::try_from("any.test").expect("a name")
}

impl ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(any_name(), group);
    }

    fn kx_hint(&self, _name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&any_name())
    }

    fn set_tls12_session(&self, _name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(any_name(), value);
    }

    fn tls12_session(&self, _name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&any_name())
    }

    fn remove_tls12_session(&self, _name: &ServerName<'static>) {
        self.0.remove_tls12_session(&any_name());
    }

    fn insert_tls13_ticket(&self, _name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(any_name(), value);
    }

    fn take_tls13_ticket(&self, _name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&any_name())
    }
}
