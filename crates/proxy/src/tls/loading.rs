//! A certificate and its key from what the configuration names: files, or the text itself.
//!
//! Faults are worded as nginx words them, without OpenSSL's numbers. How a file is read is the
//! caller's: with the configuration, or by the worker in a handshake.

use super::credential::{Credential, CredentialFault};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why there is no certificate, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFault {
    pub message: String,
    pub hint: Option<String>,
}

impl LoadFault {
    fn new(message: String) -> Self {
        Self { message, hint: None }
    }
}

/// Where files of TLS lie, and how they are read.
pub struct Files<'f> {
    /// The folder of the main configuration file, as nginx has it.
    pub folder: &'f Path,
    pub read: &'f dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl Files<'_> {
    /// Reads a certificate and its key; each is a path, or `data:` and the text in PEM.
    pub fn credential(
        &self,
        certificate: &[u8],
        key: &[u8],
        passwords: &[Vec<u8>],
    ) -> Result<Credential, LoadFault> {
        let (of_certificate, of_key) = (self.named(certificate), self.named(key));
        let chain = self.pem(certificate, "certificate", &of_certificate)?;
        let secret = self.pem(key, "certificate key", &of_key)?;
        Credential::read(&chain, &secret, passwords)
            .map_err(|fault| credential_fault(fault, &of_certificate, &of_key))
    }

    fn path(&self, written: &[u8]) -> PathBuf {
        self.folder.join(OsStr::from_bytes(written))
    }

    fn named(&self, written: &[u8]) -> String {
        match written.strip_prefix(b"data:") {
            Some(_) => "data:...".to_owned(),
            None => self.path(written).display().to_string(),
        }
    }

    /// What a file or `data:` holds.
    fn pem(&self, written: &[u8], what: &str, named: &str) -> Result<Vec<u8>, LoadFault> {
        if let Some(text) = written.strip_prefix(b"data:") {
            return Ok(text.to_vec());
        }
        (self.read)(&self.path(written)).map_err(|error| {
            let reason = bio_reason(&error, named);
            LoadFault::new(format!("cannot load {what} \"{named}\": {reason}"))
        })
    }
}

fn credential_fault(fault: CredentialFault, certificate: &str, key: &str) -> LoadFault {
    let of_certificate = |reason: &str| {
        let message = format!(
            "cannot load certificate \"{certificate}\": PEM_read_bio_X509_AUX() failed (SSL: {reason})"
        );
        LoadFault::new(message)
    };
    match fault {
        CredentialFault::Pem(_)
        | CredentialFault::NoCertificate
        | CredentialFault::BadCertificate => of_certificate(certificate_reason(fault)),
        CredentialFault::Key(fault) => {
            let reason = fault.reason();
            let message = format!(
                "cannot load certificate key \"{key}\": PEM_read_bio_PrivateKey() failed (SSL: {reason})"
            );
            LoadFault { message, hint: Some(fault.hint().to_owned()) }
        }
        CredentialFault::Mismatch => {
            let message = format!(
                "SSL_CTX_use_PrivateKey(\"{key}\") failed (SSL: x509 certificate routines::key values \
                 mismatch)"
            );
            LoadFault { message, hint: Some(format!("the key is not that of \"{certificate}\"")) }
        }
    }
}

/// What OpenSSL says of a file that holds no certificates.
pub fn certificate_reason(fault: CredentialFault) -> &'static str {
    match fault {
        CredentialFault::Pem(fault) => fault.reason(),
        CredentialFault::NoCertificate => {
            "PEM routines::no start line:Expecting: TRUSTED CERTIFICATE"
        }
        _ => "asn1 encoding routines::wrong tag",
    }
}

/// What OpenSSL says of a file that it cannot open.
pub fn bio_reason(error: &io::Error, path: &str) -> String {
    let words = crate::error_text(error);
    let code = error.raw_os_error().unwrap_or(0);
    let (number, name) = match error.kind() {
        io::ErrorKind::NotFound => ("10000080", "no such file"),
        _ => ("10080002", "system lib"),
    };
    format!(
        "BIO_new_file() failed (SSL: error:8{code:07X}:system library::{words}:calling fopen({path}, r) \
         error:{number}:BIO routines::{name})"
    )
}
