//! Whether a peer's certificate leads to a root that is trusted, as OpenSSL would have it.
//!
//! webpki does the work. Three kinds of certificate that OpenSSL takes and webpki does not are
//! judged here: those of version 1, those that could be authorities themselves, and those that are
//! trusted by name. For these the issuer must be a root.

use super::certificate::Fields;
use super::credential::{self, CredentialFault};
use super::pem;
use super::signature;
use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, Error, OwnedCertRevocationList};
use webpki::{KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy};

/// What a peer's certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
}

/// What is trusted.
pub struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    /// The certificates of the anchors.
    roots: Vec<CertificateDer<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    /// How many certificates may stand between a peer's and its root.
    pub depth: usize,
}

/// Why a certificate is not trusted, with OpenSSL's numbers and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    UnknownIssuer,
    UnknownList,
    BadSignature,
    NotYetValid,
    Expired,
    SelfSigned,
    SelfSignedInChain,
    TooLong,
    Revoked,
    InvalidAuthority,
    BadPurpose,
    ListExpired,
    /// Nothing that can be read as a certificate, or with a weak algorithm.
    Unspecified,
}

impl Fault {
    /// `X509_V_ERR_...`.
    pub fn number(self) -> u32 {
        match self {
            Self::UnknownIssuer => 20,
            Self::UnknownList => 3,
            Self::BadSignature => 7,
            Self::NotYetValid => 9,
            Self::Expired => 10,
            Self::ListExpired => 12,
            Self::SelfSigned => 18,
            Self::SelfSignedInChain => 19,
            Self::TooLong => 22,
            Self::Revoked => 23,
            Self::InvalidAuthority => 79,
            Self::BadPurpose => 26,
            Self::Unspecified => 1,
        }
    }

    /// As `X509_verify_cert_error_string` says it.
    pub fn words(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "unable to get local issuer certificate",
            Self::UnknownList => "unable to get certificate CRL",
            Self::BadSignature => "certificate signature failure",
            Self::NotYetValid => "certificate is not yet valid",
            Self::Expired => "certificate has expired",
            Self::ListExpired => "CRL has expired",
            Self::SelfSigned => "self-signed certificate",
            Self::SelfSignedInChain => "self-signed certificate in certificate chain",
            Self::TooLong => "certificate chain too long",
            Self::Revoked => "certificate revoked",
            Self::InvalidAuthority => "invalid CA certificate",
            Self::BadPurpose => "unsuitable certificate purpose",
            Self::Unspecified => "unspecified certificate verification error",
        }
    }

    /// Whether `optional_no_ca` passes over it (`ngx_ssl_verify_error_optional`).
    pub fn is_of_issuer(self) -> bool {
        matches!(self, Self::UnknownIssuer | Self::SelfSigned | Self::SelfSignedInChain)
    }
}

/// Why a file of roots or lists cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustFault {
    Certificates(CredentialFault),
    NoList,
    BadList,
}

impl Trust {
    /// Trusts nobody yet.
    pub fn new(depth: usize) -> Self {
        Self { anchors: Vec::new(), roots: Vec::new(), lists: Vec::new(), depth }
    }

    /// Trusts the certificates of a PEM file too; gives their names.
    pub fn add_roots(&mut self, text: &[u8]) -> Result<Vec<DistinguishedName>, TrustFault> {
        let list = credential::certificates(text).map_err(TrustFault::Certificates)?;
        let mut names = Vec::new();
        for root in list {
            let anchor = webpki::anchor_from_trusted_cert(&root)
                .map_err(|_| TrustFault::Certificates(CredentialFault::BadCertificate))?;
            names.push(DistinguishedName::in_sequence(anchor.subject.as_ref()));
            self.anchors.push(anchor.to_owned());
            self.roots.push(root);
        }
        Ok(names)
    }

    /// Looks certificates up in the lists of a PEM file too.
    pub fn add_lists(&mut self, text: &[u8]) -> Result<(), TrustFault> {
        let sections = pem::sections(text)
            .map_err(|fault| TrustFault::Certificates(CredentialFault::Pem(fault)))?;
        let before = self.lists.len();
        for section in sections.iter().filter(|section| section.label == "X509 CRL") {
            let list = OwnedCertRevocationList::from_der(&section.bytes);
            self.lists.push(list.map_err(|_| TrustFault::BadList)?.into());
        }
        if self.lists.len() == before { Err(TrustFault::NoList) } else { Ok(()) }
    }

