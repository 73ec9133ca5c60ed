//! A certificate and its key, as PEM files have them: read, and seen to belong together, or a cause with what to do.
//!
//! rustls reads as much of a certificate as TLS needs, which is not how long it is valid. webpki looks at that before all else
//! that it checks, so it is asked about a day on which every certificate has expired, and says when this one does.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oneroot_bootconf::Problem;
use oneroot_tree::confine::open_file;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::fingerprint::Fingerprint;

/// Bytes of a file at most; a chain with its comments has a few thousand.
const LARGEST: u64 = 1 << 20;
/// After the last day that a certificate can name (RFC 5280 §4.1.2.5): the year 9999.
const FAR: Duration = Duration::from_secs(300_000_000_000);
/// A validity that ends after this is for ever: the year 3000.
const FOR_EVER: u64 = 32_503_680_000;

/// What to do about a file that is something else.
const IN_PEM: &str =
    "it has to be PEM, which begins with -----BEGIN; `openssl x509` and `openssl pkey` convert other forms";

/// A certificate with the chain below it, and its key.
pub struct Pair {
    /// Seconds since 1970 after which it is not valid any more; none where that is for ever.
    pub valid_until: Option<u64>,
    certified: CertifiedKey,
}

/// Why it can't be shown, as a mistake of a site is told: the file first, and what to do last.
pub fn refused(file: &Path, reason: impl Into<String>, remedy: &str) -> Problem {
    let hint = Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty());
    Problem {
        file: file.display().to_string(),
        line: 0,
        column: 0,
        key: String::new(),
        reason: reason.into(),
        hint,
    }
}

impl Pair {
    /// Reads both files.
    ///
    /// # Errors
    /// Unless they can be read and belong together.
    pub fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, Problem> {
        let chain = chain(certificate)?;
        let no_certificate = |cause| refused(certificate, format!("is no certificate: {cause}"), IN_PEM);
        let valid_until = chain.first().map(valid_until).transpose().map_err(no_certificate)?.flatten();
        let secret = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|cause| no_key(key, &cause))?;
        match CertifiedKey::from_der(chain, secret, provider) {
            Ok(certified) => Ok(Self { valid_until, certified }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(refused(
                certificate,
                format!("does not belong to the key in {}", key.display()),
                "name the key that it was made for; in the file the server's certificate comes first, before its chain",
            )),
            Err(cause) => Err(refused(
                key,
                format!("can't be used: {cause}"),
                "take an ECDSA key (P-256 or P-384), Ed25519, or RSA of 2048 bits or more",
            )),
        }
    }

    /// Nothing, unless it has expired. One that is not valid yet is no mistake: a host without a battery begins in 1970, and its
    /// machines boot all the same.
    ///
    /// # Errors
    /// When nobody would take it any more.
    pub fn in_time(&self, certificate: &Path, now: u64) -> Result<(), Problem> {
        let Some(end) = self.valid_until.filter(|end| *end < now) else { return Ok(()) };
        Err(refused(
            certificate,
            format!("has expired {} days ago", (now - end) / 86_400),
            "renew it, or leave out `certificate` and `key`: the server makes its own then",
        ))
    }

    /// What clients can know it by.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.certified.cert.first().map(AsRef::as_ref).unwrap_or_default())
    }

    /// Shows it to everybody.
    pub fn resolver(self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(SingleCertAndKey::from(self.certified))
    }
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(file)?).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(refused(file, "has no certificate in it", IN_PEM)),
        chain => chain.map_err(|cause| refused(file, format!("is not PEM: {cause}"), IN_PEM)),
    }
}

fn no_key(file: &Path, cause: &pem::Error) -> Problem {
    match cause {
        // One that takes a password is the usual case.
        pem::Error::NoItemsFound => {
            refused(file, "has no private key in it that can be read without a password", IN_PEM)
        }
        cause => refused(file, format!("is not PEM: {cause}"), IN_PEM),
    }
}

fn bytes(file: &Path) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = open_file(file).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    read.map_err(|cause| {
        let remedy = "correct `certificate` and `key` in [server], and let the user that oneroot runs as read the file";
        refused(file, format!("cannot be read: {cause}"), remedy)
    })?;
    Ok(bytes)
}

/// Until when a certificate is valid, as the top of this file says.
fn valid_until(certificate: &CertificateDer<'_>) -> Result<Option<u64>, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let nobody = RootCertStore::empty();
    let looked = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &nobody,
        &[],
        UnixTime::since_unix_epoch(FAR),
        &[],
    );
    match looked {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Ok(Some(not_after.as_secs()).filter(|end| *end < FOR_EVER))
        }
        // It ends before it begins.
        Err(cause @ Error::InvalidCertificate(CertificateError::Expired)) => Err(cause),
        _ => Ok(None),
    }
}
