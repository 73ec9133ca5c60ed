//! HTTPS (docs/decisions/0019-https-and-access-tokens.md): the certificate that the server shows, and where it comes from.
//!
//! The cryptography is *ring*, by rustls, as in `sources`; TLS 1.2 and 1.3, and nothing but HTTP/1.1 inside.

mod client;
mod fingerprint;
mod made;
mod pair;

use std::sync::{Arc, PoisonError, RwLock};

use oneroot_bootconf::{Certificate, Problem, Site};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use serde::{Deserialize, Serialize};

use crate::clock;
pub use client::{Trust, client};
pub use fingerprint::Fingerprint;
use pair::{Pair, refused};

/// What a client may say that it wants to speak (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// What `status` says of HTTPS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HttpsStatus {
    /// The port.
    pub port: u16,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` writes it.
    pub fingerprint: String,
    /// Whether the server has made the certificate itself.
    pub self_made: bool,
    /// Until when it is valid, seconds since 1970; none where that is so far off that nobody need think of it.
    pub valid_until: Option<u64>,
}

/// What connections are taken with from now on.
pub struct Shown {
    config: Arc<ServerConfig>,
    status: HttpsStatus,
}

/// The certificate in force: a reload puts another in its place, and connections that there are keep theirs.
pub struct Https(RwLock<Option<Arc<Shown>>>);

impl Https {
    /// For a site that has a port for it; else nothing is ever shown.
    ///
    /// # Errors
    /// Why the certificate of the site can't be shown, with what to do.
    pub fn open(site: &Site) -> Result<Self, Problem> {
        Ok(Self(RwLock::new(Shown::of(site)?.map(Arc::new))))
    }

    /// What a new connection is taken with.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.shown().map(|shown| shown.config.clone())
    }

    /// What `status` says of it.
    pub fn status(&self) -> Option<HttpsStatus> {
        self.shown().map(|shown| shown.status.clone())
    }

    /// Shows this to connections that come from now on.
    pub fn put(&self, shown: Option<Shown>) {
        let before = self.shown();
        let shown = shown.map(Arc::new);
        let print = |shown: &Option<Arc<Shown>>| shown.as_ref().map(|one| one.status.fingerprint.clone());
        if print(&before) != print(&shown) {
            shown.iter().for_each(|shown| shown.tell());
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// Says in the log what clients can check the server by.
    pub fn tell(&self) {
        self.shown().iter().for_each(|shown| shown.tell());
    }

    fn shown(&self) -> Option<Arc<Shown>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shown {
    /// What a site says is to be shown; the server's own certificate, which is made where there is none, if it says nothing.
    ///
    /// # Errors
    /// As [`Https::open`].
    pub fn of(site: &Site) -> Result<Option<Self>, Problem> {
        let Some(https) = &site.server.https else { return Ok(None) };
        let (pair, self_made) = match &https.certificate {
            Some(named) => (read(named)?, false),
            None => (made::own(&site.server.state, &site.server_addresses())?, true),
        };
        let status = HttpsStatus {
            port: https.port,
            fingerprint: pair.fingerprint().to_string(),
            self_made,
            valid_until: pair.valid_until,
        };
        let config = config(pair).map_err(|cause| refused(&site.server.state, cause.to_string(), ""))?;
        Ok(Some(Self { config: Arc::new(config), status }))
    }

    fn tell(&self) {
        let HttpsStatus { port, fingerprint, self_made, .. } = &self.status;
        let whose = if *self_made {
            "a certificate that this server has made itself"
        } else {
            "the site's certificate"
        };
        tracing::info!(port, fingerprint = %fingerprint, "HTTPS is served with {whose}; clients can check it by its SHA-256 fingerprint");
    }
}

/// What is wrong with the certificate that a site names: `check` and a reload ask this. One that the server would make itself is
/// not made for the question.
pub fn problems(site: &Site) -> Vec<Problem> {
    let named = site.server.https.as_ref().and_then(|https| https.certificate.as_ref());
    named.and_then(|named| read(named).err()).into_iter().collect()
}

fn read(named: &Certificate) -> Result<Pair, Problem> {
    let pair = Pair::read(&named.certificate, &named.key, &provider())?;
    pair.in_time(&named.certificate, clock::since_1970().as_secs())?;
    Ok(pair)
}

/// The one that all of TLS here is done with.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn config(pair: Pair) -> Result<ServerConfig, rustls::Error> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let made = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&versions)?;
    let mut config = made.with_no_client_auth().with_cert_resolver(pair.resolver());
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
