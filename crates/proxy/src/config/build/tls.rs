//! `ssl_...` of one server, compiled: files are read, and what rustls wants is made of them.
//!
//! Faults are worded as nginx words them, without OpenSSL's numbers; like nginx's they have no
//! place of their own, so the hint names it.

use super::{Builder, path_of};
use crate::grammar::PemSource;
use crate::modules::proxy_ssl;
use crate::modules::ssl::{self, SessionCache, Settings};
use crate::tls::{
    Acceptance, Cache, Ciphers, ClientPolicy, ClientTerms, Computed, Credential, Demand, Dialling,
    Files, Greeting, LoadFault, Resumption, ServerTerms, Tickets, Trust, TrustFault, bio_reason,
    certificate_reason, evaluate_ciphers, evaluate_curves,
};
use perdura_conf::{Fault, Flag, Level, Number, Seconds, Size, Text};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A server's TLS, or a fault that has been told.
type Compiled = Result<Option<Arc<Acceptance>>, Told>;

/// What is wrong has been added to the faults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told;

impl Builder<'_> {
    /// What a server says in handshakes; `None` when it has neither certificates nor a will to
    /// reject.
    pub(super) fn tls(&mut self, settings: &Settings) -> Compiled {
        let Flag(rejects) = settings.ssl_reject_handshake;
        let certificates = &settings.ssl_certificate.0;
        let is_bare = certificates.is_empty() && !rejects;
        if is_bare && settings.ssl_verify_client == ssl::Demand::Off {
            return Ok(None);
        }
        self.speaks_tls = true;
        let policy = Arc::new(self.client_policy(settings)?);
        if is_bare || rejects {
            let greeting = if rejects { Greeting::Reject } else { Greeting::OfDefault };
            return Ok(Some(Arc::new(Acceptance { greeting, policy })));
        }
        let passwords = self.passwords("ssl_password_file", settings.ssl_password_file.as_ref())?;
        let pairs = self.pairs(settings)?;
        let is_computed = |one: &PemSource| one.template.constant().is_none();
        let is_computed = pairs.iter().any(|(own, key)| is_computed(own) || is_computed(key));
        self.warn(settings);
        let credentials = match is_computed {
            true => Vec::new(),
            false => self.credentials(settings, &pairs, &passwords)?,
        };
        let mut terms = self.server_terms(settings, credentials, Arc::clone(&policy))?;
        if is_computed {
            terms.named =
                pairs.iter().flat_map(|(own, key)| [&own.word, &key.word]).cloned().collect();
        }
        match terms.config() {
            Ok(config) if is_computed => {
                let source = |one: &PemSource| one.template.clone();
                let pairs =
                    pairs.into_iter().map(|(own, key)| (source(own), source(key))).collect();
                let folder = self.conf_prefix.clone();
                let greeting = Greeting::Computed(Computed {
                    base: Arc::new(config),
                    pairs,
                    passwords,
                    folder,
                });
                Ok(Some(Arc::new(Acceptance { greeting, policy })))
            }
            Ok(config) => {
                let greeting = Greeting::Config(Arc::new(config));
                Ok(Some(Arc::new(Acceptance { greeting, policy })))
            }
            Err(fault) => self.tell(Fault::nowhere(format!("TLS cannot be set up: {fault}"))),
        }
    }

    /// A fault of the file that a directive names.
    fn tell_of<R>(&mut self, directive: &str, message: String) -> Result<R, Told> {
        self.tell(Fault::nowhere(message).hint(format!("\"{directive}\" names the file")))
    }

    fn tell<R>(&mut self, fault: Fault) -> Result<R, Told> {
        self.faults.push(fault);
        Err(Told)
    }

    /// What is there for nginx and not for us, where the rest is enough.
    fn warn(&mut self, settings: &Settings) {
        if let Some(word) = &settings.ssl_protocols.older {
            let message = format!("\"{}\" is not supported, ignored", word.text());
            let fault = Fault::warning(word.place, message);
            self.faults
                .push(fault.hint("TLSv1.2 and TLSv1.3 are spoken; older versions are broken"));
        }
        if settings.ssl_stapling.0 && settings.ssl_stapling_file.is_none() {
            let message = "\"ssl_stapling\" ignored, responses are not fetched yet";
            let fault = Fault { level: Level::Warn, ..Fault::nowhere(message) };
            self.faults.push(fault.hint("name a response with \"ssl_stapling_file\""));
        }
        if settings.ssl_early_data.0 {
            let message = "\"ssl_early_data\" ignored, early data is not taken yet";
            self.faults.push(Fault { level: Level::Warn, ..Fault::nowhere(message) });
        }
        let list = String::from_utf8_lossy(&settings.ssl_ecdh_curve.0).into_owned();
        let absent = evaluate_curves(&list).map(|list| list.absent).unwrap_or_default();
        if !absent.is_empty() {
            let message =
                format!("groups of \"ssl_ecdh_curve\" are not there: {}", absent.join(", "));
            self.faults.push(Fault { level: Level::Warn, ..Fault::nowhere(message) });
        }
        let absent = evaluate_ciphers(&String::from_utf8_lossy(&settings.ssl_ciphers.0)).absent;
        if !absent.is_empty() {
            let message = format!("suites of \"ssl_ciphers\" are not there: {}", absent.join(", "));
            self.faults.push(Fault { level: Level::Notice, ..Fault::nowhere(message) });
        }
    }

    /// Each certificate with its key, as they are named.
    fn pairs<'s>(
        &mut self,
        settings: &'s Settings,
    ) -> Result<Vec<(&'s PemSource, &'s PemSource)>, Told> {
        let (certificates, keys) = (&settings.ssl_certificate.0, &settings.ssl_certificate_key.0);
        if keys.len() < certificates.len() {
            let name = certificates.last().map(|one| one.word.text()).unwrap_or_default();
            let message =
                format!("no \"ssl_certificate_key\" is defined for certificate \"{name}\"");
            return self.tell(Fault::nowhere(message));
        }
        Ok(certificates.iter().zip(keys).collect())
    }

    fn credentials(
        &mut self,
        settings: &Settings,
        pairs: &[(&PemSource, &PemSource)],
        passwords: &[Vec<u8>],
    ) -> Result<Vec<Credential>, Told> {
        let staple = match &settings.ssl_stapling_file {
            Some(file) if settings.ssl_stapling.0 => Some(self.staple(file)?),
            _ => None,
        };
        let mut credentials = Vec::new();
        for (certificate, key) in pairs {
            let credential = self.credential(certificate, key, passwords)?;
            credentials.push(match &staple {
                Some(response) => credential.stapled(response.clone()),
                None => credential,
            });
        }
        Ok(credentials)
    }

    fn credential(
        &mut self,
        certificate: &PemSource,
        key: &PemSource,
        passwords: &[Vec<u8>],
    ) -> Result<Credential, Told> {
        let read = |path: &Path| self.world.read(path);
        let files = Files { folder: &self.conf_prefix, read: &read };
        match files.credential(&certificate.word.bytes, &key.word.bytes, passwords) {
            Ok(credential) => Ok(credential),
            Err(LoadFault { message, hint }) => {
                let fault = Fault::nowhere(message);
                self.tell(match hint {
                    Some(hint) => fault.hint(hint),
                    None => fault,
                })
            }
        }
    }

    /// Files of TLS lie beside the main configuration file, as nginx has it.
    fn ssl_path(&self, written: &[u8]) -> PathBuf {
        self.conf_prefix.join(path_of(written))
    }

    fn passwords(&mut self, directive: &str, file: Option<&Text>) -> Result<Vec<Vec<u8>>, Told> {
        let Some(Text(written)) = file else {
            return Ok(Vec::new());
        };
        let path = self.ssl_path(written);
        match self.world.read(&path) {
            Ok(bytes) => {
                let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
                Ok(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
            }
            Err(error) => {
                let (path, reason) = (path.display(), crate::errno_text(&error));
                self.tell_of(directive, format!("open() \"{path}\" failed ({reason})"))
            }
        }
    }

    fn staple(&mut self, file: &Text) -> Result<Vec<u8>, Told> {
        let path = self.ssl_path(&file.0);
        match self.world.read(&path) {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                let named = path.display().to_string();
                let reason = bio_reason(&error, &named);
                let message = format!("BIO_new_file(\"{named}\") failed: {reason}");
                self.tell_of("ssl_stapling_file", message)
            }
        }
    }

    fn client_policy(&mut self, settings: &Settings) -> Result<ClientPolicy, Told> {
        let demand = match settings.ssl_verify_client {
            ssl::Demand::Off => Demand::Off,
            ssl::Demand::On => Demand::Required,
            ssl::Demand::Optional => Demand::Optional,
            ssl::Demand::OptionalNoCa => Demand::OptionalOfAnyone,
        };
        let Number(depth) = settings.ssl_verify_depth;
        let depth = usize::try_from(depth).unwrap_or(usize::MAX);
        let mut policy = ClientPolicy { demand, trust: Trust::new(depth), names: Vec::new() };
        let needs_roots = matches!(demand, Demand::Required | Demand::Optional);
        let roots = [
            ("ssl_client_certificate", &settings.ssl_client_certificate),
            ("ssl_trusted_certificate", &settings.ssl_trusted_certificate),
        ];
        if needs_roots && roots.iter().all(|(_, file)| is_absent(file)) {
            let message =
                "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client";
            return self.tell(Fault::nowhere(message));
        }
        for (at, (directive, file)) in roots.into_iter().enumerate() {
            let names = self.roots(&mut policy.trust, directive, file.as_ref())?;
            if at == 0 {
                policy.names = names;
            }
        }
        self.lists(&mut policy.trust, "ssl_crl", settings.ssl_crl.as_ref())?;
        Ok(policy)
    }

    /// Trusts the roots of a file, and gives their names.
    pub(super) fn roots(
        &mut self,
        trust: &mut Trust,
        directive: &str,
        file: Option<&Text>,
    ) -> Result<Vec<rustls::DistinguishedName>, Told> {
        let Some(Text(written)) = file.filter(|file| !file.0.is_empty()) else {
            return Ok(Vec::new());
        };
        let path = self.ssl_path(written);
        let named = path.display().to_string();
        let reason = match self.world.read(&path) {
            Ok(text) => match trust.add_roots(&text) {
                Ok(names) => return Ok(names),
                Err(fault) => format!("(SSL: {})", trust_reason(fault)),
            },
            Err(error) => bio_reason(&error, &named),
        };
        self.tell_of(
            directive,
            format!("SSL_CTX_load_verify_locations(\"{named}\") failed {reason}"),
        )
    }

    /// Looks certificates up in the lists of a file.
    pub(super) fn lists(
        &mut self,
        trust: &mut Trust,
        directive: &str,
        file: Option<&Text>,
    ) -> Result<(), Told> {
        let Some(Text(written)) = file.filter(|file| !file.0.is_empty()) else {
            return Ok(());
        };
        let path = self.ssl_path(written);
        let named = path.display().to_string();
        let reason = match self.world.read(&path) {
            Ok(text) => match trust.add_lists(&text) {
                Ok(()) => return Ok(()),
                Err(fault) => format!("(SSL: {})", trust_reason(fault)),
            },
            Err(error) => bio_reason(&error, &named),
        };
        self.tell_of(directive, format!("X509_LOOKUP_load_file(\"{named}\") failed {reason}"))
    }

    /// The suites that a list chooses, which must be some (`SSL_CTX_set_cipher_list`).
    fn ciphers(&mut self, directive: &str, list: &[u8]) -> Result<Ciphers, Told> {
        let list = String::from_utf8_lossy(list);
        let ciphers = evaluate_ciphers(&list);
        if !ciphers.is_empty() {
            return Ok(ciphers);
        }
        let message = format!(
            "SSL_CTX_set_cipher_list(\"{list}\") failed (SSL: SSL routines::no cipher match)"
        );
        self.tell(Fault::nowhere(message).hint(format!(
            "\"{directive}\" may choose from six suites of TLS 1.2: ECDHE with AES-GCM or \
             CHACHA20-POLY1305"
        )))
    }

    /// How TLS is spoken to an upstream.
    pub(super) fn dialling(
        &mut self,
        settings: &proxy_ssl::Settings,
    ) -> Result<Arc<Dialling>, Told> {
        self.speaks_tls = true;
        let ciphers = self.ciphers("proxy_ssl_ciphers", &settings.proxy_ssl_ciphers.0)?;
        if let Some(word) = &settings.proxy_ssl_protocols.older {
            let message = format!("\"{}\" is not supported, ignored", word.text());
            self.faults.push(Fault::warning(word.place, message));
        }
        let terms = ClientTerms {
            credential: self.own_credential(settings)?,
            suites: ciphers.suites(),
            tls12: settings.proxy_ssl_protocols.tls12,
            tls13: settings.proxy_ssl_protocols.tls13,
            trust: self.upstream_trust(settings)?,
            sends_name: settings.proxy_ssl_server_name.0,
            resumes: settings.proxy_ssl_session_reuse.0,
        };
        match terms.dialling() {
            Ok(dialling) => Ok(Arc::new(dialling)),
            Err(fault) => self.tell(Fault::nowhere(format!("TLS cannot be set up: {fault}"))),
        }
    }

    fn own_credential(
        &mut self,
        settings: &proxy_ssl::Settings,
    ) -> Result<Option<Credential>, Told> {
        let Some(certificate) = &settings.proxy_ssl_certificate else {
            return Ok(None);
        };
        let Some(key) = &settings.proxy_ssl_certificate_key else {
            let name = certificate.word.text();
            let message =
                format!("no \"proxy_ssl_certificate_key\" is defined for certificate \"{name}\"");
            return self.tell(Fault::nowhere(message));
        };
        for one in [certificate, key] {
            if one.template.constant().is_none() {
                let message = format!("variables in \"{}\" are not supported yet", one.word.text());
                return self.tell(Fault::new(one.word.place, message).hint(
                    "certificates for upstreams are read with the configuration: name a file",
                ));
            }
        }
        let file = settings.proxy_ssl_password_file.as_ref();
        let passwords = self.passwords("proxy_ssl_password_file", file)?;
        self.credential(certificate, key, &passwords).map(Some)
    }

    fn upstream_trust(&mut self, settings: &proxy_ssl::Settings) -> Result<Option<Trust>, Told> {
        if !settings.proxy_ssl_verify.0 {
            return Ok(None);
        }
        let file = settings.proxy_ssl_trusted_certificate.as_ref();
        if file.is_none_or(|Text(name)| name.is_empty()) {
            let message = "no proxy_ssl_trusted_certificate for proxy_ssl_verify";
            return self.tell(Fault::nowhere(message));
        }
        let Number(depth) = settings.proxy_ssl_verify_depth;
        let mut trust = Trust::new(usize::try_from(depth).unwrap_or(usize::MAX));
        self.roots(&mut trust, "proxy_ssl_trusted_certificate", file)?;
        self.lists(&mut trust, "proxy_ssl_crl", settings.proxy_ssl_crl.as_ref())?;
        Ok(Some(trust))
    }

    fn server_terms(
        &mut self,
        settings: &Settings,
        credentials: Vec<Credential>,
        policy: Arc<ClientPolicy>,
    ) -> Result<ServerTerms, Told> {
        let ciphers = self.ciphers("ssl_ciphers", &settings.ssl_ciphers.0)?;
        let list = String::from_utf8_lossy(&settings.ssl_ecdh_curve.0).into_owned();
        let groups = evaluate_curves(&list).map(|list| list.groups).unwrap_or_default();
        if groups.is_empty() {
            let message = format!("SSL_CTX_set1_curves_list(\"{list}\") failed");
            return self.tell(Fault::nowhere(message).hint(
                "\"ssl_ecdh_curve\" may name X25519MLKEM768, SecP256r1MLKEM768, X25519, prime256v1 \
                 and secp384r1",
            ));
        }
        let Size(record_max) = settings.ssl_buffer_size;
        Ok(ServerTerms {
            credentials,
            named: Vec::new(),
            policy,
            suites: ciphers.suites(),
            groups,
            tls12: settings.ssl_protocols.tls12,
            tls13: settings.ssl_protocols.tls13,
            prefers_own_order: settings.ssl_prefer_server_ciphers.0,
            record_max: record_max as usize,
            resumption: self.resumption(settings)?,
        })
    }

    fn resumption(&mut self, settings: &Settings) -> Result<Resumption, Told> {
        let Seconds(timeout_s) = settings.ssl_session_timeout;
        let mut files = Vec::new();
        for Text(written) in &settings.ssl_session_ticket_key.0 {
            files.push(self.ticket_key(written)?.into());
        }
        let cache = match &settings.ssl_session_cache {
            SessionCache::None | SessionCache::Off => None,
            SessionCache::Builtin { sessions } => Some(Cache { name: None, sessions: *sessions }),
            SessionCache::Shared { name, sessions } => {
                Some(Cache { name: Some(name.clone()), sessions: *sessions })
            }
        };
        let tickets = match files.is_empty() {
            _ if !settings.ssl_session_tickets.0 => None,
            true => Some(Tickets::OfProcess),
            false => Some(Tickets::OfFiles(files)),
        };
        Ok(Resumption { tickets, cache, timeout_s })
    }

    fn ticket_key(&mut self, written: &[u8]) -> Result<Vec<u8>, Told> {
        let path = self.ssl_path(written);
        let named = path.display();
        let message = match self.world.read(&path) {
            Ok(key) if matches!(key.len(), 48 | 80) => return Ok(key),
            Ok(_) => format!("\"{named}\" must be 48 or 80 bytes"),
            Err(error) => format!("open() \"{named}\" failed ({})", crate::errno_text(&error)),
        };
        self.tell_of("ssl_session_ticket_key", message)
    }
}

fn is_absent(file: &Option<Text>) -> bool {
    file.as_ref().is_none_or(|Text(name)| name.is_empty())
}

fn trust_reason(fault: TrustFault) -> &'static str {
    match fault {
        TrustFault::Certificates(fault) => certificate_reason(fault),
        TrustFault::NoList => "x509 certificate routines::no crl found",
        TrustFault::BadList => "asn1 encoding routines::wrong tag",
    }
}
