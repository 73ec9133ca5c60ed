//! Boots as scripts: `boots/NAME.txt`, a line for each thing that happens or has to be so.
//!
//! Lines: `M plan BOOT view N at ADDRESS`, `M plan of old BOOT view N at ADDRESS` (before paths named the boot),
//! `M mounts BOOT [at ADDRESS] -> running|unchanged|refused`, `M mounts view N -> …` (the path of old), `M up BOOT`,
//! `M released`, `M reads BOOT` and `M idles BOOT` (a connection uses the view, or no longer), `passes N[s|d]`;
//! and to be checked: `M pins BOOT:phase…`, `M asks N -> allow|refuse|gone|later`, `ADDRESS is M's`.
//! There is no line for DHCP: no packet of it is an event here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use oneroot_bootconf::access::{Verdict, verdict};
use oneroot_bootconf::admission::{Question, admit};
use oneroot_bootconf::binding::holder;
use oneroot_bootconf::export::Export;
use oneroot_bootconf::pins::{Event, MOST, Phase, Pin, PinChange, changes};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};

#[derive(Default)]
struct World {
    pins: Vec<Pin>,
    read: BTreeSet<BootId>,
    now: u64,
}

fn first_letter(word: &str) -> u8 {
    word.as_bytes()[0]
}

fn machine(name: &str) -> MachineId {
    MachineId::from_random([first_letter(name); 16])
}

fn boot(name: &str) -> BootId {
    BootId::from_random([first_letter(name); 8])
}

fn view(number: &str) -> ViewId {
    ViewId([number.parse().unwrap(); 16])
}

fn address(last: &str) -> IpAddr {
    IpAddr::from([10, 0, 0, last.parse().unwrap()])
}

fn mac(name: &str) -> Mac {
    Mac::new([2, 0, 0, 0, 0, first_letter(name)]).unwrap()
}

impl World {
    fn of(&self, name: &str) -> Vec<Pin> {
        self.pins.iter().filter(|pin| pin.machine == machine(name)).cloned().collect()
    }

    /// Applies an event as the server does, and says how many changes it made.
    fn happens(&mut self, name: &str, event: &Event) -> usize {
        let made = changes(&self.of(name), event, &|pin| self.read.contains(&pin.boot), self.now);
        for change in &made {
            let gone = match change {
                PinChange::Put(pin) => pin.boot,
                PinChange::Delete(boot) => *boot,
            };
            self.pins.retain(|pin| pin.boot != gone);
            if let PinChange::Put(pin) = change {
                self.pins.push(pin.clone());
            }
        }
        let of = self.of(name);
        let most = if of.iter().filter(|pin| pin.is_mounted()).count() < MOST { MOST } else { MOST + 1 };
        assert!(of.len() <= most, "{name} holds too many pins");
        made.len()
    }

    /// A mount in a network where we give the addresses, by the machine's own NIC; what became of it.
    fn mounts(&mut self, name: &str, export: Export, at: Option<&str>) -> &'static str {
        let named =
            export.named.and_then(|named| self.pins.iter().find(|pin| pin.boot == named.boot)).cloned();
        let home =
            named.as_ref().map(|pin| pin.address).or_else(|| self.of(name).last().map(|pin| pin.address));
        let own = self.of(name);
        let question = Question {
            export,
            named: named.as_ref(),
            peer: at.map(address).or(home).unwrap_or(address("99")),
            at: (name != "stranger").then(|| (machine(name), mac(name))),
            own: own.iter().collect(),
            held: self.pins.iter().any(|pin| pin.view == export.view),
            proxied: None,
        };
        let Ok(admitted) = admit(&question) else { return "refused" };
        let event = admitted.event;
        let moved = event.is_some_and(|event| self.happens(name, &event) > 0);
        if moved { "running" } else { "unchanged" }
    }

    fn view_of(&self, name: &str) -> ViewId {
        let pin = self.pins.iter().find(|pin| pin.boot == boot(name));
        // Of a boot that is over, the view is as good as any: no pin has it.
        pin.map_or(ViewId([0; 16]), |pin| pin.view)
    }

    fn plan(&self, name: &str, boot_name: &str, view_number: &str, at: &str) -> Pin {
        Pin {
            machine: machine(name),
            boot: boot(boot_name),
            view: view(view_number),
            phase: Phase::Booting,
            mac: mac(name),
            address: address(at),
            made: self.now,
            since: self.now,
            named: true,
        }
    }

    fn pins(&self, name: &str) -> String {
        let mut pins = self.of(name);
        pins.sort_by_key(|pin| pin.boot);
        let shown = pins.iter().map(|pin| {
            let letter = char::from(u8::from_str_radix(&pin.boot.to_string()[..2], 16).unwrap());
            format!("{letter}:{}", format!("{:?}", pin.phase).to_lowercase())
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn asks(&self, name: &str, number: &str) -> &'static str {
        let known = (name != "stranger").then(|| machine(name));
        match verdict(known, view(number), &self.pins) {
            Verdict::Allow => "allow",
            Verdict::Refuse => "refuse",
            Verdict::Gone => "gone",
            Verdict::Later => "later",
        }
    }

    fn passes(&mut self, time: &str) {
        let unit = if time.ends_with('d') { 86_400 } else { 1 };
        self.now += time.trim_end_matches(['s', 'd']).parse::<u64>().unwrap() * unit;
        for name in ["alpha", "beta"] {
            self.happens(name, &Event::Tick { sure_since: 0 });
        }
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["passes", time] => self.passes(time),
            [name, "plan", boot, "view", number, "at", last] => {
                let pin = self.plan(name, boot, number, last);
                self.happens(name, &Event::Planned(pin));
            }
            [name, "plan", "of", "old", boot, "view", number, "at", last] => {
                let pin = Pin { named: false, ..self.plan(name, boot, number, last) };
                self.happens(name, &Event::Planned(pin));
            }
            [name, "mounts", "view", number, "->", expected] => {
                let export = Export { view: view(number), named: None };
                assert_eq!(self.mounts(name, export, None), expected);
            }
            [name, "mounts", which, "->", expected] => {
                let export = Export::of(self.view_of(which), boot(which), None);
                assert_eq!(self.mounts(name, export, None), expected);
            }
            [name, "mounts", which, "at", last, "->", expected] => {
                let export = Export::of(self.view_of(which), boot(which), None);
                assert_eq!(self.mounts(name, export, Some(last)), expected);
            }
            [name, "up", which] => drop(self.happens(name, &Event::Up(boot(which)))),
            [name, "released"] => drop(self.happens(name, &Event::Released)),
            [_, "reads", which] => drop(self.read.insert(boot(which))),
            [_, "idles", which] => drop(self.read.remove(&boot(which))),
            [name, "pins", ..] => assert_eq!(self.pins(name), words[2..].join(" ")),
            [name, "asks", number, "->", expected] => assert_eq!(self.asks(name, number), expected),
            [last, "is", whose] => {
                let bound = holder(&self.pins, address(last)).map(|binding| binding.machine);
                let expected = (whose != "nobody's").then(|| machine(whose));
                assert_eq!(bound, expected);
            }
            _ => panic!("no such line"),
        }
    }
}

#[test]
fn every_script_goes_as_it_is_written() {
    let mut seen = 0;
    for entry in fs::read_dir("tests/boots").unwrap() {
        let path = entry.unwrap().path();
        let mut world = World { now: 1_000_000, ..World::default() };
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.line(line)));
            assert!(told.is_ok(), "{}:{}: {line}", path.display(), number + 1);
        }
        seen += 1;
    }
    assert!(seen >= 12, "the scripts were not found");
}
