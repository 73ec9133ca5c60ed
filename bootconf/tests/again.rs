//! Which requests make a boot: each field of what a machine is told counts, and any order of requests makes one boot in ten
//! minutes as long as nothing changes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use oneroot_bootconf::again::{Ask, Request, YOUNG};
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::assignment::Signed;
use oneroot_bootconf::decision::{Provenance, decide};
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::hardware::Value;
use oneroot_bootconf::kernels::Loaded;
use oneroot_bootconf::load_str;
use oneroot_bootconf::log_place::LogPlace;
use oneroot_bootconf::mounts::{Mount, What};
use oneroot_bootconf::pins::{Event, Phase, Pin, PinChange, changes};
use oneroot_bootconf::plan::{BootFile, BootPlan, Mounted, Terms};
use oneroot_bootconf::root::{Initramfs, Root};
use oneroot_bootconf::secrets::{Secret, SecretKind};
use oneroot_ids::{BootId, GenerationId, Mac, MachineId, ViewId};
use proptest::prelude::*;

fn mac(last: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn boot(number: u64) -> BootId {
    BootId::from_random(number.to_be_bytes())
}

/// What NIC `last` is told by this boot when the site is at its `edition`th.
fn told(boot: BootId, last: u8, edition: u8) -> BootPlan {
    let text = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n[profile.a]\nsource = { tar = \"a\" }\n[unknown]\nprofile = \"a\"\n";
    let site = load_str("site.toml", text, Path::new("/site")).unwrap();
    let (catalogue, asked) = (Catalogue::of(&site), Asked::at(mac(last), address(last)));
    let decision = decide(&catalogue, &asked).unwrap().into_profile().unwrap();
    BootPlan::of(&Terms {
        site: &site,
        decision: &decision,
        facts: &Facts::of(&catalogue, &decision, &asked),
        loaded: &Loaded::of("/boot/vmlinuz-1", &[], Initramfs::InitramfsTools),
        view: ViewId([edition; 16]),
        mounted: &Mounted::new(),
        mac: mac(last),
        machine: MachineId::from_random([9; 16]),
        boot,
        seal: None,
    })
}

fn pin(plan: &BootPlan, made: u64) -> Pin {
    Pin {
        machine: plan.machine,
        boot: plan.boot,
        view: plan.view,
        phase: Phase::Booting,
        mac: plan.mac,
        address: address(plan.mac.bytes()[5]),
        made,
        since: made,
        named: true,
    }
}

const MADE: u64 = 1_000_000;

fn request(ask: Ask, now: u64) -> Request {
    Request { mac: mac(1), address: address(1), ask, now, is_vouched_for: true }
}

/// The boot that answers NIC 1's request, where boot 7 has been told this and would be told that.
fn answer(request: &Request, pins: &[Pin], was: &BootPlan, is: &BootPlan) -> Option<BootId> {
    let told = |boot| Some(BootPlan { boot, ..was.clone() });
    let plan = request.answered_by(pins, &told, &|boot| BootPlan { boot, ..is.clone() });
    plan.map(|plan| plan.boot)
}

/// The same plan with another word in each of its fields in turn, but for the boot's id, with the field's name. A field that is
/// new has to be added here: this takes the plan apart.
fn others(plan: &BootPlan) -> Vec<(&'static str, BootPlan)> {
    let BootPlan {
        boot,
        machine: _,
        mac: _,
        name,
        profile,
        choice: _,
        workloads,
        view: _,
        kernel,
        initrds: _,
        args,
        root: _,
        initramfs: _,
        mounts: _,
        log: _,
        secrets: _,
        mounted: _,
        assigned: _,
        facts,
        why,
    } = plan.clone();
    let facts = facts.unwrap();
    let with = |change: &dyn Fn(&mut BootPlan)| {
        let mut other = BootPlan { boot, ..plan.clone() };
        change(&mut other);
        other
    };
    let fact = |change: &dyn Fn(&mut Facts)| {
        let mut other = facts.clone();
        change(&mut other);
        with(&|plan| plan.facts = Some(other.clone()))
    };
    let because = Provenance {
        what: "var".to_owned(),
        value: "a=b".to_owned(),
        from: "[vars]".to_owned(),
        hidden: false,
    };
    let secret =
        Secret { kind: SecretKind::Random, at: None, mode: 0o600, user: 0, group: 0, required: false };
    let home = Mount {
        what: What::Nfs("nas:/home".to_owned()),
        options: Vec::new(),
        required: false,
        automount: true,
    };
    vec![
        ("assigned", with(&|plan| plan.assigned = Some(Signed { by: "ada".to_owned(), at: 1 }))),
        ("machine", with(&|plan| plan.machine = MachineId::from_random([8; 16]))),
        ("mac", with(&|plan| plan.mac = mac(2))),
        ("name", with(&|plan| plan.name = format!("{name}2"))),
        ("profile", with(&|plan| plan.profile = format!("{profile}2"))),
        ("choice", with(&|plan| plan.choice = Some("rescue".to_owned()))),
        ("workloads", with(&|plan| plan.workloads = [workloads.clone(), vec!["w".to_owned()]].concat())),
        ("view", with(&|plan| plan.view = ViewId([77; 16]))),
        ("kernel", with(&|plan| plan.kernel = BootFile::View(format!("{kernel}2")))),
        ("initrds", with(&|plan| plan.initrds.push(BootFile::View("/initrd.img".to_owned())))),
        ("root", with(&|plan| plan.root = Root::None)),
        ("initramfs", with(&|plan| plan.initramfs = Some(Initramfs::Dracut))),
        ("mounts", with(&|plan| drop(plan.mounts.insert("/home".to_owned(), home.clone())))),
        ("log", with(&|plan| plan.log = Some(LogPlace::Syslog("logs".to_owned())))),
        ("secrets", with(&|plan| drop(plan.secrets.insert("key".to_owned(), secret.clone())))),
        ("mounted", with(&|plan| drop(plan.mounted.insert("/apps".to_owned(), vec![GenerationId([1; 32])])))),
        ("an argument more", with(&|plan| plan.args = [args.clone(), vec!["quiet".to_owned()]].concat())),
        ("an argument less", with(&|plan| plan.args = args[..1].to_vec())),
        ("no facts", with(&|plan| plan.facts = None)),
        ("why", with(&|plan| plan.why = [why.clone(), vec![because.clone()]].concat())),
        ("facts: name", fact(&|facts| facts.name.push('2'))),
        ("facts: mac", fact(&|facts| facts.mac.push('2'))),
        ("facts: macs", fact(&|facts| facts.macs.push("52:54:00:00:00:02".to_owned()))),
        ("facts: address", fact(&|facts| facts.address = None)),
        ("facts: profile", fact(&|facts| facts.profile.push('2'))),
        ("facts: workloads", fact(&|facts| facts.workloads.push("w".to_owned()))),
        ("facts: groups", fact(&|facts| facts.groups.push("g".to_owned()))),
        ("facts: vars", fact(&|facts| drop(facts.vars.insert("a".to_owned(), "b".to_owned())))),
        ("facts: server", fact(&|facts| facts.site.server = address(77))),
        ("facts: domain", fact(&|facts| facts.site.domain = Some("example.org".to_owned()))),
        ("facts: dns", fact(&|facts| facts.site.dns.push([10, 0, 0, 2].into()))),
        ("facts: examined", fact(&|facts| facts.examined.suppose("a".parse().unwrap(), Value::Bool(true)))),
        ("facts: ntp", fact(&|facts| facts.site.ntp.push([10, 0, 0, 2].into()))),
    ]
}

#[test]
fn a_boot_answers_only_what_would_be_told_the_same_in_every_field() {
    let plan = told(boot(7), 1, 1);
    let pins = [pin(&plan, MADE)];
    let request = request(Ask::Whole, MADE);
    assert_eq!(answer(&request, &pins, &plan, &plan), Some(boot(7)));
    for (field, other) in others(&plan) {
        assert_eq!(answer(&request, &pins, &plan, &other), None, "{field}");
        assert_eq!(answer(&request, &pins, &other, &plan), None, "{field}");
    }
    assert_eq!(request.answered_by(&pins, &|_| None, &|boot| told(boot, 1, 1)), None, "no plan is left");
}

#[test]
fn a_plan_that_was_read_from_the_disk_says_the_same() {
    let plan = told(boot(7), 1, 1);
    let read: BootPlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(answer(&request(Ask::Whole, MADE), &[pin(&plan, MADE)], &read, &plan), Some(boot(7)));
}

#[test]
fn a_boot_answers_for_ten_minutes_and_a_part_of_its_script_for_ever() {
    let plan = told(boot(7), 1, 1);
    let pins = [pin(&plan, MADE)];
    for ask in [Ask::Whole, Ask::Length, Ask::Part] {
        let at = |now| answer(&request(ask, now), &pins, &plan, &plan).is_some();
        assert!(at(MADE) && at(MADE + YOUNG - 1), "{ask:?}");
        assert_eq!(at(MADE + YOUNG), ask == Ask::Part, "{ask:?}");
        assert!(at(MADE - 5000), "a clock that was set back makes no boot old: {ask:?}");
    }
}

#[test]
fn a_boot_that_was_mounted_or_went_elsewhere_or_is_another_nics_answers_nothing() {
    let plan = told(boot(7), 1, 1);
    let now = request(Ask::Whole, MADE + 1);
    for phase in [Phase::Running, Phase::Up] {
        assert_eq!(answer(&now, &[Pin { phase, ..pin(&plan, MADE) }], &plan, &plan), None, "{phase:?}");
    }
    assert_eq!(answer(&now, &[Pin { address: address(2), ..pin(&plan, MADE) }], &plan, &plan), None);
    assert_eq!(answer(&now, &[Pin { mac: mac(2), ..pin(&plan, MADE) }], &plan, &plan), None);
    assert_eq!(answer(&now, &[], &plan, &plan), None);
}

#[test]
fn the_newest_boot_of_the_nic_counts_and_none_that_is_older_than_a_root_that_is_mounted() {
    let plan = told(boot(7), 1, 1);
    let of = |number: u64, made: u64, phase: Phase, nic: u8| Pin {
        boot: boot(number),
        phase,
        mac: mac(nic),
        ..pin(&plan, made)
    };
    let now = request(Ask::Whole, MADE + 9);
    let answer = |pins: &[Pin]| answer(&now, pins, &plan, &plan);
    let booting = Phase::Booting;
    assert_eq!(answer(&[of(8, MADE + 1, booting, 1), of(7, MADE, booting, 1)]), Some(boot(8)));
    assert_eq!(
        answer(&[of(7, MADE, booting, 1), of(8, MADE + 1, booting, 2)]),
        Some(boot(7)),
        "another NIC boots too"
    );
    for phase in [Phase::Running, Phase::Up] {
        for nic in [1, 2] {
            assert_eq!(
                answer(&[of(7, MADE, booting, 1), of(8, MADE + 1, phase, nic)]),
                None,
                "{phase:?} {nic}"
            );
            assert_eq!(answer(&[of(7, MADE, booting, 1), of(6, MADE - 1, phase, nic)]), Some(boot(7)));
        }
    }
}

#[test]
fn who_has_only_its_own_word_waits_while_the_nic_boots_elsewhere() {
    let plan = told(boot(7), 1, 1);
    let booting = pin(&plan, MADE);
    let asks = |at, now, is_vouched_for| {
        let request = Request { address: address(at), is_vouched_for, ..request(Ask::Whole, now) };
        request.waits_for(std::slice::from_ref(&booting))
    };
    assert_eq!(asks(2, MADE + YOUNG - 1, false), Some(address(1)));
    assert_eq!(asks(2, MADE + YOUNG, false), None, "what was told long ago is nobody's to wait for");
    assert_eq!(asks(1, MADE, false), None, "it is the one that was told");
    assert_eq!(asks(2, MADE, true), None, "a lease or the link says who it is");
    let request = Request { address: address(2), is_vouched_for: false, ..request(Ask::Whole, MADE) };
    for other in [Pin { phase: Phase::Up, ..booting.clone() }, Pin { mac: mac(2), ..booting.clone() }] {
        assert_eq!(request.waits_for(&[other]), None);
    }
}

/// What happens to a machine of two NICs.
#[derive(Debug, Clone)]
enum Step {
    Asks(u8, Ask),
    BootTokens(u64),
    /// A tree is staged or rolled back: another edition of the site.
    Staged(u8),
    /// The boot that a NIC was last told mounts its root.
    Mounts(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let ask = prop_oneof![4 => Just(Ask::Whole), 2 => Just(Ask::Part), 1 => Just(Ask::Length)];
    prop_oneof![
        12 => (1..=2u8, ask).prop_map(|(nic, ask)| Step::Asks(nic, ask)),
        4 => (0..YOUNG / 2).prop_map(Step::BootTokens),
        1 => (0..3u8).prop_map(Step::Staged),
        1 => (1..=2u8).prop_map(Step::Mounts),
    ]
}

/// A boot that was made: for which NIC, when, after how many stages and mounts, beside how many mounted roots.
#[derive(Debug)]
struct Made {
    nic: u8,
    at: u64,
    staged: usize,
    mounts: usize,
    mounted: usize,
}

/// The server, as far as one machine goes: requests and pins by the rules, and what it has made.
#[derive(Default)]
struct World {
    now: u64,
    edition: u8,
    staged: usize,
    pins: Vec<Pin>,
    plans: BTreeMap<BootId, BootPlan>,
    made: Vec<Made>,
    last: BTreeMap<u8, BootId>,
    mounts: usize,
}

impl World {
    fn happens(&mut self, event: &Event) {
        for change in changes(&self.pins, event, &|_| false, self.now) {
            let boot = match &change {
                PinChange::Put(pin) => pin.boot,
                PinChange::Delete(boot) => *boot,
            };
            self.pins.retain(|pin| pin.boot != boot);
            match change {
                PinChange::Put(pin) => self.pins.push(pin),
                PinChange::Delete(boot) => drop(self.plans.remove(&boot)),
            }
        }
    }

    fn asks(&mut self, nic: u8, ask: Ask) {
        let request =
            Request { mac: mac(nic), address: address(nic), ask, now: self.now, is_vouched_for: true };
        let wanted = |boot| told(boot, nic, self.edition);
        let answer = request.answered_by(&self.pins, &|boot| self.plans.get(&boot).cloned(), &wanted);
        if ask == Ask::Length {
            return;
        }
        let boot = answer.map(|plan| plan.boot).unwrap_or_else(|| {
            let plan = told(boot(self.made.len() as u64), nic, self.edition);
            let mounted = self.pins.iter().filter(|pin| pin.phase != Phase::Booting).count();
            let Self { now: at, staged, mounts, .. } = *self;
            self.made.push(Made { nic, at, staged, mounts, mounted });
            let new = pin(&plan, self.now);
            self.plans.insert(plan.boot, plan.clone());
            self.happens(&Event::Planned(new));
            plan.boot
        });
        assert!(self.plans.contains_key(&boot), "what is answered can be booted");
        assert_eq!(self.plans[&boot].view, ViewId([self.edition; 16]), "and is what the site says now");
        self.last.insert(nic, boot);
    }
}

impl World {
    fn mounts(&mut self, nic: u8) {
        let pin = self.last.get(&nic).and_then(|boot| self.pins.iter().find(|pin| pin.boot == *boot));
        if let Some(pin) = pin.filter(|pin| pin.phase == Phase::Booting) {
            let event = Event::Mounted { boot: pin.boot, mac: pin.mac, address: pin.address };
            self.happens(&event);
            self.mounts += 1;
        }
    }

    /// Lives through all that happens, by the first `nics` of its NICs.
    fn live(steps: Vec<Step>, nics: u8) -> Self {
        let mut world = Self { now: MADE, ..Self::default() };
        for step in steps {
            match step {
                Step::Asks(nic, ask) => world.asks(nic.min(nics), ask),
                Step::BootTokens(seconds) => world.now += seconds,
                Step::Staged(edition) => {
                    world.staged += usize::from(edition != world.edition);
                    world.edition = edition;
                }
                Step::Mounts(nic) => world.mounts(nic.min(nics)),
            }
        }
        world
    }

    /// Two boots of one NIC within ten minutes, between which the site was the same and nothing was mounted.
    fn too_many(&self) -> Option<[&Made; 2]> {
        self.made.iter().enumerate().find_map(|(place, first)| {
            let next = self.made.get(place + 1..)?.iter().find(|next| next.nic == first.nic)?;
            let same = next.staged == first.staged && next.mounts == first.mounts;
            (same && next.at - first.at < YOUNG).then_some([first, next])
        })
    }
}

proptest! {
    #[test]
    fn no_order_of_requests_makes_a_second_boot_in_ten_minutes_while_nothing_changes(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let world = World::live(steps, 1);
        prop_assert!(world.too_many().is_none(), "{:?}", world.too_many());
    }

    #[test]
    fn nor_of_either_nic_of_a_machine_that_has_two_unless_mounted_roots_leave_place_for_one_boot(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let world = World::live(steps, 2);
        if let Some([first, next]) = world.too_many() {
            prop_assert!(next.mounted >= 2, "{first:?} {next:?}");
        }
    }
}
