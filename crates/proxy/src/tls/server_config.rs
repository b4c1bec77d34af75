//! What one server says in handshakes, as rustls wants it.

use super::client_policy::{ClientPolicy, Demand};
use super::credential::Credential;
use super::loading::{Files, LoadFault};
use super::resumption::{Context, Resumption, Store, Ticketer};
use super::secrets::Catcher;
use aws_lc_rs::digest;
use perdura_conf::{Template, Word};
use rustls::crypto::SupportedKxGroup;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{Error, SupportedCipherSuite};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the configuration says of a server.
pub struct ServerTerms {
    pub credentials: Vec<Credential>,
    /// What certificates and keys are called that are found in each handshake.
    pub named: Vec<Word>,
    pub policy: Arc<ClientPolicy>,
    pub suites: Vec<SupportedCipherSuite>,
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    pub tls12: bool,
    pub tls13: bool,
    pub prefers_own_order: bool,
    /// Bytes of plaintext in one record.
    pub record_max: usize,
    pub resumption: Resumption,
}

/// How a server meets a client.
pub struct Acceptance {
    pub greeting: Greeting,
    pub policy: Arc<ClientPolicy>,
}

/// What a server does with a hello.
pub enum Greeting {
    Config(Arc<ServerConfig>),
    /// Its certificates are found in each handshake.
    Computed(Computed),
    /// It has no certificates: the default server greets in its place.
    OfDefault,
    Reject,
}

/// Certificates whose names have variables. As in nginx the worker reads them, with its own rights.
pub struct Computed {
    /// All but the certificates.
    pub base: Arc<ServerConfig>,
    /// Certificates with their keys.
    pub pairs: Vec<(Template, Template)>,
    pub passwords: Vec<Vec<u8>>,
    pub folder: PathBuf,
}

/// A certificate or key that is read in a handshake is not larger.
const FILE_MAX: u64 = 1 << 20;

impl Computed {
    /// The configuration for a handshake in which templates have these values.
    pub fn load(&self, value: impl Fn(&Template) -> Vec<u8>) -> Result<ServerConfig, LoadFault> {
        let read = |path: &Path| {
            let mut bytes = Vec::new();
            File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let files = Files { folder: &self.folder, read: &read };
        let one = |(own, key): &(Template, Template)| {
            files.credential(&value(own), &value(key), &self.passwords)
        };
        let credentials = self.pairs.iter().map(one).collect::<Result<_, _>>()?;
        Ok(with_certificates(&self.base, credentials))
    }
}

/// Meets clients with other certificates than those of the configuration.
fn with_certificates(config: &ServerConfig, credentials: Vec<Credential>) -> ServerConfig {
    let mut config = config.clone();
    config.cert_resolver = Arc::new(Certificates(credentials));
    config
}

/// What may follow the handshake (`NGX_HTTP_ALPN_PROTOS`).
const ALPN: [&[u8]; 3] = [b"http/1.1", b"http/1.0", b"http/0.9"];

/// The largest record, and the smallest that rustls makes.
const RECORD_MAX: usize = 16 * 1024;
const RECORD_MIN: usize = 64;

impl ServerTerms {
    /// Makes the configuration of rustls.
    pub fn config(self) -> Result<ServerConfig, Error> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = self.suites.clone();
        provider.kx_groups = self.groups.clone();
        let mut versions = Vec::new();
        if self.tls13 {
            versions.push(&rustls::version::TLS13);
        }
        if self.tls12 {
            versions.push(&rustls::version::TLS12);
        }
        let context = self.context();
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)?;
        let builder = match self.policy.demand {
            Demand::Off => builder.with_no_client_auth(),
            _ => builder.with_client_cert_verifier(Arc::clone(&self.policy) as _),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates(self.credentials)));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        config.ignore_client_order = self.prefers_own_order;
        config.max_fragment_size = Some(self.record_max.clamp(RECORD_MIN, RECORD_MAX));
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Catcher);
        resume(&mut config, self.resumption, context);
        Ok(config)
    }

    /// A session of another context is not resumed.
    fn context(&self) -> Context {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        for credential in &self.credentials {
            for certificate in &credential.0.cert {
                part(certificate);
            }
        }
        for word in &self.named {
            part(&word.bytes);
        }
        part(&[self.policy.demand as u8]);
        part(&self.policy.trust.depth.to_be_bytes());
        self.policy.trust.sources(&mut part);
        let mut digest = Context::default();
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

fn resume(config: &mut ServerConfig, resumption: Resumption, context: Context) {
    let Resumption { tickets, cache, timeout_s } = resumption;
    config.send_tls13_tickets = if tickets.is_some() || cache.is_some() { TICKETS } else { 0 };
    if let Some(tickets) = tickets {
        config.ticketer = Arc::new(Ticketer::new(tickets, context, timeout_s));
    }
    config.session_storage = match cache {
        Some(cache) => Arc::new(Store::open(&cache, context, timeout_s)),
        None => Arc::new(NoServerSessionStorage {}),
    };
}

/// Tickets that follow a handshake of TLS 1.3, as OpenSSL has it.
const TICKETS: usize = 2;

/// The certificates of a server: the client's order of signatures decides between them.
#[derive(Debug)]
struct Certificates(Vec<Credential>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let signs = |scheme| self.0.iter().find(|one| one.0.key.choose_scheme(&[scheme]).is_some());
        let schemes = hello.signature_schemes();
        let best = schemes.iter().find_map(|&scheme| signs(scheme));
        // A client for whom none fits hears `handshake_failure` over any, as from OpenSSL; over none
        // it would hear `access_denied`.
        best.or(self.0.first()).map(|credential| Arc::clone(&credential.0))
    }
}
