//! Signatures of handshakes and certificates, checked with the key that a certificate names.
//!
//! webpki reads certificates of version 3 only, and home-made ones are often of version 1; so the
//! key is found here, and only the mathematics are the provider's.

use super::der::{self, Cursor};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// A `SubjectPublicKeyInfo`, cut up.
struct PublicKey<'d> {
    /// The algorithm with its parameters, without the tag around them.
    algorithm: &'d [u8],
    key: &'d [u8],
}

/// The `SubjectPublicKeyInfo` of a certificate, as it stands there.
pub fn public_key<'c>(certificate: &'c CertificateDer<'_>) -> Option<&'c [u8]> {
    let mut body = Cursor::new(certificate).enter(der::SEQUENCE)?.enter(der::SEQUENCE)?;
    body.take(der::CONTEXT_0);
    body.take(der::INTEGER)?;
    for _ in ["signature", "issuer", "validity", "subject"] {
        body.take(der::SEQUENCE)?;
    }
    body.any().filter(|element| element.tag == der::SEQUENCE).map(|element| element.whole)
}

fn cut(info: &[u8]) -> Option<PublicKey<'_>> {
    let mut info = Cursor::new(info).enter(der::SEQUENCE)?;
    let algorithm = info.take(der::SEQUENCE)?;
    let (&unused_bits, key) = info.take(der::BIT_STRING)?.split_first()?;
    (unused_bits == 0).then_some(PublicKey { algorithm, key })
}

/// Whether the owner of `certificate` has signed `message` in a handshake. TLS 1.3 binds a curve to
/// the scheme and knows no PKCS#1 (RFC 8446, 4.2.3); TLS 1.2 does neither.
pub fn check_handshake(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    version: Version,
) -> Result<(), Error> {
    let algorithms = algorithms();
    let scheme = signed.scheme;
    let mut candidates = algorithms.mapping.iter().filter(|(known, _)| *known == scheme);
    let candidates = candidates.next().map(|(_, list)| *list).unwrap_or_default();
    let candidates = match version {
        Version::Tls12 => candidates,
        Version::Tls13 if is_of_tls13(scheme) => &candidates[..candidates.len().min(1)],
        Version::Tls13 => &[],
    };
    let info = public_key(certificate).ok_or(CertificateError::BadEncoding)?;
    match check(message, info, signed.signature(), candidates) {
        true => Ok(()),
        false => Err(CertificateError::BadSignature.into()),
    }
}

/// The version of the handshake that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

fn is_of_tls13(scheme: SignatureScheme) -> bool {
    !matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
            | SignatureScheme::RSA_PKCS1_SHA1
    )
}

/// Whether `signature` over `message` was made with this key, by one of these algorithms.
fn check(
    message: &[u8],
    info: &[u8],
    signature: &[u8],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    let Some(key) = cut(info) else {
        return false;
    };
    algorithms
        .iter()
        .filter(|one| one.public_key_alg_id().as_ref() == key.algorithm)
        .any(|one| one.verify_signature(key.key, message, signature).is_ok())
}

/// Whether the owner of the key `info` has signed `certificate`.
pub fn has_signed(info: &[u8], certificate: &[u8]) -> bool {
    let parts = || {
        let mut parts = Cursor::new(certificate).enter(der::SEQUENCE)?;
        let body = parts.any()?.whole;
        let algorithm = parts.take(der::SEQUENCE)?;
        let (&unused_bits, signature) = parts.take(der::BIT_STRING)?.split_first()?;
        (unused_bits == 0).then_some((body, algorithm, signature))
    };
    let Some((body, algorithm, signature)) = parts() else {
        return false;
    };
    let fitting: Vec<_> = algorithms()
        .all
        .iter()
        .copied()
        .filter(|one| one.signature_alg_id().as_ref() == algorithm)
        .collect();
    check(body, info, signature, &fitting)
}

/// What the provider can check.
pub fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}
