//! Three hundred machines, each at its address and with its pins, and every view asked for from every address: the rules
//! of `bootconf::{access, binding}` as the tables in memory carry them out, for NFS calls and for mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use oneroot_bootconf::access::Verdict;
use oneroot_bootconf::export::{Export, Pass};
use oneroot_bootconf::pins::{Event, Phase, Pin};
use oneroot_bootconf::{BootId, Mac, MachineId, MachineRecord, Site, load_str};
use oneroot_nfsd::MountError;
use oneroot_state::Revision;
use oneroot_tree::ViewId;

use super::known::Known;
use super::mounts::{Passes, admitted};

const MACHINES: u16 = 300;
/// Held by every fourth machine beside its own view.
const SHARED: u16 = 1000;
const UNHELD: u16 = 2000;

fn machine(number: u16) -> MachineId {
    MachineId::from_random([number.to_be_bytes(); 8].as_flattened().try_into().unwrap())
}

fn mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    format!("52:54:00:00:{high:02x}:{low:02x}").parse().unwrap()
}

fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 2, high, low).into()
}

fn view(number: u16) -> ViewId {
    ViewId([number.to_be_bytes(); 8].as_flattened().try_into().unwrap())
}

fn pin(owner: u16, number: u16, of: u16, phase: Phase) -> Pin {
    let [a, b] = owner.to_be_bytes();
    let [c, d] = number.to_be_bytes();
    Pin {
        machine: machine(owner),
        boot: BootId::from_random([a, b, c, d, 0, 0, 0, 0]),
        view: view(of),
        phase,
        mac: mac(owner),
        address: address(owner),
        made: number.into(),
        since: 0,
    }
}

/// The tables, all pins in them, and which views each machine holds, by number.
fn park() -> (Known, Vec<Pin>, BTreeMap<u16, BTreeSet<u16>>) {
    let (mut known, mut pins, mut holds) = (Known::default(), Vec::new(), BTreeMap::new());
    for number in 0..MACHINES {
        let record =
            MachineRecord { id: machine(number), macs: vec![mac(number)], name: None, first_seen: 0 };
        known.put_machine(record, Revision(1));
        // A third is known by its lease, a third by what runs, a third by where its script went.
        let phase = if number % 3 == 1 { Phase::Running } else { Phase::Booting };
        let mut views = BTreeSet::from([number]);
        pins.push(pin(number, 1, number, phase));
        if number % 4 == 0 {
            views.insert(SHARED);
            pins.push(pin(number, 2, SHARED, phase));
        }
        match number % 3 {
            0 => known.leased(address(number), mac(number)),
            // DHCP has come to give the address away; what runs there keeps it.
            1 => known.leased(address(number), mac(number + 1)),
            _ => {}
        }
        holds.insert(number, views);
    }
    pins.iter().for_each(|pin| known.put_pin(pin.clone(), Revision(1)));
    (known, pins, holds)
}

/// A site on the machines' network, where another server gives the addresses or we do.
fn site(proxy: bool) -> Site {
    let text = format!(
        "[server]\naddress = \"10.2.255.1\"\ninterface = \"eth0\"\n\
         [[network]]\nsubnet = \"10.2.0.0/16\"\nproxy = {proxy}\n\
         [profile.a]\nsource = {{ directory = \"a\" }}\n"
    );
    load_str("site.toml", &text, Path::new("/site")).unwrap()
}

fn views() -> impl Iterator<Item = u16> {
    (0..MACHINES).chain([SHARED, UNHELD])
}

#[test]
fn no_machine_of_three_hundred_may_read_a_view_that_it_does_not_hold() {
    let (known, _, holds) = park();
    for (number, held) in &holds {
        let peer = known.machine_at(address(*number));
        assert_eq!(peer, Some(machine(*number)), "machine {number} is known");
        for asked in views() {
            let due = match asked {
                UNHELD => Verdict::Gone,
                _ if held.contains(&asked) => Verdict::Allow,
                _ => Verdict::Refuse,
            };
            assert_eq!(known.verdict(peer, view(asked)), due, "machine {number}, view {asked}");
        }
    }
}

