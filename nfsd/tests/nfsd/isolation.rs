//! Many machines and one service: nobody gets anything by another's handle, whatever is asked.
//!
//! Who may use what is the shell's (tests of `machines/src` have its rules). Here it is a table, and what is tested is
//! that the service asks it about the right peer and view on every call, and says nothing but the answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use oneroot_nfsd::{
    Exports, Handle, MountError, NodeId, Policy, PortTable, Ports, Refusal, Replies, Service, Step,
    Transport, ViewId,
};

use crate::wire::{self, Cred, opaque, u32s};
use crate::world::{World, keyring};

const MACHINES: u8 = 40;
const ACCES: u32 = 13;

/// A name that was looked up in vain: by whom, where.
type Missed = (SocketAddr, NodeId, Vec<u8>);

/// Machine `n` is at 10.1.0.n and has booted view n.
struct Park(Arc<World>, Arc<Mutex<Vec<Missed>>>);

fn address(machine: u8) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, machine).into()
}

fn view(machine: u8) -> ViewId {
    [machine; 16]
}

fn path(machine: u8) -> Vec<u8> {
    format!("/v/{machine}").into_bytes()
}

impl Exports for Park {
    type Tree = World;

    fn tree(&self, peer: IpAddr, view: ViewId) -> Result<Arc<World>, Refusal> {
        let [.., machine] = view;
        if address(machine) == peer { Ok(Arc::clone(&self.0)) } else { Err(Refusal::Acces) }
    }

    fn missed(&self, peer: SocketAddr, _: &World, dir: NodeId, name: &[u8]) {
        self.1.lock().unwrap().push((peer, dir, name.to_vec()));
    }

    fn mounts(&self, peer: IpAddr) -> Vec<Vec<u8>> {
        (0..MACHINES).filter(|machine| address(*machine) == peer).map(path).collect()
    }
}

fn park() -> Service<Park> {
    heard_by(Arc::default())
}

fn heard_by(missed: Arc<Mutex<Vec<Missed>>>) -> Service<Park> {
    let ports = Ports { nfs: 2049, mount: 2049, portmap_tcp: None, portmap_udp: None };
    Service::new(Park(Arc::new(World::new()), missed), keyring(), PortTable::new(ports), Policy::default())
}

/// Peers as IPv4 and as a dual-stack socket names them.
fn peers(machine: u8) -> [SocketAddr; 2] {
    let IpAddr::V4(v4) = address(machine) else { panic!("IPv4") };
    [SocketAddr::new(v4.into(), 700), SocketAddr::new(v4.to_ipv6_mapped().into(), 700)]
}

/// Every procedure that takes one handle, with good arguments: program, procedure, what follows the handle, and how many
/// words follow the status of a failure, each of them a zero that says "no attributes".
fn procedures() -> Vec<(u32, u32, Vec<u8>, usize)> {
    let name = opaque(b"etc");
    let zeros = |words: usize| u32s(&vec![0; words]);
    vec![
        (100_003, 1, vec![], 0),
        (100_003, 2, zeros(7), 2),
        (100_003, 3, name.clone(), 1),
        (100_003, 4, u32s(&[0x3f]), 1),
        (100_003, 5, vec![], 1),
        (100_003, 6, u32s(&[0, 0, 4096]), 1),
        (100_003, 7, zeros(5), 2),
        (100_003, 8, [name.clone(), zeros(7)].concat(), 2),
        (100_003, 9, [name.clone(), zeros(6)].concat(), 2),
        (100_003, 10, [name.clone(), zeros(6), name.clone()].concat(), 2),
        (100_003, 11, [name.clone(), u32s(&[7]), zeros(6)].concat(), 2),
        (100_003, 12, name.clone(), 2),
        (100_003, 13, name, 2),
        (100_003, 16, u32s(&[0, 0, 0, 0, 4096]), 1),
        (100_003, 17, u32s(&[0, 0, 0, 0, 4096, 8192]), 1),
        (100_003, 18, vec![], 1),
        (100_003, 19, vec![], 1),
        (100_003, 20, vec![], 1),
        (100_003, 21, zeros(3), 2),
        (100_227, 1, u32s(&[0x0f]), 1),
        (100_227, 2, zeros(1), 1),
    ]
}

