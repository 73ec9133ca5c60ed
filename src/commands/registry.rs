//! An image in a registry as a source: pulled into an OCI layout of the stage's own, and staged from there
//! (distribution-spec v1.1, *pull*).
//!
//! The layout decides: it is asked for the image's layers, and says which document it misses; that one is fetched, until
//! it misses none. So what a registry sends is checked by the same code as a layout from a disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use indicatif::{HumanBytes, ProgressBar};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use oneroot_bootconf::Registry;
use oneroot_tree::stage::oci::{DOCUMENT_MAX, Descriptor, Digest, Layout, Platform, is_manifest, layers};
use oneroot_tree::store::StagingDir;
use oneroot_tree::{Error, Store};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWrite;

use super::logins;

/// A registry that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// Most documents of one image: one for each platform is more than enough.
const DOCUMENTS: usize = 4096;
const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Pulls the image for this host's platform into a layout that goes away with what is returned.
pub fn pull(registry: &Registry, store: &Store, bar: &ProgressBar) -> Result<StagingDir> {
    let home = store.staging_dir()?;
    fs::create_dir_all(home.path().join("blobs/sha256"))?;
    fs::write(home.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let puller = Puller::new(registry, home.path())?;
    let pulled = runtime.block_on(puller.image(bar));
    pulled.with_context(|| format!("cannot pull {} ({})", registry.image, puller.told))?;
    Ok(home)
}

struct Puller {
    client: Client,
    image: Reference,
    auth: RegistryAuth,
    /// Where the login is from, or where none was.
    told: String,
    home: PathBuf,
}

impl Puller {
    fn new(registry: &Registry, home: &Path) -> Result<Self> {
        // Whoever installed one before has installed this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let image: Reference = registry.image.parse().context("the image's name is not valid")?;
        let config = ClientConfig {
            protocol: if registry.insecure { ClientProtocol::Http } else { ClientProtocol::Https },
            read_timeout: Some(SILENCE),
            connect_timeout: Some(SILENCE),
            user_agent: concat!("oneroot/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).context("cannot make a client")?;
        let uid = rustix::process::geteuid().as_raw();
        let login = logins::login(image.registry(), image.repository(), &|name| std::env::var_os(name), uid)?;
        Ok(Self { client, image, auth: login.auth, told: login.told, home: home.to_owned() })
    }

    async fn image(&self, bar: &ProgressBar) -> Result<()> {
        self.top().await?;
        let layout = Layout::directory(&self.home)?;
        let mut documents = 0;
        let layers = loop {
            match layers(&layout, &Platform::host()) {
                Ok(layers) => break layers,
                Err(Error::NoBlob { digest, media_type, size }) if documents < DOCUMENTS => {
                    documents += 1;
                    if is_manifest(&media_type) {
                        self.manifest(&digest, size).await?;
                    } else {
                        self.blob(&digest, size, |_| {}).await?;
                    }
                }
                Err(cause) => return Err(cause.into()),
            }
        };
        let all: u64 = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
        let mut before = 0u64;
        for Descriptor { digest, size, .. } in &layers {
            let report = |done: u64| {
                let done = HumanBytes(before.saturating_add(done));
                bar.set_message(format!("pulling, {done} of {}", HumanBytes(all)));
            };
            self.blob(digest, *size, report).await?;
            before = before.saturating_add(*size);
        }
        Ok(())
    }

    /// What the name means, as the layout's `index.json`.
    async fn top(&self) -> Result<()> {
        let (bytes, found) = self.client.pull_manifest_raw(&self.image, &self.auth, &ACCEPTED).await?;
        ensure!(bytes.len() as u64 <= DOCUMENT_MAX, "its manifest has {} bytes, too many", bytes.len());
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = serde_json::from_slice(&bytes).context("its manifest is not valid JSON")?;
        // OCI's first version let documents say nothing of themselves.
        let [index, manifest, ..] = ACCEPTED;
        let otherwise = if kind.manifests.is_some() { index } else { manifest };
        let media_type = kind.media_type.unwrap_or_else(|| otherwise.to_owned());
        let digest = Digest::parse(self.image.digest().unwrap_or(&found))?;
        fs::write(self.place(&digest), &bytes)?;
        let descriptor = json!({
            "mediaType": media_type,
            "digest": format!("sha256:{}", digest.hex()),
            "size": bytes.len(),
        });
        fs::write(
            self.home.join("index.json"),
            json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string(),
        )?;
        Ok(())
    }

    async fn manifest(&self, digest: &str, size: u64) -> Result<()> {
        let at = self.image.clone_with_digest(digest.to_owned());
        let (bytes, _) = self.client.pull_manifest_raw(&at, &self.auth, &ACCEPTED).await?;
        ensure!(bytes.len() as u64 == size, "manifest {digest} has {} bytes, not {size}", bytes.len());
        Ok(fs::write(self.place(&Digest::parse(digest)?), &bytes)?)
    }

    async fn blob(&self, digest: &str, size: u64, report: impl Fn(u64) + Unpin) -> Result<()> {
        let path = self.place(&Digest::parse(digest)?);
        if path.exists() {
            return Ok(());
        }
        let mut out = Bounded { file: File::create_new(&path)?, done: 0, size, report };
        self.client
            .pull_blob(&self.image, digest, &mut out)
            .await
            .with_context(|| format!("blob {digest}"))?;
        ensure!(out.done == size, "blob {digest} has {} bytes, not {size}", out.done);
        Ok(())
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.home.join("blobs/sha256").join(digest.hex())
    }
}

/// A file that takes as many bytes as its descriptor said, so that no registry fills the disk.
struct Bounded<R> {
    file: File,
    done: u64,
    size: u64,
    report: R,
}

impl<R: Fn(u64) + Unpin> AsyncWrite for Bounded<R> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() as u64 > self.size - self.done {
            return Poll::Ready(Err(io::Error::other(format!(
                "it has more than the {} bytes it should",
                self.size
            ))));
        }
        // Nothing else waits in this runtime, so a write may block.
        let count = self.file.write(bytes)?;
        self.done += count as u64;
        (self.report)(self.done);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