#[test]
fn a_stranger_waits_for_views_that_are_held_and_mounts_none() {
    let (known, ..) = park();
    let (stranger, passes, site) = (address(9999), Passes::new(&[7; 32]), site(false));
    assert_eq!(known.machine_at(stranger), None);
    for asked in views() {
        let (later, no) = if asked == UNHELD {
            (Verdict::Gone, MountError::NoEnt)
        } else {
            (Verdict::Later, MountError::Acces)
        };
        assert_eq!(known.verdict(None, view(asked)), later);
        let export = Export { view: view(asked), pass: None };
        assert_eq!(admitted(&known, &passes, &site, stranger, &export).unwrap_err(), no);
    }
}

#[test]
fn a_mount_of_another_machines_path_is_refused_and_moves_no_pin() {
    let (known, _, holds) = park();
    let (passes, site) = (Passes::new(&[7; 32]), site(false));
    for (number, held) in &holds {
        for asked in views() {
            let export = Export { view: view(asked), pass: None };
            match admitted(&known, &passes, &site, address(*number), &export) {
                Ok((pin, event)) => {
                    assert!(held.contains(&asked), "machine {number} mounts view {asked}");
                    assert_eq!((pin.machine, pin.view), (machine(*number), view(asked)));
                    assert!(matches!(event, Event::Mounted(mounted) if mounted == view(asked)));
                }
                Err(MountError::Acces) => assert!(!held.contains(&asked) && asked != UNHELD),
                Err(error) => assert_eq!((error, asked), (MountError::NoEnt, UNHELD)),
            }
        }
    }
}

/// Beside another DHCP server the pass is all there is: it admits to its own boot's view, and to nothing else.
#[test]
fn a_pass_admits_to_its_boot_alone_and_no_other_pass_does() {
    let (known, pins, _) = park();
    let (passes, others) = (Passes::new(&[7; 32]), Passes::new(&[8; 32]));
    let (peer, site) = (address(9999), site(true));
    let refusal =
        |view, pass| admitted(&known, &passes, &site, peer, &Export { view, pass: Some(pass) }).unwrap_err();
    for (at, own) in pins.iter().enumerate() {
        let pass = passes.make(own.boot, own.view);
        let export = Export { view: own.view, pass: Some(pass) };
        let (pin, event) = admitted(&known, &passes, &site, peer, &export).unwrap();
        assert_eq!(pin, own);
        assert!(matches!(event, Event::MountedFrom(boot, from) if (boot, from) == (own.boot, peer)));

        let other = &pins[(at + 1) % pins.len()];
        let seal = passes.make(other.boot, other.view).seal;
        assert_eq!(
            refusal(own.view, Pass { boot: own.boot, seal }),
            MountError::Acces,
            "another boot's seal"
        );
        assert_eq!(refusal(own.view, others.make(own.boot, own.view)), MountError::Acces, "another key's");
        assert_eq!(refusal(view(UNHELD), pass), MountError::NoEnt, "for a view that is not that boot's");
        if other.view != own.view {
            assert_eq!(refusal(other.view, pass), MountError::NoEnt, "for another's view");
        }
    }
    let nobody = BootId::from_random([0xff; 8]);
    assert_eq!(refusal(view(1), passes.make(nobody, view(1))), MountError::NoEnt, "a boot that is over");
}

/// Whoever has seen a machine's command line has its pass. Where our leases say who is at an address, it opens nothing.
#[test]
fn a_pass_says_nothing_where_we_give_the_addresses() {
    let (known, pins, _) = park();
    let (passes, site) = (Passes::new(&[7; 32]), site(false));
    let stranger = address(9999);
    for (at, own) in pins.iter().enumerate() {
        let export = Export { view: own.view, pass: Some(passes.make(own.boot, own.view)) };
        let shown = |peer| admitted(&known, &passes, &site, peer, &export);
        assert_eq!(shown(stranger).unwrap_err(), MountError::Acces, "a stranger with a machine's pass");
        let (pin, event) = shown(own.address).unwrap();
        assert_eq!((pin.machine, pin.view), (own.machine, own.view));
        assert!(
            matches!(event, Event::Mounted(view) if view == own.view),
            "the address admits, and is bound by no pass"
        );
        let other = &pins[(at + 1) % pins.len()];
        if other.machine != own.machine && own.view != view(SHARED) {
            assert_eq!(shown(other.address).unwrap_err(), MountError::Acces, "another machine with it");
        }
    }
}
