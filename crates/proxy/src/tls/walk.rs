//! A chain as OpenSSL walks it (`X509_verify_cert`), to say of it what OpenSSL says.
//!
//! nginx lets a walk go on behind a fault, so that the last fault is the one that is told. The order
//! is OpenSSL's: the chain is built, then come purposes, revocation lists, signatures and times. The
//! walk is no proof of its own: [`super::chain`] asks webpki as well, and both must agree.

use super::certificate::{Extensions, Fields, ListTimes};
use super::chain::{Fault, Usage};
use super::signature;
use rustls::pki_types::CertificateDer;
use webpki::CertRevocationList;

/// What a walk starts from.
pub struct Walk<'w> {
    pub roots: &'w [CertificateDer<'static>],
    pub lists: &'w [(CertRevocationList<'static>, ListTimes)],
    /// How many certificates may stand between a peer's and its root.
    pub depth: usize,
    pub usage: Usage,
    pub now: i64,
}

/// A certificate on the way, and what is read of it.
#[derive(Clone, Copy)]
struct Stop<'c> {
    bytes: &'c [u8],
    fields: Fields<'c>,
}

impl<'c> Stop<'c> {
    fn read(bytes: &'c [u8]) -> Option<Self> {
        Some(Self { bytes, fields: Fields::read(bytes)? })
    }

    /// Whether its issuer has its own name.
    fn is_own_issuer(&self) -> bool {
        self.fields.subject == self.fields.issuer
    }

    fn is_issued_by(&self, issuer: &Self) -> bool {
        self.fields.issuer == issuer.fields.subject && issuer.fields.extensions.may_sign()
    }
}

/// The chain that was found.
struct Way<'c> {
    stops: Vec<Stop<'c>>,
    /// How many of them the peer has sent.
    sent: usize,
    is_trusted: bool,
}

impl Walk<'_> {
    /// Walks from a peer's own certificate over `others` to a root.
    pub fn judge(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<(), Fault> {
        let own = Stop::read(own).ok_or(Fault::Unspecified)?;
        let others: Vec<_> = others.iter().filter_map(|one| Stop::read(one)).collect();
        let roots: Vec<_> = self.roots.iter().filter_map(|one| Stop::read(one)).collect();
        let way = self.build(own, &others, &roots);
        let mut last = Ok(());
        let mut told = |fault| last = Err(fault);
        if !way.is_trusted {
            self.untrusted(&way, &mut told);
        }
        self.purposes(&way.stops, &mut told);
        self.revocations(&way.stops, &mut told);
        self.signatures_and_times(&way.stops, &mut told);
        last
    }

    /// Roots are looked for before what the peer has sent (`build_chain`).
    fn build<'c>(&self, own: Stop<'c>, others: &[Stop<'c>], roots: &[Stop<'c>]) -> Way<'c> {
        let mut way = Way { stops: vec![own], sent: 1, is_trusted: false };
        let mut last = own;
        while way.stops.len() <= self.depth.saturating_add(1) {
            if last.is_own_issuer() {
                way.is_trusted = roots.iter().any(|root| root.bytes == last.bytes);
                break;
            }
            let new = |one: &&Stop<'c>| way.stops.iter().all(|known| known.bytes != one.bytes);
            let next = best_issuer(&last, roots.iter().filter(new));
            let of_peer = || best_issuer(&last, others.iter().filter(new));
            let is_sent = next.is_none() && way.sent == way.stops.len();
            let Some(next) = next.or_else(|| is_sent.then(of_peer).flatten()) else { break };
            way.sent += usize::from(is_sent);
            way.stops.push(next);
            last = next;
            if !is_sent && last.is_own_issuer() {
                way.is_trusted = true;
                break;
            }
        }
        way
    }

    fn untrusted(&self, way: &Way<'_>, told: &mut impl FnMut(Fault)) {
        let count = way.stops.len();
        if count > self.depth.saturating_add(1) {
            told(Fault::TooLong);
        }
        told(match way.stops.last() {
            Some(last) if last.is_own_issuer() && count == 1 => Fault::SelfSigned,
            Some(last) if last.is_own_issuer() => Fault::SelfSignedInChain,
            _ if way.sent < count => Fault::NoIssuer,
            _ => Fault::UnknownIssuer,
        });
    }

    /// `check_extensions`.
    fn purposes(&self, stops: &[Stop<'_>], told: &mut impl FnMut(Fault)) {
        let mut below = 0;
        for (at, stop) in stops.iter().enumerate() {
            let extensions = &stop.fields.extensions;
            let is_authority = extensions.is_authority(stop.is_own_issuer());
            if at > 0 && !is_authority {
                told(Fault::InvalidAuthority);
            }
            let serves = match at {
                0 => extensions.serves(self.usage),
                _ => extensions.purpose_fits(self.usage) && is_authority,
            };
            if !serves {
                told(Fault::BadPurpose);
            }
            if at > 0 && extensions.path_length.is_some_and(|length| below > length) {
                told(Fault::PathTooLong);
            }
            if at > 0 && !stop.is_own_issuer() {
                below += 1;
            }
        }
    }

    /// `check_revocation`, for every certificate.
    fn revocations(&self, stops: &[Stop<'_>], told: &mut impl FnMut(Fault)) {
        if self.lists.is_empty() {
            return;
        }
        for stop in stops {
            let is_of_issuer = |(list, _): &&(CertRevocationList<'_>, ListTimes)| {
                list.issuer() == stop.fields.issuer
            };
            let Some((list, times)) = self.lists.iter().find(is_of_issuer) else {
                told(Fault::UnknownList);
                continue;
            };
            if times.this_update > self.now {
                told(Fault::ListNotYetValid);
            }
            if times.next_update.is_some_and(|next| next < self.now) {
                told(Fault::ListExpired);
            }
            match list.find_serial(stop.fields.serial) {
                Ok(None) => {}
                Ok(Some(_)) => told(Fault::Revoked),
                Err(_) => told(Fault::Unspecified),
            }
        }
    }

    /// `internal_verify`: from the root down.
    fn signatures_and_times(&self, stops: &[Stop<'_>], told: &mut impl FnMut(Fault)) {
        let last_is_root = stops.last().is_some_and(Stop::is_own_issuer);
        if stops.len() == 1 && !last_is_root {
            told(Fault::Unverified);
        }
        for (at, stop) in stops.iter().enumerate().rev() {
            let issuer = stops.get(at + 1);
            // Nobody can have signed an end that is no root, and its times are not looked at.
            if issuer.is_none() && !last_is_root && stops.len() > 1 {
                continue;
            }
            if issuer.is_some_and(|one| !signature::has_signed(one.fields.key, stop.bytes)) {
                told(Fault::BadSignature);
            }
            if self.now < stop.fields.not_before {
                told(Fault::NotYetValid);
            }
            if self.now > stop.fields.not_after {
                told(Fault::Expired);
            }
        }
    }
}

/// One that has signed `of` if there is one, else one that could have.
fn best_issuer<'s, 'c: 's>(
    of: &Stop<'c>,
    candidates: impl Iterator<Item = &'s Stop<'c>>,
) -> Option<Stop<'c>> {
    let candidates: Vec<_> = candidates.filter(|one| of.is_issued_by(one)).collect();
    let signed = candidates.iter().find(|one| signature::has_signed(one.fields.key, of.bytes));
    signed.or(candidates.first()).map(|one| **one)
}

