//! Who may mount a root, and what that moves (docs/decisions/0006): asked at each MNT.
//!
//! | | where | the mount is | and moves |
//! |---|---|---|---|
//! | R1 | we give the addresses; the path names a boot of the address' machine | allowed | that boot's pin |
//! | R2 | the same, and the path names another machine's boot, or nobody is known there | refused, and said | nothing |
//! | R3 | a path without a boot; the address' machine has mounted that view | allowed | nothing |
//! | R4 | the same, told to a boot before paths named it, and not mounted yet | allowed | that boot's pin |
//! | R5 | another server gives the addresses; no pass | allowed from where that machine has mounted that view | nothing |
//! | R6 | a pass that was never given | refused, and said | nothing |
//! | R7 | a good pass, on a link of ours, from a MAC of that boot's machine | allowed | that boot's pin |
//! | R8 | a good pass, on a link of ours, from any other MAC, or from none that was heard | refused, and said | nothing |
//! | R9 | a good pass, from behind a router | allowed to the first that shows it; to another one once nobody answers where the machine has mounted a root | that boot's pin |
//!
//! A root that is mounted already is moved to another address only when nobody answers at the one before.

use std::net::IpAddr;

use crate::boots::pins::{Event, Pin};
use crate::plan::export::{Export, Named};
use oneroot_ids::{Mac, MachineId};

/// Who is at an address, as far as the links say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A neighbour with this hardware address.
    Neighbour([u8; 6]),
    /// It would be a neighbour, and none was heard.
    Unheard,
    /// Behind a router: no hardware address of it is ever seen here.
    Remote,
}

/// All that a mount is decided by.
#[derive(Debug, Clone)]
pub struct Question<'p> {
    /// What the path names.
    pub export: Export,
    /// Whose pin that boot's is; none where the path names no boot, or one that is over.
    pub named: Option<&'p Pin>,
    /// Who asks.
    pub peer: IpAddr,
    /// The machine there, and the NIC; where another server gives the addresses, the one that has mounted a root from there.
    pub at: Option<(MachineId, Mac)>,
    /// That machine's pins.
    pub own: Vec<&'p Pin>,
    /// Whether any pin holds the view.
    pub held: bool,
    /// What counts where another server gives the addresses.
    pub proxied: Option<Proxied>,
}

/// What is known of a pass and of who shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied {
    /// Whether the pass is one of ours, for that boot and view.
    pub is_good: bool,
    /// Who shows it.
    pub seen: Seen,
    /// The MACs of that boot's machine.
    pub macs: Vec<Mac>,
    /// Where that machine has mounted roots, but for addresses that are another machine's by now.
    pub mounted_at: Vec<IpAddr>,
}

/// A mount that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted<'p> {
    /// The pin by which it is.
    pub pin: &'p Pin,
    /// What it moves.
    pub event: Option<Event>,
    /// Only once nobody answers at any of these.
    pub vacant: Vec<IpAddr>,
}

/// Why a mount is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No pin holds it.
    Gone,
    /// No machine is known at the address; the one whose boot it is has this one.
    Nobody(IpAddr),
    /// Another machine is at the address.
    Other,
    /// The path names no boot, and whoever asks has not mounted that view.
    NotMounted,
    /// Without a pass it opens only where the root is mounted.
    NoPass,
    /// The pass was never given.
    Forged,
    /// This MAC is no MAC of that machine.
    Mac([u8; 6]),
    /// No MAC was heard at the address, though it is on a link of ours.
    Unheard,
    /// The machine is still at this address.
    Answers(IpAddr),
}

