//! What a large site costs: 10,000 machines, 200 groups, 500 rules. How long `check` reads it, and how long one decision takes, for a machine that
//! no rule fits, so that all of them are looked at, and for one that the last fits.
//!
//! `cargo bench -p oneroot-bootconf --bench decide` makes docs/benchmarks.md's figures.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at its first surprise")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decision::decide;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::hardware::{Claims, Fact};
use oneroot_bootconf::{load_str, stacks};
use oneroot_ids::Mac;

const MACHINES: u16 = 10_000;
const GROUPS: u16 = 200;
const RULES: u16 = 500;
const DECISIONS: u32 = 20_000;

fn mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac::new([0x52, 0x54, 0, 1, high, low]).unwrap()
}

fn text() -> String {
    let mut text = String::from(
        "[server]\naddress = \"10.77.0.1\"\ninterface = \"lan\"\n[[network]]\nsubnet = \"10.77.0.0/16\"\n\
         [profile.base]\nsource = { directory = \"root\" }\n[profile.desk]\nextends = \"base\"\n\
         [workload.render]\nargs = [\"render=1\"]\n[unknown]\nprofile = \"base\"\n",
    );
    for group in 0..GROUPS {
        let high = group % 40;
        writeln!(
            text,
            "[group.g{group}]\nmachines = \"m{group}-*\"\nmacs = \"52:54:00:01:{high:02x}:*\"\nargs = [\"group={group}\"]"
        )
        .unwrap();
    }
    for rule in 0..RULES {
        let of = match rule % 4 {
            0 => format!("product = [\"OptiPlex {rule}*\", \"*Latitude {rule}?0\"]"),
            1 => format!("manufacturer = \"Dell*\", serial = \"{rule}-*Q*\""),
            2 => format!("nic = \"8086:{rule:04x}\", memory = \"{rule}-\""),
            _ => format!("circuit_id = \"Gi{rule}/*\", network = \"10.77.0.0/16\""),
        };
        writeln!(text, "[[rule]]\nwhen = {{ {of} }}\nprofile = \"desk\"\nworkloads = [\"render\"]").unwrap();
    }
    for machine in 0..MACHINES {
        let [high, low] = machine.to_be_bytes();
        writeln!(
            text,
            "[machine.m{}-{machine}]\nmac = \"{}\"\naddress = \"10.77.{}.{low}\"\nprofile = \"base\"",
            machine % GROUPS,
            mac(machine),
            high + 1
        )
        .unwrap();
    }
    text
}

fn main() {
    let text = text();
    let begun = Instant::now();
    let site = load_str("site.toml", &text, Path::new("/site")).map_err(|told| told.to_string()).unwrap();
    println!(
        "{MACHINES} machines, {GROUPS} groups, {RULES} rules: read and checked in {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    let catalogue = Catalogue::of(&site);
    let begun = Instant::now();
    let stacks = stacks(&site).len();
    println!(
        "everybody decided once, before anybody has told anything: {:.2} s ({stacks} stacks)",
        begun.elapsed().as_secs_f64()
    );
    let told = |facts: &[(Fact, &str)]| {
        let mut claims = Claims::default();
        facts.iter().for_each(|(fact, text)| claims.suppose(*fact, text).unwrap());
        Arc::new(claims)
    };
    let other = [
        (Fact::Product, "ThinkCentre M75q Gen 2 Latitude 9"),
        (Fact::Manufacturer, "Dell Inc."),
        (Fact::Serial, "5XK2173"),
        (Fact::Nic, "8086:ffff"),
        (Fact::Memory, "65536"),
        (Fact::CircuitId, "Gi9999/0/1"),
    ];
    let last = (Fact::CircuitId, "Gi499/0/1");
    for (what, facts) in
        [("no rule fits", other.to_vec()), ("the last rule fits", [&other[..5], &[last]].concat())]
    {
        let claims = told(&facts);
        let begun = Instant::now();
        for number in 0..DECISIONS {
            let number = u16::try_from(number % u32::from(MACHINES)).unwrap();
            let asked = Asked::by(mac(number)).telling(claims.clone());
            let decision = decide(&catalogue, &asked).unwrap().into_profile().unwrap();
            black_box(Facts::of(&catalogue, &decision, &asked));
        }
        let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS);
        println!("a decision, {what}: {each:.1} µs");
    }
}