impl Extensions<'_> {
    /// Whether it may serve a peer (`check_purpose_ssl_client`, `check_purpose_ssl_server`).
    fn serves(&self, usage: Usage) -> bool {
        const DIGITAL_SIGNATURE: u16 = 1;
        const KEY_ENCIPHERMENT: u16 = 1 << 2;
        const KEY_AGREEMENT: u16 = 1 << 4;
        let wanted = match usage {
            Usage::Client => DIGITAL_SIGNATURE | KEY_AGREEMENT,
            Usage::Server => DIGITAL_SIGNATURE | KEY_ENCIPHERMENT | KEY_AGREEMENT,
        };
        self.purpose_fits(usage) && self.key_usage.is_none_or(|bits| bits & wanted != 0)
    }

    /// Whether its purposes, if it names some, hold this one.
    fn purpose_fits(&self, usage: Usage) -> bool {
        let wanted = match usage {
            Usage::Client => CLIENT_AUTH,
            Usage::Server => SERVER_AUTH,
        };
        self.purposes().is_none_or(|mut purposes| purposes.any(|purpose| purpose == wanted))
    }

    /// Whether it could have signed another certificate, as far as its own words go.
    fn may_sign(&self) -> bool {
        const CERTIFICATE_SIGN: u16 = 1 << 5;
        self.key_usage.is_none_or(|bits| bits & CERTIFICATE_SIGN != 0)
    }

    /// `X509_check_ca`.
    fn is_authority(&self, is_own_issuer: bool) -> bool {
        self.may_sign()
            && match self.authority {
                Some(is_authority) => is_authority,
                // Roots of version 1 say nothing, and some of version 3 only this.
                None if self.version == 1 => is_own_issuer,
                None => self.key_usage.is_some(),
            }
    }
}

/// 1.3.6.1.5.5.7.3.1
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// 1.3.6.1.5.5.7.3.2
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
