//! Private keys: every form that OpenSSL writes, encrypted ones with the passwords of a file.
//!
//! A key that is not encrypted goes to the provider as it is. Of the encrypted forms PKCS#8 with
//! PBES2 is read (RFC 8018, 6.2), which OpenSSL writes since 1.0. Not here: certificates, and
//! whether they fit ([`super::credential`]).

use super::der::{self, Cursor};
use super::pem::{self, PemFault, Section};
use aws_lc_rs::cipher::UnboundCipherKey;
use aws_lc_rs::cipher::{AES_128, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Why a file gives no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    Pem(PemFault),
    /// No section of the file is a key.
    NoKey,
    /// The key is encrypted, and there is no password.
    NoPassword,
    /// No password fits.
    BadPassword,
    /// The key is encrypted in a way that is not known here.
    UnknownEncryption,
    /// The key is of a kind that is not known here, or broken.
    UnknownKey,
}

impl KeyFault {
    /// As OpenSSL says it, where it says it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Pem(fault) => fault.reason(),
            Self::NoKey => "PEM routines::no start line:Expecting: ANY PRIVATE KEY",
            Self::NoPassword => "PEM routines::problems getting password",
            Self::BadPassword => "Provider routines::bad decrypt",
            Self::UnknownEncryption => "DECODER routines::unsupported",
            Self::UnknownKey => "DECODER routines::unsupported",
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Pem(_) | Self::NoKey => "the file must hold a private key in PEM",
            Self::NoPassword => "the key is encrypted: name its password with a password file",
            Self::BadPassword => "no password of the password file opens the key",
            Self::UnknownEncryption => {
                "encrypt the key with PBES2 and AES: openssl pkcs8 -topk8 -v2 aes-256-cbc"
            }
            Self::UnknownKey => "keys may be RSA of 2048 bits and more, ECDSA or Ed25519",
        }
    }
}

/// The first key of a PEM file. `passwords` are tried in their order.
pub fn read(text: &[u8], passwords: &[Vec<u8>]) -> Result<Arc<dyn SigningKey>, KeyFault> {
    let sections = pem::sections(text).map_err(KeyFault::Pem)?;
    let section = sections.into_iter().find(|section| section.label.ends_with("PRIVATE KEY"));
    let section = section.ok_or(KeyFault::NoKey)?;
    let der = match section.label.as_str() {
        "ENCRYPTED PRIVATE KEY" => PrivateKeyDer::Pkcs8(opened(&section, passwords)?.into()),
        _ if !section.header.is_empty() => return Err(KeyFault::UnknownEncryption),
        "PRIVATE KEY" => PrivateKeyDer::Pkcs8(section.bytes.into()),
        "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(section.bytes.into()),
        "EC PRIVATE KEY" => PrivateKeyDer::Sec1(section.bytes.into()),
        _ => return Err(KeyFault::UnknownKey),
    };
    rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(|_| KeyFault::UnknownKey)
}

fn opened(section: &Section, passwords: &[Vec<u8>]) -> Result<Vec<u8>, KeyFault> {
    let sealed = Sealed::read(&section.bytes).ok_or(KeyFault::UnknownEncryption)?;
    if passwords.is_empty() {
        return Err(KeyFault::NoPassword);
    }
    let mut opened = passwords.iter().filter_map(|password| sealed.open(password));
    opened.next().ok_or(KeyFault::BadPassword)
}

/// An `EncryptedPrivateKeyInfo` (RFC 5958, 3) of PBES2.
struct Sealed<'d> {
    cipher: &'static Algorithm,
    key_length: usize,
    iv: [u8; 16],
    prf: pbkdf2::Algorithm,
    salt: &'d [u8],
    rounds: NonZeroU32,
    bytes: &'d [u8],
}

impl<'d> Sealed<'d> {
    fn read(bytes: &'d [u8]) -> Option<Self> {
        let mut info = Cursor::new(bytes).enter(der::SEQUENCE)?;
        let mut scheme = info.enter(der::SEQUENCE)?;
        let bytes = info.take(der::OCTET_STRING)?;
        let parameters = (scheme.take(der::OBJECT)? == PBES2).then(|| scheme.enter(der::SEQUENCE));
        let mut parameters = parameters??;
        let mut derivation = parameters.enter(der::SEQUENCE)?;
        let inner =
            (derivation.take(der::OBJECT)? == PBKDF2).then(|| derivation.enter(der::SEQUENCE));
        let mut inner = inner??;
        let salt = inner.take(der::OCTET_STRING)?;
        let rounds = inner.small_number().filter(|&rounds| rounds <= ROUNDS_MAX)?;
        // The length of the key follows from the cipher.
        let _ = inner.small_number();
        let prf = match inner.enter(der::SEQUENCE) {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(mut prf) => prf_of(prf.take(der::OBJECT)?)?,
        };
        let mut encryption = parameters.enter(der::SEQUENCE)?;
        let (cipher, key_length) = match encryption.take(der::OBJECT)? {
            AES_128_CBC => (&AES_128, 16),
            AES_256_CBC => (&AES_256, 32),
            _ => return None,
        };
        let iv = encryption.take(der::OCTET_STRING)?.try_into().ok()?;
        let rounds = NonZeroU32::new(rounds)?;
        Some(Self { cipher, key_length, iv, prf, salt, rounds, bytes })
    }

    /// The key inside. A wrong password shows in the padding, or in what comes out being no key.
    fn open(&self, password: &[u8]) -> Option<Vec<u8>> {
        let mut key = [0u8; 32];
        let key = &mut key[..self.key_length];
        pbkdf2::derive(self.prf, self.rounds, self.salt, password, key);
        let unbound = UnboundCipherKey::new(self.cipher, key).ok()?;
        let opening = PaddedBlockDecryptingKey::cbc_pkcs7(unbound).ok()?;
        let context = DecryptionContext::Iv128(FixedLength::from(self.iv));
        let mut bytes = self.bytes.to_vec();
        let opened = opening.decrypt(&mut bytes, context).ok()?;
        let whole = Cursor::new(opened).any().is_some_and(|one| one.whole.len() == opened.len());
        whole.then(|| opened.to_vec())
    }
}

fn prf_of(object: &[u8]) -> Option<pbkdf2::Algorithm> {
    match object.strip_prefix(HMAC_WITH)? {
        [0x07] => Some(pbkdf2::PBKDF2_HMAC_SHA1),
        [0x09] => Some(pbkdf2::PBKDF2_HMAC_SHA256),
        [0x0a] => Some(pbkdf2::PBKDF2_HMAC_SHA384),
        [0x0b] => Some(pbkdf2::PBKDF2_HMAC_SHA512),
        _ => None,
    }
}

/// Rounds of PBKDF2 at most: some seconds of work.
const ROUNDS_MAX: u32 = 10_000_000;

/// 1.2.840.113549.1.5.13
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
/// 1.2.840.113549.1.5.12
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// 1.2.840.113549.2, behind which the digest stands.
const HMAC_WITH: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
/// 2.16.840.1.101.3.4.1.2
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
