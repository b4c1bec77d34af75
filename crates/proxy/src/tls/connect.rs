//! The handshake with an upstream, and the judgement of its certificate.
//!
//! As in nginx, the certificate is judged when the handshake is over and before anything is sent.
//! It opens no connection and writes no log.

use super::accept::{self, Fault as HandshakeFault};
use super::chain::{Fault as ChainFault, Trust, Usage};
use super::credential::Credential;
use super::secrets::{Captured, Catcher};
use super::session::Session;
use super::signature::{self, Version};
use crate::channel::Channel;
use bytes::BytesMut;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{Connection, DigitallySignedStruct, Error, SignatureScheme, SupportedCipherSuite};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the configuration says of TLS to an upstream.
pub struct ClientTerms {
    pub credential: Option<Credential>,
    pub suites: Vec<SupportedCipherSuite>,
    pub tls12: bool,
    pub tls13: bool,
    /// What the upstream's certificate must lead to; anything will do when it is absent.
    pub trust: Option<Trust>,
    pub sends_name: bool,
    pub resumes: bool,
}

/// How TLS is spoken to an upstream.
pub struct Dialling {
    config: Arc<ClientConfig>,
    trust: Option<Trust>,
}

/// Why a connection to an upstream is not secured.
#[derive(Debug)]
pub enum Unsecured {
    Handshake(HandshakeFault),
    /// Nobody who is trusted vouches for it.
    Untrusted(ChainFault),
    /// Its certificate is for another name.
    OtherName,
}

/// Sessions of one configuration at most.
const SESSIONS_MAX: usize = 256;

/// Stands where a name is no host name: it is neither sent nor found in any certificate.
const NO_NAME: &str = "name.invalid";

impl ClientTerms {
    /// Makes the configuration of rustls.
    pub fn dialling(self) -> Result<Dialling, Error> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = self.suites;
        let mut versions = Vec::new();
        if self.tls13 {
            versions.push(&rustls::version::TLS13);
        }
        if self.tls12 {
            versions.push(&rustls::version::TLS12);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Later));
        let mut config = match self.credential {
            None => builder.with_no_client_auth(),
            Some(Credential(certified)) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(certified),
            )),
        };
        config.enable_sni = self.sends_name;
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Catcher);
        config.resumption = match self.resumes {
            true => Resumption::in_memory_sessions(SESSIONS_MAX),
            false => Resumption::disabled(),
        };
        Ok(Dialling { config: Arc::new(config), trust: self.trust })
    }
}

impl fmt::Debug for Dialling {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Dialling").finish_non_exhaustive()
    }
}

impl Dialling {
    /// Shakes hands on a new connection within `limit`. `name` may have a port behind it.
    pub async fn secure(
        &self,
        channel: Channel,
        name: &[u8],
        limit: Duration,
    ) -> Result<Channel, Unsecured> {
        let known = server_name(name);
        let asked = match &known {
            Some(name) => name.clone(),
            None => ServerName::try_from(NO_NAME).map_err(|_| Unsecured::OtherName)?,
        };
        let connection = ClientConnection::new(Arc::clone(&self.config), asked)
            .map_err(|fault| Unsecured::Handshake(HandshakeFault::Tls(fault)))?;
        let connection = Connection::Client(connection);
        let mut session = Session::new(connection, BytesMut::new(), Captured::default());
        let deadline = Instant::now() + limit;
        accept::shake_hands(&mut session, &channel, deadline)
            .await
            .map_err(Unsecured::Handshake)?;
        let chain = session.connection().peer_certificates().unwrap_or_default();
        self.judge(chain, known.as_ref())?;
        Ok(channel.secured(session))
    }

    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
    ) -> Result<(), Unsecured> {
        let Some(trust) = &self.trust else {
            return Ok(());
        };
        trust.judge(chain, Usage::Server).map_err(Unsecured::Untrusted)?;
        let own = chain.first().and_then(|own| webpki::EndEntityCert::try_from(own).ok());
        let fits = own
            .zip(name)
            .is_some_and(|(own, name)| own.verify_is_valid_for_subject_name(name).is_ok());
        if fits { Ok(()) } else { Err(Unsecured::OtherName) }
    }
}

/// A name without the port behind it; `None` when it is none.
fn server_name(name: &[u8]) -> Option<ServerName<'static>> {
    let text = std::str::from_utf8(name).ok()?;
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text.split_once(':').map_or(text, |(host, _)| host),
    };
    ServerName::try_from(host.to_owned()).ok()
}

/// Takes any certificate whose owner it is: it is judged later.
#[derive(Debug)]
struct Later;

impl ServerCertVerifier for Later {
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
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::check_handshake(message, certificate, signed, Version::Tls12)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::check_handshake(message, certificate, signed, Version::Tls13)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::algorithms().supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_left_out_of_names() {
        let name = |text: &str| server_name(text.as_bytes()).map(|name| name.to_str().into_owned());
        assert_eq!(name("a.test:443").as_deref(), Some("a.test"));
        assert_eq!(name("a.test").as_deref(), Some("a.test"));
        assert_eq!(name("127.0.0.1:8443").as_deref(), Some("127.0.0.1"));
        assert_eq!(name("[::1]:8443").as_deref(), Some("::1"));
        assert_eq!(name("a b"), None);
        assert_eq!(name(""), None);
    }
}
