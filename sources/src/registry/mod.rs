//! An image in a registry as a source: pulled into an OCI layout of the stage's own, and staged from there
//! (distribution-spec v1.1, *pull*).
//!
//! The layout decides: it is asked for the image's layers, and says which document it misses; that one is fetched, until
//! it misses none. So what a registry sends is checked by the same code as a layout from a disk.

mod logins;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use oneroot_bootconf::Registry;
use oneroot_tree::stage::oci::{DOCUMENT_MAX, Descriptor, Digest, Layout, Platform, is_manifest, layers};
use oneroot_tree::store::StagingDir;
use oneroot_tree::{Stage, Store};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWrite;

use crate::error::{Error, Lack, Result};
use crate::{Host, Progress, Run, Source};

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

/// An image in a registry.
pub struct Remote<'s>(pub &'s Registry);

impl Source for Remote<'_> {
    /// Whether the registry has it, only the registry knows.
    fn lacks(&self, _: &Host<'_>) -> Option<Lack> {
        None
    }

    fn stage(&self, stage: &mut Stage<'_>, run: &Run<'_>) -> Result<()> {
        let pulled = pull(self.0, stage.store(), run)?;
        stage.oci(pulled.path(), &Platform::host()).map_err(Error::from_what(&self.0.image))
    }
}

/// Pulls the image for this host's platform into a layout that goes away with what is returned.
fn pull(registry: &Registry, store: &Store, run: &Run<'_>) -> Result<StagingDir> {
    let home = store.staging_dir()?;
    let layout = home.path();
    fs::create_dir_all(layout.join("blobs/sha256")).map_err(Error::io("write the image"))?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .map_err(Error::io("write the image"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("start the runtime"))?;
    let puller = Puller::new(registry, layout, run.host)?;
    let pulled = runtime.block_on(puller.image(run.progress));
    pulled.map_err(|cause| Error::Pull {
        image: registry.image.clone(),
        login: puller.login,
        cause: Box::new(cause),
    })?;
    Ok(home)
}

struct Puller {
    client: Client,
    image: Reference,
    auth: RegistryAuth,
    /// Where the login is from, or where none was.
    login: String,
    home: PathBuf,
}

impl Puller {
    fn new(registry: &Registry, layout: &Path, host: &Host<'_>) -> Result<Self> {
        // Whoever installed one before has installed this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let image: Reference = registry.image.parse().map_err(Error::Name)?;
        let config = ClientConfig {
            protocol: if registry.insecure { ClientProtocol::Http } else { ClientProtocol::Https },
            read_timeout: Some(SILENCE),
            connect_timeout: Some(SILENCE),
            user_agent: concat!("oneroot/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|cause| Error::Client(Box::new(cause)))?;
        let login = logins::login(image.registry(), image.repository(), host)?;
        Ok(Self { client, image, auth: login.auth, login: login.told, home: layout.to_owned() })
    }

    async fn image(&self, progress: &dyn Progress) -> Result<()> {
        self.top().await?;
        let layout = Layout::directory(&self.home)?;
        let mut documents = 0;
        let layers = loop {
            match layers(&layout, &Platform::host()) {
                Ok(layers) => break layers,
                Err(oneroot_tree::Error::NoBlob { digest, media_type, size }) if documents < DOCUMENTS => {
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
            let report = |done: u64| progress.pulled(before.saturating_add(done), all);
            self.blob(digest, *size, report).await?;
            before = before.saturating_add(*size);
        }
        Ok(())
    }

    /// What the name means, as the layout's `index.json`.
    async fn top(&self) -> Result<()> {
        let pulled = self.client.pull_manifest_raw(&self.image, &self.auth, &ACCEPTED).await;
        let (bytes, found) = pulled.map_err(Box::new)?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            return Err(Error::TooLong(bytes.len()));
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = serde_json::from_slice(&bytes).map_err(Error::Manifest)?;
        // OCI's first version let documents say nothing of themselves.
        let [index, manifest, ..] = ACCEPTED;
        let otherwise = if kind.manifests.is_some() { index } else { manifest };
        let media_type = kind.media_type.unwrap_or_else(|| otherwise.to_owned());
        // The site's digest counts before what the registry says of itself: the layout holds the bytes against it.
        let digest = Digest::parse(self.image.digest().unwrap_or(&found))?;
        fs::write(self.place(&digest), &bytes).map_err(Error::io("write the image"))?;
        let descriptor = json!({
            "mediaType": media_type,
            "digest": format!("sha256:{}", digest.hex()),
            "size": bytes.len(),
        });
        fs::write(
            self.home.join("index.json"),
            json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string(),
        )
        .map_err(Error::io("write the image"))
    }

    async fn manifest(&self, digest: &str, size: u64) -> Result<()> {
        let at = self.image.clone_with_digest(digest.to_owned());
        let pulled = self.client.pull_manifest_raw(&at, &self.auth, &ACCEPTED).await;
        let (bytes, _) = pulled.map_err(Box::new)?;
        of_size(format!("manifest {digest}"), bytes.len() as u64, size)?;
        fs::write(self.place(&Digest::parse(digest)?), &bytes).map_err(Error::io("write the image"))
    }

    async fn blob(&self, digest: &str, size: u64, report: impl Fn(u64) + Unpin) -> Result<()> {
        let path = self.place(&Digest::parse(digest)?);
        // An image may have the same layer twice.
        if path.exists() {
            return Ok(());
        }
        let file = File::create_new(&path).map_err(Error::io("write the image"))?;
        let mut out = Bounded { file, done: 0, size, report };
        // Without the login: the client has it from the manifest, which is asked for first.
        let pulled = self.client.pull_blob(&self.image, digest, &mut out).await;
        pulled.map_err(|cause| Error::Blob { digest: digest.to_owned(), cause: Box::new(cause) })?;
        of_size(format!("blob {digest}"), out.done, size)
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.home.join("blobs/sha256").join(digest.hex())
    }
}

fn of_size(what: String, is: u64, told: u64) -> Result<()> {
    if is == told { Ok(()) } else { Err(Error::Size { what, is, told }) }
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
