//! Whether a peer's certificate leads to a root that is trusted, as OpenSSL would have it.
//!
//! webpki does the work, and OpenSSL's walk ([`super::walk`]) has the words and the last say where it
//! is stricter. Two kinds of certificate that OpenSSL takes and webpki does not are judged by the walk
//! alone: those of version 1, and those that are authorities themselves. For these the issuer must be
//! a root.

use super::certificate::{Fields, ListTimes};
use super::credential::{self, CredentialFault};
use super::pem;
use super::signature;
use super::walk::Walk;
use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage};
use webpki::{
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

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
    lists: Vec<(CertRevocationList<'static>, ListTimes)>,
    /// How many certificates may stand between a peer's and its root.
    pub depth: usize,
}

/// Why a certificate is not trusted, with OpenSSL's numbers and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoIssuer,
    UnknownIssuer,
    Unverified,
    UnknownList,
    BadSignature,
    NotYetValid,
    Expired,
    SelfSigned,
    SelfSignedInChain,
    TooLong,
    PathTooLong,
    Revoked,
    InvalidAuthority,
    BadPurpose,
    ListNotYetValid,
    ListExpired,
    /// Nothing that can be read as a certificate, or with a weak algorithm.
    Unspecified,
}

impl Fault {
    /// `X509_V_ERR_...`.
    pub fn number(self) -> u32 {
        match self {
            Self::NoIssuer => 2,
            Self::UnknownIssuer => 20,
            Self::Unverified => 21,
            Self::UnknownList => 3,
            Self::BadSignature => 7,
            Self::NotYetValid => 9,
            Self::Expired => 10,
            Self::ListNotYetValid => 11,
            Self::ListExpired => 12,
            Self::SelfSigned => 18,
            Self::SelfSignedInChain => 19,
            Self::TooLong => 22,
            Self::PathTooLong => 25,
            Self::Revoked => 23,
            Self::InvalidAuthority => 79,
            Self::BadPurpose => 26,
            Self::Unspecified => 1,
        }
    }