    /// Tells everything that a judgement depends on, for a digest.
    pub fn sources(&self, mut part: impl FnMut(&[u8])) {
        part(&(self.roots.len() as u64).to_be_bytes());
        for root in &self.roots {
            part(root);
        }
        for list in &self.lists {
            part(list.issuer());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Judges the chain that a peer has sent, its own certificate first.
    pub fn judge(&self, chain: &[CertificateDer<'_>], usage: Usage) -> Result<(), Fault> {
        let (own, others) = chain.split_first().ok_or(Fault::Unspecified)?;
        let now = UnixTime::now();
        match self.judge_by_webpki(own, others, usage, now) {
            Err(Error::UnsupportedCertVersion | Error::CaUsedAsEndEntity) => {
                self.judge_by_root(own, now)
            }
            Err(Error::UnknownIssuer) if self.roots.contains(own) => self.judge_by_root(own, now),
            Err(fault) => Err(fault_of(&fault, own, others)),
            Ok(()) => Ok(()),
        }
    }

    fn judge_by_webpki(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<(), Error> {
        let own = EndEntityCert::try_from(own)?;
        let lists: Vec<_> = self.lists.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .build()
        });
        let usage = match usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        let algorithms = signature::algorithms();
        let path = own.verify_for_usage(
            algorithms.all,
            &self.anchors,
            others,
            now,
            usage,
            revocation,
            None,
        )?;
        if path.intermediate_certificates().count() > self.depth {
            return Err(Error::MaximumPathDepthExceeded);
        }
        Ok(())
    }

    /// A certificate that webpki does not take: a root must be itself or its issuer.
    fn judge_by_root(&self, own: &CertificateDer<'_>, now: UnixTime) -> Result<(), Fault> {
        let fields = Fields::read(own).ok_or(Fault::Unspecified)?;
        let is_issuer = |root: &&CertificateDer<'_>| {
            Fields::read(root).is_some_and(|root| {
                root.subject == fields.issuer && signature::has_signed(root.key, own)
            })
        };
        if !self.roots.contains(own) && !self.roots.iter().any(|root| is_issuer(&root)) {
            let is_own = fields.subject == fields.issuer;
            return Err(if is_own { Fault::SelfSigned } else { Fault::UnknownIssuer });
        }
        let now = now.as_secs() as i64;
        if now < fields.not_before {
            return Err(Fault::NotYetValid);
        }
        if now > fields.not_after {
            return Err(Fault::Expired);
        }
        self.judge_by_lists(&fields)
    }

    fn judge_by_lists(&self, fields: &Fields<'_>) -> Result<(), Fault> {
        if self.lists.is_empty() {
            return Ok(());
        }
        let mut known = false;
        for list in self.lists.iter().filter(|list| list.issuer() == fields.issuer) {
            known = true;
            match list.find_serial(fields.serial) {
                Ok(None) => {}
                Ok(Some(_)) => return Err(Fault::Revoked),
                Err(_) => return Err(Fault::Unspecified),
            }
        }
        if known { Ok(()) } else { Err(Fault::UnknownList) }
    }
}

fn fault_of(fault: &Error, own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Fault {
    match fault {
        Error::UnknownIssuer => {
            let is_own = |one: &CertificateDer<'_>| {
                Fields::read(one).is_some_and(|fields| fields.subject == fields.issuer)
            };
            match is_own(own) {
                true => Fault::SelfSigned,
                false if others.iter().any(is_own) => Fault::SelfSignedInChain,
                false => Fault::UnknownIssuer,
            }
        }
        Error::CertExpired { .. } => Fault::Expired,
        Error::CertNotValidYet { .. } => Fault::NotYetValid,
        Error::CertRevoked => Fault::Revoked,
        Error::CrlExpired { .. } => Fault::ListExpired,
        Error::UnknownRevocationStatus => Fault::UnknownList,
        Error::InvalidSignatureForPublicKey => Fault::BadSignature,
        Error::MaximumPathDepthExceeded | Error::PathLenConstraintViolated => Fault::TooLong,
        Error::EndEntityUsedAsCa => Fault::InvalidAuthority,
        Error::RequiredEkuNotFoundContext(_) => Fault::BadPurpose,
        _ => Fault::Unspecified,
    }
}
