//! The server's own certificate, for sites that have none: made once, and kept in the state directory. Nobody vouches for it, so
//! clients know it by its fingerprint; that is why it is valid for ever, and not made anew.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use oneroot_bootconf::Problem;
use oneroot_tree::NewFile;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::pair::{Pair, refused};
use super::provider;

/// The certificate, in the state directory.
pub const CERTIFICATE: &str = "https-certificate.pem";
/// And its key.
pub const KEY: &str = "https-key.pem";

/// The certificate in this state directory; where there is none, a new one for these addresses.
pub fn own(state: &Path, addresses: &[IpAddr]) -> Result<Pair, Problem> {
    let (certificate, key) = (state.join(CERTIFICATE), state.join(KEY));
    // It comes last: where it is not, whoever began to make the two has not come to an end.
    if std::fs::symlink_metadata(&certificate)
        .is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotFound)
    {
        let made = make(addresses).map_err(|cause| failed(&certificate, &cause))?;
        for (file, pem) in [(&key, &made.1), (&certificate, &made.0)] {
            write(file, pem).map_err(|cause| failed(file, &cause))?;
        }
    }
    Pair::read(&certificate, &key, &provider())
}

fn failed(file: &Path, cause: &dyn std::fmt::Display) -> Problem {
    let remedy = "make room in the state directory, or name a `certificate` and its `key` in [server]";
    refused(file, format!("cannot be made: {cause:#}"), remedy)
}

/// A certificate and its key, in PEM.
fn make(addresses: &[IpAddr]) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "oneroot");
    // For clients that are given the certificate itself, and look for the address in it.
    params.subject_alt_names = addresses.iter().copied().map(SanType::IpAddress).collect();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// For its owner alone, and whole when it has its name.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let new = NewFile::begin(file, true)?;
    new.file().write_all(text.as_bytes())?;
    Ok(new.keep()?)
}
