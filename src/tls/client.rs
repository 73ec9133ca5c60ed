//! TLS as a client: whom it takes for the server that was asked. An authority's word for the name, as the system has it; or a
//! certificate that is known by its fingerprint, and then nothing else: not its name, not its dates, not who has signed it.
//! Whoever shows it must have its key in either case.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use oneroot_ids::same;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use super::fingerprint::Fingerprint;
use super::{ALPN, provider};

/// Whom a client takes for its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Whoever an authority that this system trusts says has the name.
    System,
    /// Whoever has the key of the certificate with this fingerprint.
    Pinned(Fingerprint),
}

/// How a client that trusts so speaks.
///
/// # Errors
/// This system has no authorities' certificates.
pub fn client(trust: Trust) -> Result<ClientConfig> {
    match trust {
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            ensure!(
                !found.certs.is_empty(),
                "this system has no authorities' certificates; install ca-certificates, or give the server's fingerprint"
            );
            trusting(found.certs)
        }
        Trust::Pinned(fingerprint) => {
            let verifier = Arc::new(Pinned { fingerprint, provider: provider() });
            let config = versions()?.dangerous().with_custom_certificate_verifier(verifier);
            Ok(speaking(config.with_no_client_auth()))
        }
    }
}

/// One that trusts these authorities.
fn trusting(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(authorities);
    ensure!(taken > 0, "none of this system's authorities' certificates can be read");
    Ok(speaking(versions()?.with_root_certificates(roots).with_no_client_auth()))
}

fn versions() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&versions).context("no TLS")
}

fn speaking(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// Takes one certificate, by its fingerprint.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

/// Another certificate was shown.
#[derive(Debug)]
struct AnotherOne(Fingerprint);

impl fmt::Display for AnotherOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server shows another certificate than the one that was asked for: its fingerprint is {}; if `oneroot status` \
             on the server says the same, ask for that one",
            self.0
        )
    }
}

impl std::error::Error for AnotherOne {}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint::of(end_entity);
        if same(&shown.0, &self.fingerprint.0) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::Other(OtherError(Arc::new(AnotherOne(shown)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ServerConfig, SupportedProtocolVersion};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

    fn address() -> ServerName<'static> {
        ServerName::try_from("192.168.77.1").unwrap()
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress("192.168.77.1".parse().unwrap())];
        params
    }

    fn self_made() -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params().self_signed(&key).unwrap().der().clone(), key)
    }

    /// A server that shows this certificate and signs by this key, whether they belong together or not.
    fn server(
        shown: &CertificateDer<'static>,
        key: &KeyPair,
        version: &'static SupportedProtocolVersion,
    ) -> ServerConfig {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![shown.clone()], key));
        ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver))
    }

    /// Whether the two come together; why not, as the client has it.
    async fn meet(client: ClientConfig, server: ServerConfig) -> Result<(), String> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let accepting = tokio::spawn(TlsAcceptor::from(Arc::new(server)).accept(theirs));
        let connected = TlsConnector::from(Arc::new(client)).connect(address(), ours).await;
        let told = connected.map(drop).map_err(|cause| cause.to_string());
        let _ = accepting.await.unwrap();
        told
    }

    #[tokio::test]
    async fn the_certificate_that_was_asked_for_is_taken_whoever_has_signed_it_and_no_other() {
        let ((right, key), (other, others)) = (self_made(), self_made());
        let pinned = || client(Trust::Pinned(Fingerprint::of(&right))).unwrap();
        for version in VERSIONS {
            assert_eq!(meet(pinned(), server(&right, &key, version)).await, Ok(()));
            let told = meet(pinned(), server(&other, &others, version)).await.unwrap_err();
            let shown = Fingerprint::of(&other).to_string();
            assert!(told.contains("another certificate") && told.contains(&shown), "{told}");
        }
    }

    #[tokio::test]
    async fn whoever_shows_the_right_certificate_without_its_key_is_not_taken_for_the_server() {
        let ((right, _), (_, others)) = (self_made(), self_made());
        for version in VERSIONS {
            let pinned = client(Trust::Pinned(Fingerprint::of(&right))).unwrap();
            let told = meet(pinned, server(&right, &others, version)).await.unwrap_err();
            assert!(told.contains("BadSignature"), "{told}");
        }
    }

    #[tokio::test]
    async fn an_authority_that_is_trusted_vouches_for_its_names_and_for_those_alone() {
        let authority = KeyPair::generate().unwrap();
        let mut of_authority = CertificateParams::default();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = of_authority.self_signed(&authority).unwrap().der().clone();
        let issuer = Issuer::new(of_authority, authority);
        let key = KeyPair::generate().unwrap();
        let signed = |names| {
            let mut params = CertificateParams::default();
            params.subject_alt_names = names;
            params.signed_by(&key, &issuer).unwrap().der().clone()
        };
        let good = signed(params().subject_alt_names);
        let elsewhere = signed(vec![SanType::IpAddress("192.168.77.2".parse().unwrap())]);
        let (own, owns) = self_made();
        for version in VERSIONS {
            let trusting = || trusting(vec![root.clone()]).unwrap();
            assert_eq!(meet(trusting(), server(&good, &key, version)).await, Ok(()));
            for (shown, key) in [(&elsewhere, &key), (&own, &owns)] {
                let told = meet(trusting(), server(shown, key, version)).await.unwrap_err();
                assert!(told.contains("invalid peer certificate"), "{told}");
            }
        }
    }

    #[test]
    fn a_system_without_authorities_is_told_what_to_do() {
        let told = trusting(Vec::new()).unwrap_err().to_string();
        assert!(told.contains("authorities"), "{told}");
        assert!(
            client(Trust::System).is_ok()
                || !std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists()
        );
    }
}
