//! Three hundred machines, each at its address and with its pins, and every view asked for from every address: the rules
//! of `bootconf::{access, binding}` as the tables in memory carry them out, for NFS calls and for mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::LazyLock;

use oneroot_bootconf::access::Verdict;
use oneroot_bootconf::admission::{Admitted, Refused, Seen, admit};
use oneroot_bootconf::export::Export;
use oneroot_bootconf::pins::{Event, Phase, Pin};
use oneroot_bootconf::{MachineRecord, Site, load_str};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use oneroot_state::Revision;

use crate::access::mounts::{Shown, question};
use crate::index::MachineIndex;
use crate::machines::reader_at;
use crate::tokens::boot_tokens::BootTokens;

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
        named: true,
    }
}

/// The tables, all pins in them, and which views each machine holds, by number.
fn park() -> (MachineIndex, Vec<Pin>, BTreeMap<u16, BTreeSet<u16>>) {
    let (mut index, mut pins, mut holds) = (MachineIndex::default(), Vec::new(), BTreeMap::new());
    for number in 0..MACHINES {
        let record = MachineRecord {
            id: machine(number),
            macs: vec![mac(number)],
            name: None,
            claimed: None,
            first_seen: 0,
        };
        index.put_machine(record, Revision(1));
        // A third is known by its lease, a third by what runs, a third by where its script went.
        let phase = if number % 3 == 1 { Phase::Running } else { Phase::Booting };
        let mut views = BTreeSet::from([number]);
        pins.push(pin(number, 1, number, phase));
        if number % 4 == 0 {
            views.insert(SHARED);
            pins.push(pin(number, 2, SHARED, phase));
        }
        match number % 3 {
            0 => index.leased(address(number), mac(number)),
            // DHCP has come to give the address away; what runs there keeps it.
            1 => index.leased(address(number), mac(number + 1)),
            _ => {}
        }
        holds.insert(number, views);
    }
    pins.iter().for_each(|pin| index.put_pin(pin.clone(), Revision(1)));
    (index, pins, holds)
}

/// A site on the machines' network, where another server gives the addresses or we do.
fn site(proxy: bool) -> &'static Site {
    static SITES: LazyLock<[Site; 2]> = LazyLock::new(|| [false, true].map(made));
    &SITES[usize::from(proxy)]
}

fn made(proxy: bool) -> Site {
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
    let (index, _, holds) = park();
    for (number, held) in &holds {
        let peer = index.machine_at(address(*number));
        assert_eq!(peer, Some(machine(*number)), "machine {number} is known");
        for asked in views() {
            let due = match asked {
                UNHELD => Verdict::Gone,
                _ if held.contains(&asked) => Verdict::Allow,
                _ => Verdict::Refuse,
            };
            assert_eq!(index.verdict(peer, view(asked)), due, "machine {number}, view {asked}");
        }
    }
}

/// Decides one mount as the server does, with what the links are made to say of the peer.
fn mount<'k>(
    index: &'k MachineIndex,
    proxy: bool,
    peer: IpAddr,
    export: &Export,
    seen: Seen,
) -> Result<Admitted<'k>, Refused> {
    let shown = Shown::of(&BootTokens::new([&[7; 32]]), site(proxy), |_| seen, peer, export);
    admit(&question(index, peer, export, shown))
}

fn unnamed(of: u16) -> Export {
    Export { view: view(of), named: None }
}

fn passed(pin: &Pin) -> Export {
    Export::of(pin.view, pin.boot, Some(BootTokens::new([&[7; 32]]).make(pin.boot, pin.view)))
}

#[test]
fn a_stranger_waits_for_views_that_are_held_and_mounts_none() {
    let (index, pins, _) = park();
    let stranger = address(9999);
    let ours = |export| mount(&index, false, stranger, &export, Seen::Unheard).unwrap_err();
    assert_eq!(index.machine_at(stranger), None);
    for asked in views() {
        let (later, no) = if asked == UNHELD {
            (Verdict::Gone, Refused::Gone)
        } else {
            (Verdict::Later, Refused::NotMounted)
        };
        assert_eq!(index.verdict(None, view(asked)), later);
        assert_eq!(ours(unnamed(asked)), no);
    }
    for pin in &pins {
        let has = Refused::Nobody(pin.address);
        assert_eq!(ours(Export::of(pin.view, pin.boot, None)), has);
        assert_eq!(ours(passed(pin)), has, "with a machine's pass, which says nothing here");
    }
}

