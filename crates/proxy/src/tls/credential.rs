//! A certificate chain with its key, from what files hold.
//!
//! Texts of faults are those of nginx and OpenSSL, without OpenSSL's numbers. It opens no file.

use super::pem::{self, PemFault};
use super::private_key::{self, KeyFault};
use super::signature;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// A chain and the key of its first certificate.
#[derive(Clone, Debug)]
pub struct Credential(pub Arc<CertifiedKey>);

/// Why there is no [`Credential`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFault {
    Pem(PemFault),
    NoCertificate,
    BadCertificate,
    Key(KeyFault),
    /// The key is not that of the certificate.
    Mismatch,
}

/// Certificates in one file at most: a bundle of roots has some hundreds.
const CERTIFICATES_MAX: usize = 4096;

impl Credential {
    /// Reads a certificate file and its key file.
    pub fn read(
        certificate: &[u8],
        key: &[u8],
        passwords: &[Vec<u8>],
    ) -> Result<Self, CredentialFault> {
        let chain = certificates(certificate)?;
        let key = private_key::read(key, passwords).map_err(CredentialFault::Key)?;
        let own = signature::public_key(&chain[0]).ok_or(CredentialFault::BadCertificate)?;
        if key.public_key().is_some_and(|of_key| of_key.as_ref() != own) {
            return Err(CredentialFault::Mismatch);
        }
        Ok(Self(Arc::new(CertifiedKey::new(chain, key))))
    }

    /// The same with an OCSP response to staple.
    pub fn stapled(self, response: Vec<u8>) -> Self {
        let certified = CertifiedKey { ocsp: Some(response), ..(*self.0).clone() };
        Self(Arc::new(certified))
    }
}

/// The certificates of a PEM file; there is at least one.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialFault> {
    let sections = pem::sections(text).map_err(CredentialFault::Pem)?;
    let is_one =
        |label: &str| matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE");
    let list: Vec<_> = sections
        .into_iter()
        .filter(|section| is_one(&section.label))
        .take(CERTIFICATES_MAX)
        .map(|section| first_element(section.bytes).map(CertificateDer::from))
        .collect::<Option<_>>()
        .ok_or(CredentialFault::BadCertificate)?;
    if list.is_empty() { Err(CredentialFault::NoCertificate) } else { Ok(list) }
}

/// A trusted certificate has words of OpenSSL's behind it.
fn first_element(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let length = super::der::Cursor::new(&bytes).any()?.whole.len();
    let mut bytes = bytes;
    bytes.truncate(length);
    Some(bytes)
}
