//! Others' NFS clients (the crate `nfs3_client`, libnfs' programs) against the real server. What they see of a machine's
//! root is what `oneroot export` writes of it (`same.rs`), and no size is too large (`large.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

mod large;
mod same;

use std::process::Command;
use std::time::Duration;

use nfs3_client::nfs3_types::nfs3::{LOOKUP3args, Nfs3Option, diropargs3, fattr3, filename3, nfs_fh3};
use nfs3_client::nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::{Pack, Unpack};
use nfs3_client::tokio::{TokioConnector, TokioIo};
use nfs3_client::{Nfs3Connection, Nfs3ConnectionBuilder};
use oneroot_testkit::{Boot, Host, Lab, Machine, RELAY, Server, SiteFiles, ip};

const PATIENCE: Duration = Duration::from_secs(60);
const SERVER: &str = "192.168.77.1";
type Client = Nfs3Connection<TokioIo<tokio::net::TcpStream>>;

/// Serves a site to one machine, `alpha`, and does something there: whatever is run on its host is that machine.
fn as_machine<T: Send>(mut site: SiteFiles, act: impl FnOnce(&mut Server, Machine, &Boot) -> T + Send) -> T {
    let lab = Lab::new().unwrap();
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    let mut server = Server::start(site).unwrap();
    lab.on_machines(RELAY, |host: &Host| {
        let machine = host.lease(10, PATIENCE).unwrap().unwrap();
        // Programs choose no address of their own: the machine's is to be the one.
        ip(&format!(
            "route replace 192.168.77.0/24 dev {} proto kernel scope link src {}",
            host.nic(),
            machine.address
        ))
        .unwrap();
        let boot = machine.boot().unwrap();
        act(&mut server, machine, &boot)
    })
    .unwrap()
}

fn site() -> SiteFiles {
    SiteFiles::with_source("tar = \"root.tar\"", "192.168.77.100-192.168.77.199", "12h").unwrap()
}

fn on_tokio<T>(act: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(act)
}

/// Mounts by portmapper and MOUNT, as root.
async fn mount(boot: &Boot) -> Client {
    let root = opaque_auth::auth_unix(&auth_unix::default());
    Nfs3ConnectionBuilder::new(TokioConnector, SERVER, &boot.export).credential(root).mount().await.unwrap()
}

/// What the server may leave out, and never does.
fn some<T: Pack + Unpack>(option: Nfs3Option<T>) -> T {
    assert!(option.is_some(), "all of it is at hand, and is told");
    option.unwrap()
}

async fn lookup(client: &mut Client, dir: &nfs_fh3, name: &[u8]) -> (nfs_fh3, fattr3) {
    let what = diropargs3 { dir: dir.clone(), name: filename3::from(name) };
    let found = client.lookup(&LOOKUP3args { what }).await.unwrap().unwrap();
    (found.object, some(found.obj_attributes))
}

fn url(boot: &Boot, path: &str) -> String {
    format!("nfs://{SERVER}{}{path}?nfsport=2049&mountport=2049", boot.export)
}

fn run(program: &str, words: &[&str]) -> Vec<u8> {
    let done = Command::new(program).args(words).output().unwrap();
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}