#[test]
fn each_machine_mounts_the_roots_of_its_own_boots_and_moves_the_one_that_the_path_names() {
    let (index, pins, _) = park();
    for pin in &pins {
        for export in [Export::of(pin.view, pin.boot, None), passed(pin)] {
            for number in 0..MACHINES {
                let due = if pin.machine == machine(number) { Ok(pin) } else { Err(Refused::Other) };
                let asked = mount(&index, false, address(number), &export, Seen::Unheard);
                assert_eq!(asked.as_ref().map(|admitted| admitted.pin).map_err(|refused| *refused), due);
                let Ok(Admitted { event, vacant, .. }) = asked else { continue };
                let first = Event::Mounted { boot: pin.boot, mac: pin.mac, address: pin.address };
                assert_eq!(event, (!pin.is_mounted()).then_some(first));
                assert_eq!(vacant, [] as [IpAddr; 0]);
            }
        }
    }
}

#[test]
fn a_path_without_a_boot_opens_what_its_machine_has_mounted_and_moves_no_pin() {
    let (index, _, holds) = park();
    for (number, held) in &holds {
        for asked in views() {
            let admitted = mount(&index, false, address(*number), &unnamed(asked), Seen::Unheard);
            match admitted {
                Ok(Admitted { pin, event, .. }) => {
                    assert!(held.contains(&asked), "machine {number} mounts view {asked}");
                    assert_eq!((pin.machine, pin.view), (machine(*number), view(asked)));
                    assert!(pin.is_mounted() && event.is_none());
                }
                Err(Refused::Gone) => assert_eq!(asked, UNHELD),
                Err(refused) => {
                    assert_eq!(refused, Refused::NotMounted);
                    assert!(!held.contains(&asked) || number % 3 != 1, "machine {number}, view {asked}");
                }
            }
        }
    }
}

/// The pass stands on a machine's command line, for every user of it to read and to tell others.
#[test]
fn beside_another_server_a_pass_opens_its_boots_root_to_a_mac_of_its_own_machine_and_to_no_other() {
    let (index, pins, _) = park();
    for own in &pins {
        let shown = passed(own);
        for number in 0..MACHINES {
            let seen = Seen::Neighbour(mac(number).bytes());
            // From whichever address: that machine's, or its own.
            for from in [own.address, address(number)] {
                let asked = mount(&index, true, from, &shown, seen);
                if own.machine == machine(number) {
                    assert_eq!(asked.unwrap().pin, own);
                } else {
                    assert_eq!(asked.unwrap_err(), Refused::Mac(mac(number).bytes()));
                }
            }
        }
        assert_eq!(mount(&index, true, own.address, &passed(own), Seen::Unheard), Err(Refused::Unheard));
    }
}

#[test]
fn behind_a_router_a_pass_opens_to_a_second_address_only_when_nobody_is_at_the_first() {
    let (index, pins, _) = park();
    for own in &pins {
        let elsewhere = mount(&index, true, address(9999), &passed(own), Seen::Remote).unwrap();
        let first = if own.is_mounted() { vec![own.address] } else { Vec::new() };
        assert_eq!((elsewhere.pin, elsewhere.vacant), (own, first));
        let again = mount(&index, true, own.address, &passed(own), Seen::Remote).unwrap();
        assert_eq!(again.vacant, [] as [IpAddr; 0]);
    }
}

#[test]
fn a_pass_that_was_never_given_for_that_boot_and_view_opens_nothing() {
    let (index, pins, _) = park();
    for (at, own) in pins.iter().enumerate() {
        let seen = Seen::Neighbour(own.mac.bytes());
        let refusal = |view, boot, seal| {
            let export = Export::of(view, boot, Some(seal));
            mount(&index, true, own.address, &export, seen).unwrap_err()
        };
        let (ours, others) = (BootTokens::new([&[7; 32]]), BootTokens::new([&[8; 32]]));
        let seal = ours.make(own.boot, own.view);
        let other = &pins[(at + 1) % pins.len()];
        let of_other = ours.make(other.boot, other.view);
        assert_eq!(refusal(own.view, own.boot, of_other), Refused::Forged, "another boot's seal");
        assert_eq!(
            refusal(own.view, own.boot, others.make(own.boot, own.view)),
            Refused::Forged,
            "another key's"
        );
        assert_eq!(
            refusal(view(UNHELD), own.boot, seal),
            Refused::Gone,
            "for a view that is not that boot's"
        );
        if other.view != own.view {
            assert_eq!(refusal(other.view, own.boot, seal), Refused::Gone, "for another's view");
        }
        let nobody = BootId::from_random([0xff; 8]);
        assert_eq!(
            refusal(own.view, nobody, ours.make(nobody, own.view)),
            Refused::Gone,
            "a boot that is over"
        );
    }
}

/// A script goes to whoever seems to be there, and handles can be had on any machine. Neither is enough to read with.
#[test]
fn beside_another_server_only_a_mounted_root_says_whose_an_address_is() {
    let (index, pins, _) = park();
    for number in 0..MACHINES {
        let runs = pins.iter().any(|pin| pin.address == address(number) && pin.is_mounted());
        let reader = reader_at(&index, site(true), address(number));
        assert_eq!(reader, runs.then(|| machine(number)));
        assert_eq!(reader_at(&index, site(false), address(number)), Some(machine(number)));
    }
}
