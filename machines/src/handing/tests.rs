//! Who is given which secrets, and until when.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oneroot_bootconf::again::Ask;
use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::secrets::SecretKind;
use oneroot_ids::{Mac, ViewId};
use oneroot_nfsd::{MountError, MountGrant, Refusal, Tree as _};

use super::keeping::SecretChange;
use crate::boots::tests_on::{Server, two};
use crate::boots::unknown::tests::site_with;
use crate::error::{Error, SecretRefused};
use crate::machines::Machines;
use crate::secrets::seal::SiteSeal;
use crate::secrets::{LARGEST, MOST};
use crate::views::tree::ProgressReport;

const SECRETS: &str = "[machine.alpha.secrets]\nssh_host_ed25519_key = \"ssh-key\"\ntoken = \"set\"\n";

/// Two servers, and alpha with its root mounted at an address.
struct Lab {
    one: Server,
    other: Server,
    peer: IpAddr,
    pin: Pin,
    _home: tempfile::TempDir,
}

async fn lab() -> Lab {
    let home = tempfile::tempdir().unwrap();
    let ([one, other], _) = two(home.path()).await;
    let site = site_with(home.path(), true, SECRETS);
    let (mac, peer): (Mac, IpAddr) = ("52:54:00:00:00:0a".parse().unwrap(), [10, 0, 0, 77].into());
    for server in [&one, &other] {
        server.machines.seal_by(SiteSeal::of(&[3; 32]).unwrap());
        server.machines.put_site(site.clone());
        server.machines.leased(peer, mac);
    }
    let pin = mounted(&one.machines, peer, mac).await;
    let mut lab = Lab { one, other, peer, pin, _home: home };
    lab.other.hear();
    lab
}

/// A boot of the NIC whose root is mounted.
async fn mounted(machines: &Arc<Machines>, peer: IpAddr, mac: Mac) -> Pin {
    machines.boot_script(peer, mac, None, Ask::Whole).await.unwrap();
    let newest = || {
        let index = machines.index();
        index.pins.values().map(|(pin, _)| pin.clone()).max_by_key(|pin| pin.made).unwrap()
    };
    let pin = newest();
    let path = format!("/v/{}.{}", pin.view, pin.boot);
    machines.mount(SocketAddr::new(peer, 700), path.as_bytes()).await.unwrap();
    newest()
}

async fn ask(server: &Server, from: IpAddr, port: u16, pin: &Pin) -> Result<MountGrant, MountError> {
    server.machines.mount(SocketAddr::new(from, port), format!("/s/{}", pin.boot).as_bytes()).await
}

/// What a file of the secrets has; none where there is no such file.
fn read(server: &Server, peer: IpAddr, grant: &MountGrant, name: &str) -> Option<Vec<u8>> {
    let tree = server.machines.tree(peer, ViewId(grant.view)).unwrap();
    let node = tree.lookup(grant.root, name.as_bytes())?;
    let (attr, object) = (tree.attr(node).unwrap(), tree.object(node).unwrap());
    assert_eq!((attr.mode, attr.uid), (0o400, 0), "nobody else on the machine reads it, were it mounted");
    let (mut bytes, length) = (Vec::new(), usize::try_from(attr.size).unwrap());
    let found = server.machines.objects().append(oneroot_ids::ObjectId(object), 0, length, &mut bytes);
    assert!(found.unwrap().is_none());
    Some(bytes)
}

async fn set(server: &Server, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let change = SecretChange::Set(bytes.to_vec());
    server.machines.change_secret("alpha", name, &change, "ada").await.map(drop)
}