    /// As `X509_verify_cert_error_string` says it.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoIssuer => "unable to get issuer certificate",
            Self::Unverified => "unable to verify the first certificate",
            Self::UnknownIssuer => "unable to get local issuer certificate",
            Self::UnknownList => "unable to get certificate CRL",
            Self::BadSignature => "certificate signature failure",
            Self::NotYetValid => "certificate is not yet valid",
            Self::Expired => "certificate has expired",
            Self::ListNotYetValid => "CRL is not yet valid",
            Self::ListExpired => "CRL has expired",
            Self::SelfSigned => "self-signed certificate",
            Self::SelfSignedInChain => "self-signed certificate in certificate chain",
            Self::TooLong => "certificate chain too long",
            Self::PathTooLong => "path length constraint exceeded",
            Self::Revoked => "certificate revoked",
            Self::InvalidAuthority => "invalid CA certificate",
            Self::BadPurpose => "unsuitable certificate purpose",
            Self::Unspecified => "unspecified certificate verification error",
        }
    }

    /// Whether `optional_no_ca` passes over it (`ngx_ssl_verify_error_optional`).
    pub fn is_of_issuer(self) -> bool {
        matches!(
            self,
            Self::SelfSigned | Self::SelfSignedInChain | Self::UnknownIssuer | Self::Unverified
        )
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
            let times = ListTimes::read(&section.bytes).ok_or(TrustFault::BadList)?;
            self.lists.push((list.map_err(|_| TrustFault::BadList)?.into(), times));
        }
        if self.lists.len() == before { Err(TrustFault::NoList) } else { Ok(()) }
    }

    /// Tells everything that a judgement depends on, for a digest.
    pub fn sources(&self, mut part: impl FnMut(&[u8])) {
        part(&(self.roots.len() as u64).to_be_bytes());
        for root in &self.roots {
            part(root);
        }
        for (list, _) in &self.lists {
            part(list.issuer());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Judges the chain that a peer has sent, its own certificate first. OpenSSL's walk and webpki
    /// must both find it good; the walk has the words.
    pub fn judge(&self, chain: &[CertificateDer<'_>], usage: Usage) -> Result<(), Fault> {
        let (own, others) = chain.split_first().ok_or(Fault::Unspecified)?;
        let now = UnixTime::now();
        let walk = Walk {
            roots: &self.roots,
            lists: &self.lists,
            depth: self.depth,
            usage,
            now: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        };
        walk.judge(own, others)?;
        match self.judge_by_webpki(own, others, usage, now) {
            Err(Error::UnsupportedCertVersion | Error::CaUsedAsEndEntity) => {
                self.judge_by_root(own)
            }
            Err(fault) => Err(fault_of(&fault)),
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
        let lists: Vec<_> = self.lists.iter().map(|(list, _)| list).collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let usage = match usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        let path = own.verify_for_usage(
            signature::algorithms().all,
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

    /// A certificate that webpki does not take, and the walk does: a root must be itself or have
    /// signed it.
    fn judge_by_root(&self, own: &CertificateDer<'_>) -> Result<(), Fault> {
        let fields = Fields::read(own).ok_or(Fault::Unspecified)?;
        let is_issuer = |root: &CertificateDer<'_>| {
            Fields::read(root).is_some_and(|root| {
                root.subject == fields.issuer && signature::has_signed(root.key, own)
            })
        };
        let is_known = self.roots.contains(own) || self.roots.iter().any(is_issuer);
        if is_known { Ok(()) } else { Err(Fault::UnknownIssuer) }
    }
}

/// What webpki minds and the walk does not.
fn fault_of(fault: &Error) -> Fault {
    match fault {
        Error::UnknownIssuer => Fault::UnknownIssuer,
        Error::CertExpired { .. } => Fault::Expired,
        Error::CertNotValidYet { .. } => Fault::NotYetValid,
        Error::CertRevoked => Fault::Revoked,
        Error::CrlExpired { .. } => Fault::ListExpired,
        Error::UnknownRevocationStatus => Fault::UnknownList,
        Error::InvalidSignatureForPublicKey => Fault::BadSignature,
        Error::MaximumPathDepthExceeded => Fault::TooLong,
        Error::PathLenConstraintViolated => Fault::PathTooLong,
        Error::EndEntityUsedAsCa => Fault::InvalidAuthority,
        Error::RequiredEkuNotFoundContext(_) => Fault::BadPurpose,
        _ => Fault::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conf/files/");
        std::fs::read(format!("{folder}{name}")).expect("a file of the tests")
    }

    fn trust(roots: &[&str], depth: usize) -> Trust {
        let mut trust = Trust::new(depth);
        for root in roots {
            trust.add_roots(&file(root)).expect("roots");
        }
        trust
    }

    fn judge(trust: &Trust, name: &str, usage: Usage) -> Result<(), Fault> {
        trust.judge(&credential::certificates(&file(name)).expect("a chain"), usage)
    }

    /// What `openssl verify` says of the same files.
    #[test]
    fn chains_come_to_what_openssl_makes_of_them() {
        let (one, two) = (trust(&["ca.crt"], 1), trust(&["ca.crt"], 2));
        for usage in [Usage::Client, Usage::Server] {
            for (trust, name, expected) in [
                (&one, "client.crt", Ok(())),
                (&one, "oldclient.crt", Ok(())),
                (&one, "deep.crt", Ok(())),
                (&two, "deep.crt", Ok(())),
                (&one, "expired.crt", Err(Fault::Expired)),
                (&one, "foreign.crt", Err(Fault::Unverified)),
                (&one, "purpose.crt", Err(Fault::BadPurpose)),
                (&one, "stranger.crt", Err(Fault::BadPurpose)),
                (&trust(&["ca.crt"], 0), "deep.crt", Err(Fault::UnknownIssuer)),
                (&trust(&["middle.crt"], 2), "deep.crt", Err(Fault::NoIssuer)),
                (&trust(&["middle.crt"], 2), "client.crt", Err(Fault::Unverified)),
                (&trust(&["client.crt"], 2), "client.crt", Err(Fault::Unverified)),
                (&trust(&["ca.crt", "stranger.crt"], 1), "foreign.crt", Ok(())),
            ] {
                assert_eq!(judge(trust, name, usage), expected, "{name} as {usage:?}");
            }
        }
    }

    #[test]
    fn lists_revoke() {
        let mut trust = trust(&["ca.crt", "stranger.crt"], 1);
        assert_eq!(judge(&trust, "revoked.crt", Usage::Client), Ok(()));
        trust.add_lists(&file("revoked.crl")).expect("a list");
        assert_eq!(judge(&trust, "revoked.crt", Usage::Client), Err(Fault::Revoked));
        assert_eq!(judge(&trust, "client.crt", Usage::Client), Ok(()));
        assert_eq!(judge(&trust, "oldclient.crt", Usage::Client), Ok(()));
        assert_eq!(judge(&trust, "foreign.crt", Usage::Client), Err(Fault::UnknownList));
        assert_eq!(judge(&trust, "deep.crt", Usage::Client), Err(Fault::UnknownList));
    }

    /// One bit anywhere in what is signed, or in the signature.
    #[test]
    fn a_changed_certificate_is_refused() {
        let trust = trust(&["ca.crt"], 1);
        let chain = credential::certificates(&file("client.crt")).expect("a chain");
        for at in 0..chain[0].len() {
            let mut changed = chain[0].to_vec();
            changed[at] ^= 1;
            let judged = trust.judge(&[CertificateDer::from(changed)], Usage::Client);
            assert!(judged.is_err(), "byte {at}");
        }
    }

    /// The same of version 1, which webpki has no part in.
    #[test]
    fn a_changed_certificate_of_version_1_is_refused() {
        let trust = trust(&["ca.crt"], 1);
        let chain = credential::certificates(&file("oldclient.crt")).expect("a chain");
        for at in 0..chain[0].len() {
            let mut changed = chain[0].to_vec();
            changed[at] ^= 1;
            let judged = trust.judge(&[CertificateDer::from(changed)], Usage::Client);
            assert!(judged.is_err(), "byte {at}");
        }
    }
}