impl Refused {
    /// For the person who wonders why a machine does not boot: who asked, and where the machine is.
    #[must_use]
    pub fn told(&self, peer: IpAddr, machine: &str) -> String {
        let but = match self {
            Self::Gone => "that boot is over".to_owned(),
            Self::Nobody(has) => format!("{machine} has {has}: is another DHCP server on this network?"),
            Self::Other => "that address is another machine's".to_owned(),
            Self::NotMounted => "its path names no boot, and no such root is mounted from there".to_owned(),
            Self::NoPass => "its path has no pass, and the root is not mounted from there".to_owned(),
            Self::Forged => "with a pass that was never given".to_owned(),
            Self::Mac([a, b, c, d, e, f]) => {
                format!("is {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, which is not a MAC of {machine}")
            }
            Self::Unheard => "no MAC was heard there".to_owned(),
            Self::Answers(at) => format!(
                "somebody answers at {at}, where {machine} has its root mounted; if that is not {machine}, say `oneroot release {machine}`"
            ),
        };
        format!("{peer} asked for {machine}'s root, but {but}")
    }
}

/// Decides one mount.
///
/// # Errors
/// [`Refused`]; all but [`Refused::Gone`] are somebody's trouble, and should be told.
pub fn admit<'p>(question: &Question<'p>) -> Result<Admitted<'p>, Refused> {
    let Question { export, peer, .. } = question;
    let Some(Named { seal, .. }) = export.named else { return unnamed(question) };
    // One boot's id with another one's view is a path that nobody was told.
    let pin = question.named.filter(|pin| pin.view == export.view).ok_or(Refused::Gone)?;
    match (&question.proxied, seal) {
        (None, _) => match question.at {
            // The NIC that booted, where it is the one that mounts: another pin may hold its address by an older one.
            Some((machine, mac)) if machine == pin.machine => {
                let mac = if pin.address == *peer { pin.mac } else { mac };
                Ok(Admitted { pin, event: first(pin, mac, *peer), vacant: Vec::new() })
            }
            Some(_) => Err(Refused::Other),
            None => Err(Refused::Nobody(pin.address)),
        },
        (Some(_), None) => match question.at {
            Some((machine, _)) if machine == pin.machine && pin.is_mounted() => Ok(Admitted::again(pin)),
            _ => Err(Refused::NoPass),
        },
        (Some(proxied), Some(_)) => by_pass(pin, *peer, proxied),
    }
}

impl<'p> Admitted<'p> {
    fn again(pin: &'p Pin) -> Self {
        Self { pin, event: None, vacant: Vec::new() }
    }
}

/// What the first mount of a boot's root does.
fn first(pin: &Pin, mac: Mac, address: IpAddr) -> Option<Event> {
    (!pin.is_mounted()).then_some(Event::Mounted { boot: pin.boot, mac, address })
}

fn by_pass<'p>(pin: &'p Pin, peer: IpAddr, proxied: &Proxied) -> Result<Admitted<'p>, Refused> {
    if !proxied.is_good {
        return Err(Refused::Forged);
    }
    let elsewhere = pin.is_mounted() && pin.address != peer && proxied.mounted_at.contains(&pin.address);
    let before = || elsewhere.then_some(pin.address).into_iter().collect();
    let (mac, vacant): (Mac, Vec<IpAddr>) = match proxied.seen {
        Seen::Neighbour(seen) => {
            let own = proxied.macs.iter().find(|mac| mac.bytes() == seen);
            (*own.ok_or(Refused::Mac(seen))?, before())
        }
        Seen::Unheard => return Err(Refused::Unheard),
        // Its word is all there is. It is believed where nobody can say otherwise.
        Seen::Remote if proxied.mounted_at.contains(&peer) => (pin.mac, before()),
        Seen::Remote => (pin.mac, proxied.mounted_at.clone()),
    };
    let moved = pin.is_mounted() && pin.address != peer;
    let event = if moved {
        Some(Event::Moved { boot: pin.boot, before: pin.address, mac, address: peer })
    } else {
        first(pin, mac, peer)
    };
    Ok(Admitted { pin, event, vacant })
}

