//! Who is given which secrets, and until when.

mod making;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oneroot_bootconf::admission::Seen;
use oneroot_bootconf::again::Ask;
use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::secrets::SecretKind;
use oneroot_ids::{Mac, ViewId};
use oneroot_nfsd::{MountError, MountGrant, Refusal, Tree as _};

use super::keeping::SecretChange;
use crate::around::ProbeResult;
use crate::around::made_up::Links;
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
    home: tempfile::TempDir,
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
    let mut lab = Lab { one, other, peer, pin, home };
    lab.other.hear();
    lab
}

/// A boot of the NIC whose root is mounted.
async fn mounted(machines: &Arc<Machines>, peer: IpAddr, mac: Mac) -> Pin {
    machines.boot_script(peer, mac, None, Ask::Whole).await.unwrap();
    let newest = || {
        let index = machines.index();
        let pins = index.pins.values().map(|(pin, _)| pin).filter(|pin| pin.mac == mac);
        pins.max_by_key(|pin| pin.made).cloned().unwrap()
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
    let told: Vec<_> = listed
        .iter()
        .map(|one| (one.name.as_str(), one.kind, one.made.as_ref().unwrap().by.as_str()))
        .collect();
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
    let tree = |peer| lab.one.machines.tree(peer, ViewId(grant.view)).map(drop);
    assert_eq!(tree(elsewhere), Err(Refusal::Acces));
    assert_eq!(tree(lab.peer), Ok(()));
    say(&lab.one, &lab, "secrets-taken").await;
    assert!(tree(lab.peer).is_err(), "it is closed on a mount that is there too");
    assert_eq!(ask(&lab.one, lab.peer, 700, &lab.pin).await, Err(MountError::Acces));
    let told = lab.one.machines.one("alpha").unwrap();
    assert!(format!("{told:?}").contains("secrets were not given"), "{told:?}");
    // The state has it a moment later, so a server that knows nothing of the first's memory gives nothing either.
    let is_written = async || {
        let state = lab.one.machines.state.as_ref();
        let record = crate::secrets::record::SECRETS.get(state, "alpha").await.unwrap().unwrap();
        record.value.closed.contains(&lab.pin.boot)
    };
    while !is_written().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&lab.other, lab.peer, 700, &lab.pin).await, Err(MountError::Acces));
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
    assert_eq!(rotated.made.unwrap().by, "ada");
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
async fn once_all_secrets_are_removed_a_lost_key_file_is_made_anew() {
    let lab = lab().await;
    let machines = &lab.one.machines;
    ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    say(&lab.one, &lab, "secrets-taken").await;
    assert!(machines.has_secrets().await.unwrap());
    for secret in machines.secrets(Some("alpha")).await.unwrap().iter().filter(|secret| secret.made.is_some())
    {
        machines.change_secret("alpha", &secret.name, &SecretChange::Remove, "ada").await.unwrap();
    }
    assert!(!machines.has_secrets().await.unwrap());
    let record = crate::secrets::record::SECRETS.get(machines.state.as_ref(), "alpha").await.unwrap();
    assert!(record.is_some(), "what is closed stays closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_sealed_with_another_key_file_is_left_out_and_keeps_no_other_back() {
    let lab = lab().await;
    set(&lab.one, "token", b"t0ken").await.unwrap();
    let other = SiteSeal::of(&[4; 32]).unwrap().seal("alpha", "token", [1; 12], b"before").unwrap();
    let machines = &lab.one.machines;
    let foreign = |mut record: crate::secrets::record::MachineSecrets| {
        record.kept.get_mut("token").unwrap().sealed = other.clone();
        Ok(Some(record))
    };
    machines.change_secrets("alpha", &foreign).await.unwrap();
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token"), None);
    assert!(read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key").is_some());
    // Set again it is had again, at the next boot.
    set(&lab.one, "token", b"after").await.unwrap();
    let next = mounted(machines, lab.peer, lab.pin.mac).await;
    let grant = ask(&lab.one, lab.peer, 700, &next).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token").unwrap(), b"after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_ones_own_takes_the_place_of_one_that_would_be_made_and_what_is_missing_is_listed() {
    let lab = lab().await;
    let missing = lab.one.machines.secrets(Some("alpha")).await.unwrap();
    let told: Vec<_> =
        missing.iter().map(|one| (one.name.as_str(), one.made.is_some(), one.wanted)).collect();
    assert_eq!(told, [("ssh_host_ed25519_key", false, true), ("token", false, true)]);
    set(&lab.one, "ssh_host_ed25519_key", b"own").await.unwrap();
    set(&lab.one, "tokenn", b"a slip").await.unwrap();
    let listed = lab.one.machines.secrets(None).await.unwrap();
    assert!(listed.iter().any(|one| one.name == "tokenn" && !one.wanted), "{listed:?}");
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key").unwrap(), b"own");
    assert_eq!(read(&lab.one, lab.peer, &grant, "ssh_host_ed25519_key.pub"), None);
    assert_eq!(read(&lab.one, lab.peer, &grant, "tokenn"), None, "the site does not say so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_nobody_has_named_is_given_no_list_of_secrets_and_where_anybody_could_ask_none_is_given() {
    let lab = lab().await;
    let stranger: Mac = "52:54:00:00:00:0f".parse().unwrap();
    let peer = IpAddr::from([10, 0, 0, 78]);
    lab.one.machines.leased(peer, stranger);
    let everybodys =
        site_with(lab.home.path(), true, "[profile.a.secrets]\nx = { kind = \"random\", required = true }\n");
    lab.one.machines.put_site(everybodys);
    let pin = mounted(&lab.one.machines, peer, stranger).await;
    assert!(lab.one.machines.index().plans[&pin.boot].secrets.is_empty());
    assert_eq!(ask(&lab.one, peer, 700, &pin).await, Err(MountError::NoEnt));
    let alpha = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
    assert!(lab.one.machines.index().plans[&alpha.boot].secrets.contains_key("x"));
    assert!(ask(&lab.one, lab.peer, 700, &alpha).await.is_ok());
    // Behind a router of a network where another server gives the addresses, an address is whoever says so.
    let mut proxied = lab.one.machines.site().as_ref().clone();
    proxied.networks.iter_mut().for_each(|network| network.proxy = true);
    lab.one.machines.put_site(Arc::new(proxied));
    lab.one.machines.ask_by(Links::of(Seen::Remote, ProbeResult::Silent));
    assert_eq!(ask(&lab.one, lab.peer, 700, &alpha).await, Err(MountError::Acces));
}
