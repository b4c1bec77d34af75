//! What a server demands of its clients' certificates.
//!
//! As in nginx, the handshake takes any certificate whose owner it is (or none), and the request is
//! refused afterwards: so the client gets a page and not an alert.

use super::chain::{Fault, Trust, Usage};
use super::signature::{self, Version};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::fmt;

/// What is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Off,
    Required,
    Optional,
    /// The application judges who has signed it.
    OptionalOfAnyone,
}

/// The demand with what is trusted.
pub struct ClientPolicy {
    pub demand: Demand,
    pub trust: Trust,
    /// The names of the roots that clients are told.
    pub names: Vec<DistinguishedName>,
}

/// What a client's certificate came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    Good,
    Bad(Fault),
}

/// Why a request is refused for its client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Bad(Fault),
    Missing,
}

impl ClientPolicy {
    /// Judges what a client has shown.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Shown {
        if chain.is_empty() {
            return Shown::Nothing;
        }
        match self.trust.judge(chain, Usage::Client) {
            Ok(()) => Shown::Good,
            Err(fault) => Shown::Bad(fault),
        }
    }

    /// Whether a request may pass (`ngx_http_process_request`).
    pub fn admit(&self, shown: Shown) -> Result<(), Refused> {
        match (self.demand, shown) {
            (Demand::Off, _) | (_, Shown::Good) => Ok(()),
            (Demand::OptionalOfAnyone, Shown::Bad(fault)) if fault.is_of_issuer() => Ok(()),
            (_, Shown::Bad(fault)) => Err(Refused::Bad(fault)),
            (Demand::Required, Shown::Nothing) => Err(Refused::Missing),
            (_, Shown::Nothing) => Ok(()),
        }
    }
}

impl fmt::Debug for ClientPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClientPolicy").field("demand", &self.demand).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientPolicy {
    fn offer_client_auth(&self) -> bool {
        self.demand != Demand::Off
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
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