async fn say(server: &Server, lab: &Lab, word: &str) {
    let text = format!("{}.{word}", lab.pin.boot);
    let report = ProgressReport { peer: SocketAddr::new(lab.peer, 700), view: lab.pin.view, text };
    server.machines.heard(&report).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_comes_up_is_given_its_secrets_and_the_same_whenever_it_asks() {
    let lab = lab().await;
    set(&lab.one, "token", b"t0ken").await.unwrap();
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token").unwrap(), b"t0ken");
    let key = read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key").unwrap();
    assert!(key.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    let public = read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key.pub").unwrap();
    let again = ask(&lab.one, lab.peer, 701, &lab.pin).await.unwrap();
    assert_eq!(again.view, grant.view, "a client that asks once more reads on where it was");
    // The other server has the same: what one has made is durable before it is given.
    let there = ask(&lab.other, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.other, lab.peer, &there, "ssh_host_ed25519_key").unwrap(), key);
    let listed = lab.one.machines.secrets(None).await.unwrap();
    let told: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.kind, one.made.by.as_str())).collect();
    let ssh = ("ssh_host_ed25519_key", SecretKind::SshKey, "the server");
    assert_eq!(told, [ssh, ("token", SecretKind::Set, "ada")]);
    assert_eq!(listed[0].public.as_ref().unwrap().as_bytes(), public.trim_ascii_end());
    assert!(lab.one.machines.secrets(Some("beta")).await.unwrap().is_empty());
    // The next boot has the same key, however it asks.
    let next = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
    assert_ne!(next.boot, lab.pin.boot);
    let grant = ask(&lab.one, lab.peer, 700, &next).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key").unwrap(), key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_is_given_them_nor_the_machine_once_it_has_them_on_any_server() {
    let lab = lab().await;
    set(&lab.one, "token", b"t0ken").await.unwrap();
    let elsewhere = IpAddr::from([10, 0, 0, 10]);
    assert_eq!(ask(&lab.one, elsewhere, 700, &lab.pin).await, Err(MountError::Acces));
    assert_eq!(
        ask(&lab.one, lab.peer, 1024, &lab.pin).await,
        Err(MountError::Acces),
        "any user has that port"
    );
    let other = Pin { boot: oneroot_ids::BootId::from_random([9; 8]), ..lab.pin.clone() };
    assert_eq!(ask(&lab.one, lab.peer, 700, &other).await, Err(MountError::NoEnt));
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    let (tree, view) = (|peer| lab.one.machines.tree(peer, ViewId(grant.view)).map(drop), grant.view);
    assert_eq!(tree(elsewhere), Err(Refusal::Acces));
    assert_eq!(tree(lab.peer), Ok(()));
    say(&lab.one, &lab, "secrets-taken").await;
    assert!(tree(lab.peer).is_err(), "it is closed on a mount that is there too");
    assert_eq!(ask(&lab.one, lab.peer, 700, &lab.pin).await, Err(MountError::Acces));
    let told = lab.one.machines.one("alpha").unwrap();
    assert!(format!("{told:?}").contains("secrets were not given"), "{told:?}");
    // The state has it, so a server that knows nothing of the first's memory gives nothing either.
    assert_eq!(ask(&lab.other, lab.peer, 700, &lab.pin).await, Err(MountError::Acces));
    assert_ne!(view, [0; 16]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_closes_is_closed_by_time_and_by_the_machine_being_up() {
    let lab = lab().await;
    set(&lab.one, "token", b"t0ken").await.unwrap();
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    lab.one.clock.pass(599);
    assert!(ask(&lab.one, lab.peer, 700, &lab.pin).await.is_ok());
    lab.one.clock.pass(1);
    assert!(lab.one.machines.tree(lab.peer, ViewId(grant.view)).is_err());
    assert_eq!(ask(&lab.one, lab.peer, 700, &lab.pin).await, Err(MountError::Acces));
    say(&lab.other, &lab, "up").await;
    assert_eq!(
        ask(&lab.other, lab.peer, 700, &lab.pin).await,
        Err(MountError::Acces),
        "its clock has not passed"
    );
    lab.one.machines.tick().await;
    let object = oneroot_ids::ObjectId(*blake3::hash(b"t0ken").as_bytes());
    assert!(
        lab.one.machines.objects().append(object, 0, 5, &mut Vec::new()).is_err(),
        "it is in no memory any more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_sets_rotates_and_removes_them_and_sees_none() {
    let lab = lab().await;
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    let key = read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key").unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token"), None, "nobody has set it");
    let change = async |machine: &str, name: &str, change: SecretChange| {
        lab.one.machines.change_secret(machine, name, &change, "ada").await
    };
    let rotated = change("alpha", "ssh_host_ed25519_key", SecretChange::Rotate).await.unwrap().unwrap();
    assert_eq!(rotated.made.by, "ada");
    // What was open stays as it was: half an old key and half a new one would be none.
    assert_eq!(read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key").unwrap(), key);
    let next = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
    let grant = ask(&lab.one, lab.peer, 700, &next).await.unwrap();
    assert_ne!(read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key").unwrap(), key);
    set(&lab.one, "token", b"t0ken").await.unwrap();
    let refused =
        async |machine: &str, name: &str, asked: SecretChange| match change(machine, name, asked).await {
            Err(Error::Secret(cause)) => cause,
            other => panic!("{other:?}"),
        };
    assert!(matches!(refused("alpha", "token", SecretChange::Rotate).await, SecretRefused::NotMade(_)));
    assert!(matches!(refused("alpha", "x", SecretChange::Remove).await, SecretRefused::NoSuchSecret { .. }));
    assert!(matches!(refused("alpha", "x/y", SecretChange::Set(vec![1])).await, SecretRefused::Words(_)));
    assert!(matches!(refused("alpha", "x", SecretChange::Set(vec![])).await, SecretRefused::Empty));
    let large = SecretChange::Set(vec![0; LARGEST + 1]);
    assert!(matches!(refused("alpha", "x", large).await, SecretRefused::TooLarge(_)));
    assert!(matches!(
        refused("beta", "x", SecretChange::Set(vec![1])).await,
        SecretRefused::NoSuchMachine(_)
    ));
    assert_eq!(change("alpha", "token", SecretChange::Remove).await.unwrap(), None);
    for number in 1..MOST {
        set(&lab.one, &format!("s{number}"), &[1; LARGEST]).await.unwrap();
    }
    assert!(matches!(refused("alpha", "more", SecretChange::Set(vec![1])).await, SecretRefused::TooMany(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_key_file_they_were_sealed_with_none_is_given_and_nothing_is_lost() {
    let lab = lab().await;
    set(&lab.one, "token", b"t0ken").await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let ([third, _], _) = two(home.path()).await;
    assert!(matches!(
        third.machines.change_secret("alpha", "token", &SecretChange::Set(vec![1]), "ada").await,
        Err(Error::NoSiteSeal)
    ));
    // Another key: the record opens by none but its own.
    let record =
        crate::secrets::record::SECRETS.get(lab.one.machines.state.as_ref(), "alpha").await.unwrap().unwrap();
    let sealed = &record.value.kept["token"].sealed;
    assert!(SiteSeal::of(&[4; 32]).unwrap().open("alpha", "token", sealed).is_none());
    assert_eq!(SiteSeal::of(&[3; 32]).unwrap().open("alpha", "token", sealed).unwrap(), b"t0ken");
}