/// A path of old, or one that a person has made up of a view's id.
fn unnamed<'p>(question: &Question<'p>) -> Result<Admitted<'p>, Refused> {
    let view = question.export.view;
    let refused = if question.held { Refused::NotMounted } else { Refused::Gone };
    let Some((_, mac)) = question.at else { return Err(refused) };
    let own = question.own.iter().copied().filter(|pin| pin.view == view);
    let newest = |old: bool| {
        let pins = own.clone().filter(|pin| if old { !pin.named } else { pin.is_mounted() });
        pins.max_by_key(|pin| (pin.made, pin.boot))
    };
    match newest(true) {
        // A path of old has no pass, and where another server gives the addresses nothing less says who asks first.
        Some(pin) if !pin.is_mounted() && question.proxied.is_some() => Err(Refused::NoPass),
        Some(pin) => {
            let mac = if pin.address == question.peer { pin.mac } else { mac };
            Ok(Admitted { pin, event: first(pin, mac, question.peer), vacant: Vec::new() })
        }
        None => newest(false).map(Admitted::again).ok_or(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots::pins::Phase;
    use oneroot_ids::{BootId, ViewId};

    const SEAL: Option<[u8; 16]> = Some([5; 16]);

    fn mac(number: u8) -> Mac {
        Mac::new([2, 0, 0, 0, 0, number]).unwrap()
    }

    fn machine(number: u8) -> MachineId {
        MachineId::from_random([number; 16])
    }

    fn at(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Of machine 1 at 10.0.0.1, which all questions below are about.
    fn pin(made: u8, phase: Phase) -> Pin {
        Pin {
            machine: machine(1),
            boot: BootId::from_random([made; 8]),
            view: ViewId([7; 16]),
            phase,
            mac: mac(1),
            address: at(1),
            made: u64::from(made),
            since: u64::from(made),
            named: true,
        }
    }

    fn ours(pin: &Pin, peer: IpAddr, who: Option<u8>) -> Question<'_> {
        let export = Export::of(pin.view, pin.boot, None);
        let at = who.map(|number| (machine(number), mac(number)));
        Question { export, named: Some(pin), peer, at, own: Vec::new(), held: true, proxied: None }
    }

    /// Where another server gives the addresses, with a good pass.
    fn shown(pin: &Pin, peer: IpAddr, seen: Seen, mounted_at: Vec<IpAddr>) -> Question<'_> {
        let proxied = Proxied { is_good: true, seen, macs: vec![mac(1), mac(11)], mounted_at };
        let export = Export::of(pin.view, pin.boot, SEAL);
        Question { export, proxied: Some(proxied), ..ours(pin, peer, None) }
    }

    fn mounted(pin: &Pin, number: u8, address: IpAddr) -> Option<Event> {
        Some(Event::Mounted { boot: pin.boot, mac: mac(number), address })
    }

    #[test]
    fn a_machine_mounts_the_root_of_the_boot_that_its_path_names_and_of_no_other() {
        let pin = pin(2, Phase::Booting);
        let allowed = admit(&ours(&pin, at(1), Some(1))).unwrap();
        assert_eq!((allowed.pin, allowed.event), (&pin, mounted(&pin, 1, at(1))));
        let other_view = Export::of(ViewId([8; 16]), pin.boot, None);
        let asked = Question { export: other_view, ..ours(&pin, at(1), Some(1)) };
        assert_eq!(admit(&asked), Err(Refused::Gone), "the boot's root is another");
        let asked = Question { named: None, ..ours(&pin, at(1), Some(1)) };
        assert_eq!(admit(&asked), Err(Refused::Gone), "that boot is over, though others hold the view");
    }

    #[test]
    fn a_root_that_is_mounted_already_is_mounted_again_and_nothing_moves() {
        for phase in [Phase::Running, Phase::Up] {
            let pin = pin(2, phase);
            for from in [at(1), at(2)] {
                let allowed = admit(&ours(&pin, from, Some(1))).unwrap();
                assert_eq!((allowed.event, allowed.vacant), (None, vec![]));
            }
        }
    }

    #[test]
    fn a_root_is_the_nics_that_mounts_it() {
        let pin = pin(2, Phase::Booting);
        let asked = Question { at: Some((machine(1), mac(11))), ..ours(&pin, at(2), None) };
        assert_eq!(admit(&asked).unwrap().event, mounted(&pin, 11, at(2)));
        // An older pin has the address by a NIC that was replaced.
        let asked = Question { at: Some((machine(1), mac(11))), ..ours(&pin, at(1), None) };
        assert_eq!(admit(&asked).unwrap().event, mounted(&pin, 1, at(1)));
    }

    #[test]
    fn another_machine_and_nobodys_address_are_refused_a_boots_root_and_both_are_said() {
        let pin = pin(2, Phase::Booting);
        assert_eq!(admit(&ours(&pin, at(9), Some(9))), Err(Refused::Other));
        let nobody = admit(&ours(&pin, at(209), None)).unwrap_err();
        assert_eq!(
            nobody.told(at(209), "alpha"),
            "10.0.0.209 asked for alpha's root, but alpha has 10.0.0.1: is another DHCP server on this network?"
        );
        let sealed = Question { export: Export::of(pin.view, pin.boot, SEAL), ..ours(&pin, at(209), None) };
        assert_eq!(admit(&sealed), Err(nobody), "where we give the addresses, a pass says nothing");
    }

    #[test]
    fn a_path_without_a_boot_opens_what_is_mounted_and_moves_nothing() {
        let (up, booting) = (pin(1, Phase::Up), pin(2, Phase::Booting));
        let export = Export { view: up.view, named: None };
        let asked = |own| Question { export, named: None, own, ..ours(&up, at(1), Some(1)) };
        let allowed = admit(&asked(vec![&up, &booting])).unwrap();
        assert_eq!(
            (allowed.pin, allowed.event),
            (&up, None),
            "a plan that anybody can have made changes nothing"
        );
        assert_eq!(admit(&asked(vec![&booting])), Err(Refused::NotMounted));
        assert_eq!(admit(&Question { at: None, ..asked(vec![]) }), Err(Refused::NotMounted));
        assert_eq!(admit(&Question { held: false, ..asked(vec![]) }), Err(Refused::Gone));
    }

    #[test]
    fn a_path_of_old_moves_the_newest_pin_of_old() {
        let of_old = |made, phase| Pin { named: false, ..pin(made, phase) };
        let (up, booting, named) = (of_old(1, Phase::Up), of_old(2, Phase::Booting), pin(3, Phase::Booting));
        let export = Export { view: up.view, named: None };
        let asked = |own| Question { export, named: None, own, ..ours(&up, at(1), Some(1)) };
        assert_eq!(admit(&asked(vec![&up])).unwrap().event, None, "it runs, and is mounted again");
        let allowed = admit(&asked(vec![&up, &booting, &named])).unwrap();
        assert_eq!((allowed.pin, allowed.event), (&booting, mounted(&booting, 1, at(1))));
        let by_boot = Question { export: Export::of(up.view, up.boot, None), ..ours(&up, at(1), Some(1)) };
        assert_eq!(admit(&by_boot).unwrap().event, None);
    }

    #[test]
    fn without_a_pass_a_root_opens_where_it_is_mounted_and_moves_nothing() {
        let (up, booting) = (pin(1, Phase::Up), pin(2, Phase::Booting));
        let asked = |pin, who: Option<u8>| {
            let shown = shown(pin, at(1), Seen::Neighbour(mac(1).bytes()), vec![at(1)]);
            let at = who.map(|number| (machine(number), mac(number)));
            Question { export: Export::of(pin.view, pin.boot, None), at, own: vec![&up, &booting], ..shown }
        };
        assert_eq!(admit(&asked(&up, Some(1))).unwrap().event, None);
        assert_eq!(admit(&asked(&booting, Some(1))), Err(Refused::NoPass));
        assert_eq!(admit(&asked(&up, Some(9))), Err(Refused::NoPass));
        assert_eq!(admit(&asked(&up, None)), Err(Refused::NoPass));
        let unnamed = Question { export: Export { view: up.view, named: None }, ..asked(&up, Some(1)) };
        assert_eq!(admit(&unnamed).unwrap().pin, &up);
    }

    #[test]
    fn a_pass_that_was_never_given_opens_nothing() {
        let pin = pin(2, Phase::Booting);
        let mut asked = shown(&pin, at(1), Seen::Neighbour(mac(1).bytes()), vec![]);
        asked.proxied.as_mut().unwrap().is_good = false;
        assert_eq!(admit(&asked), Err(Refused::Forged));
    }

    #[test]
    fn on_a_link_a_pass_opens_to_the_machines_own_macs_alone() {
        let pin = pin(2, Phase::Booting);
        for (number, from) in [(1, at(1)), (11, at(50))] {
            let allowed =
                admit(&shown(&pin, from, Seen::Neighbour(mac(number).bytes()), vec![at(1)])).unwrap();
            assert_eq!((allowed.event, allowed.vacant), (mounted(&pin, number, from), vec![]));
        }
        let thief = Seen::Neighbour(mac(9).bytes());
        assert_eq!(admit(&shown(&pin, at(9), thief, vec![])), Err(Refused::Mac(mac(9).bytes())));
        assert_eq!(admit(&shown(&pin, at(1), thief, vec![])), Err(Refused::Mac(mac(9).bytes())));
        assert_eq!(admit(&shown(&pin, at(9), Seen::Unheard, vec![])), Err(Refused::Unheard));
    }

    #[test]
    fn behind_a_router_a_pass_opens_to_the_first_that_shows_it_until_nobody_answers_there() {
        let (booting, up) = (pin(2, Phase::Booting), pin(1, Phase::Up));
        let first_shown = admit(&shown(&booting, at(9), Seen::Remote, vec![])).unwrap();
        assert_eq!((first_shown.event, first_shown.vacant), (mounted(&booting, 1, at(9)), vec![]));
        // The machine runs: another plan's pass is as good as its own, and no better.
        let thief = admit(&shown(&booting, at(9), Seen::Remote, vec![at(1)])).unwrap();
        assert_eq!(thief.vacant, [at(1)]);
        let same = admit(&shown(&booting, at(1), Seen::Remote, vec![at(1)])).unwrap();
        assert_eq!((same.event, same.vacant), (mounted(&booting, 1, at(1)), vec![]));
        let moved = admit(&shown(&up, at(9), Seen::Remote, vec![at(1)])).unwrap();
        let event = Event::Moved { boot: up.boot, before: up.address, mac: mac(1), address: at(9) };
        assert_eq!((moved.event, moved.vacant), (Some(event), vec![at(1)]));
    }

    #[test]
    fn a_mounted_root_moves_only_once_nobody_answers_where_it_was() {
        let up = pin(1, Phase::Up);
        let shown = |seen, mounted_at| admit(&shown(&up, at(50), seen, mounted_at)).unwrap();
        let own = Seen::Neighbour(mac(11).bytes());
        let event = Some(Event::Moved { boot: up.boot, before: up.address, mac: mac(11), address: at(50) });
        let moved = shown(own, vec![at(1)]);
        assert_eq!((moved.event, moved.vacant), (event.clone(), vec![at(1)]));
        let moved = shown(own, vec![]);
        assert_eq!((moved.event, moved.vacant), (event, vec![]), "the address is another machine's by now");
        let moved = shown(Seen::Remote, vec![at(1), at(50)]);
        assert_eq!(moved.vacant, [at(1)], "another root of it is mounted there, and this one is not");
    }
}