fn answer(service: &Service<Park>, peer: SocketAddr, message: &[u8]) -> Vec<u8> {
    let mut out = Replies::new();
    assert_eq!(service.call(peer, Transport::Tcp, message, &mut out), Step::Answered);
    assert!(out.ranges().is_empty(), "contents for {peer}");
    wire::unmarked(&wire::sent(&out)).remove(0)
}

/// As root, for root is whom a machine's modes do not stop.
#[test]
fn another_machines_good_handle_gives_acces_and_not_one_attribute_to_every_procedure() {
    let (service, root, mut refused) = (park(), World::new().find("/"), 0);
    let handles: Vec<Vec<u8>> = (0..MACHINES)
        .map(|machine| opaque(&keyring().seal(Handle { view: view(machine), node: root })))
        .collect();
    for asking in 0..MACHINES {
        for owner in (0..MACHINES).filter(|owner| *owner != asking) {
            for (program, procedure, rest, zeros) in procedures() {
                let args = [handles[usize::from(owner)].clone(), rest].concat();
                let call = wire::call(9, [program, 3, procedure], &Cred::sys(0, 0, &[]), &args);
                let due = [u32s(&[9, 1, 0, 0, 0, 0, ACCES]), u32s(&vec![0; zeros])].concat();
                let peer = peers(asking)[usize::from(owner % 2)];
                assert_eq!(answer(&service, peer, &call), due, "{peer} {program} {procedure}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 40 * 39 * 21);
}

/// The table is no wall: with its own handle, from either form of its address, a machine gets an answer.
#[test]
fn a_machines_own_handle_is_good_from_either_form_of_its_address() {
    let (service, root) = (park(), World::new().find("/"));
    for machine in 0..MACHINES {
        let handle = opaque(&keyring().seal(Handle { view: view(machine), node: root }));
        for peer in peers(machine) {
            let call = wire::call(9, [100_003, 3, 1], &Cred::sys(0, 0, &[]), &handle);
            assert_eq!(answer(&service, peer, &call)[24..28], [0; 4], "{peer}");
        }
    }
}

/// RENAME and LINK have two: one of one's own opens no door for the other.
#[test]
fn ones_own_handle_beside_anothers_tells_nothing_of_the_other() {
    let (service, root) = (park(), World::new().find("/"));
    let handle = |machine| opaque(&keyring().seal(Handle { view: view(machine), node: root }));
    let name = opaque(b"etc");
    for (asking, owner) in (0..MACHINES).flat_map(|asking| (0..MACHINES).map(move |owner| (asking, owner))) {
        if asking == owner {
            continue;
        }
        let (own, others) = (handle(asking), handle(owner));
        let rename = [own.clone(), name.clone(), others.clone(), name.clone()].concat();
        let link = [own, others, name.clone()].concat();
        for (procedure, args) in [(14, rename), (15, link)] {
            let call = wire::call(9, [100_003, 3, procedure], &Cred::sys(0, 0, &[]), &args);
            let reply = answer(&service, peers(asking)[0], &call);
            assert_eq!(reply[24..28], ACCES.to_be_bytes());
            assert_eq!(reply[reply.len() - 8..], [0; 8], "no attributes of the other's directory");
        }
    }
}

/// A handle from a LOOKUP or MNT of one machine, with another's view pasted in, is nobody's handle.
#[test]
fn a_handle_with_another_machines_view_pasted_in_is_no_handle() {
    let service = park();
    for (asking, owner) in (0..MACHINES).flat_map(|asking| (0..MACHINES).map(move |owner| (asking, owner))) {
        if asking == owner {
            continue;
        }
        let node = NodeId { layer: 2, ino: 1 };
        let mut handle = keyring().seal(Handle { view: view(owner), node });
        handle[2..18].copy_from_slice(&view(asking));
        let call = wire::call(9, [100_003, 3, 1], &Cred::sys(0, 0, &[]), &opaque(&handle));
        assert_eq!(answer(&service, peers(asking)[0], &call)[24..], 10_001_u32.to_be_bytes());
    }
}

/// The shell hears who really asks, and its no leaves without a handle.
#[test]
fn a_mount_of_another_machines_path_gives_acces_and_no_handle() {
    let service = park();
    for asking in 0..MACHINES {
        for owner in (0..MACHINES).filter(|owner| *owner != asking) {
            let args = opaque(&path(owner));
            let message = wire::call(9, [100_005, 3, 1], &Cred::sys(0, 0, &[]), &args);
            for peer in peers(asking) {
                let mut out = Replies::new();
                let Step::Mount(call) = service.call(peer, Transport::Tcp, &message, &mut out) else {
                    panic!("MNT is the shell's");
                };
                assert_eq!((call.peer, call.path == path(owner)), (peer, true));
                service.mounted(&call, Err(MountError::Acces), &mut out);
                assert_eq!(wire::unmarked(out.bytes()), [u32s(&[9, 1, 0, 0, 0, 0, ACCES])]);
            }
        }
    }
}

#[test]
fn export_and_dump_tell_a_machine_of_its_own_paths_alone() {
    let service = park();
    for machine in 0..MACHINES {
        let host = opaque(address(machine).to_string().as_bytes());
        let own = opaque(&path(machine));
        let head = u32s(&[9, 1, 0, 0, 0, 0, 1]);
        let dump = [&head[..], &host, &own, &u32s(&[0])].concat();
        let export = [&head[..], &own, &u32s(&[1]), &host, &u32s(&[0, 0])].concat();
        for peer in peers(machine) {
            for (procedure, due) in [(2, &dump), (5, &export)] {
                let call = wire::call(9, [100_005, 3, procedure], &Cred::sys(0, 0, &[]), &[]);
                assert_eq!(answer(&service, peer, &call), *due, "{peer}");
            }
        }
    }
}

/// Whatever a shell takes a missing name for, it hears who asked, and of nothing that was refused or found.
#[test]
fn the_shell_hears_who_looks_up_a_name_that_is_not_there_and_from_which_port() {
    let missed = Arc::default();
    let service = heard_by(Arc::clone(&missed));
    let world = World::new();
    let ask = |peer: SocketAddr, dir: &str, name: &[u8], cred: &Cred| {
        let handle = keyring().seal(Handle { view: view(1), node: world.find(dir) });
        let message = wire::call(9, [100_003, 3, 3], cred, &[opaque(&handle), opaque(name)].concat());
        answer(&service, peer, &message);
    };
    let (root, user) = (Cred::sys(0, 0, &[]), Cred::sys(1001, 1001, &[]));
    let [plain, mapped] = peers(1);
    for peer in [plain, mapped] {
        ask(peer, "/etc", b"boot.up", &root);
    }
    ask(plain, "/etc", b"boot.user", &user);
    ask(plain, "/etc", b"passwd", &root);
    ask(plain, "/home/ann", b"no right to search", &user);
    ask(plain, "/etc/passwd", b"no directory", &root);
    ask(SocketAddr::new(plain.ip(), 1024), "/etc", b"a port of any user", &root);
    ask(peers(2)[0], "/etc", b"no machine of this view", &root);
    let etc = world.find("/etc");
    let heard = |name: &[u8]| (plain, etc, name.to_vec());
    assert_eq!(*missed.lock().unwrap(), [heard(b"boot.up"), heard(b"boot.up"), heard(b"boot.user")]);
}
