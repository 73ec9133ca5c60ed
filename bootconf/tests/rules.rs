//! What machines get by the facts that are told of them: `[[rule]]`, and layers with a condition.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

mod common;

use std::net::IpAddr;
use std::sync::Arc;

use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decision::{Decision, Part, decide, parts};
use oneroot_bootconf::hardware::{Claims, Fact};
use oneroot_bootconf::{Site, stacks};
use oneroot_ids::Mac;

const SITE: &str = r#"
[server]
address = "10.0.0.1"
interface = "eth0"
[[network]]
subnet = "10.0.0.0/24"
pool = "10.0.0.100-10.0.0.199"
[[network]]
subnet = "10.0.1.0/24"
pool = "10.0.1.100-10.0.1.199"

[profile.base]
source = { tar = "base.tar" }
layers = ["layers/common", { path = "layers/x1", when = { product = "X1*" } }]
[profile.desktop]
extends = "base"
[profile.kiosk]
extends = "base"

[workload.render]
layers = [{ path = "layers/gpu", when = { nic = "10de:*", memory = "8192-" } }]

[group.all]
macs = "*:*"
args = ["group"]
vars = { who = "group" }
workloads = ["render"]

[[rule]]
when = { product = ["ThinkPad X1*", "X1*"], manufacturer = "lenovo" }
name = "node-{serial}"
profile = "desktop"
layers = ["layers/lenovo"]
args = ["rule1"]
vars = { who = "rule" }

[[rule]]
when = { network = "10.0.1.0/24" }
profile = "kiosk"
args = ["rule2"]

[machine.alpha]
mac = "52:54:00:00:00:0a"
profile = "base"
args = ["own"]
[machine.beta]
mac = "52:54:00:00:00:0b"
vars = { who = "beta" }
"#;

fn text() -> String {
    SITE.replace("\"*:*\"", "[\"52:*\", \"02:*\"]")
}

fn site() -> Site {
    common::site(&text())
}

fn mac(last: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

fn told(facts: &[(Fact, &str)]) -> Arc<Claims> {
    let mut claims = Claims::default();
    facts.iter().for_each(|(fact, text)| claims.suppose(*fact, text).unwrap());
    Arc::new(claims)
}

fn x1() -> Arc<Claims> {
    told(&[(Fact::Manufacturer, "LENOVO"), (Fact::Product, "X1 Carbon"), (Fact::Serial, "PF 12/3")])
}

fn of(site: &Site, asked: &Asked) -> Option<Decision> {
    decide(&Catalogue::of(site), asked).ok()?.into_profile()
}

fn decided(last: u8, claims: Arc<Claims>) -> Option<Decision> {
    of(&site(), &Asked::by(mac(last)).telling(claims))
}

fn from<'d>(decision: &'d Decision, what: &str, hidden: bool) -> Vec<(&'d str, &'d str)> {
    let told = decision.why.iter().filter(|why| why.what == what && why.hidden == hidden);
    told.map(|why| (why.value.as_str(), why.from.as_str())).collect()
}

fn layer(path: &str) -> Part {
    Part::Layer { path: format!("/site/{path}").into() }
}

#[test]
fn the_first_rule_that_fits_gives_a_machine_that_nobody_has_named_its_boot_and_its_name() {
    let decision = decided(9, x1()).unwrap();
    assert_eq!((decision.profile.as_str(), decision.name.as_deref()), ("desktop", Some("node-pf-12-3")));
    assert!(decision.is_claimed);
    assert_eq!(from(&decision, "profile", false)[0], ("desktop", "[[rule]] 1 (line 29)"));
    assert_eq!(decision.args, ["group", "rule1"], "after groups and before the machine");
    assert_eq!(decision.vars["who"], "rule");
    let base = Part::Profile { name: "base".to_owned() };
    assert_eq!(decision.parts, [base, layer("layers/common"), layer("layers/x1"), layer("layers/lenovo")]);
    let elsewhere = Asked::at(mac(9), IpAddr::from([10, 0, 1, 150]));
    assert_eq!(of(&site(), &elsewhere).unwrap().profile, "kiosk");
    assert_eq!(of(&site(), &elsewhere.telling(x1())).unwrap().profile, "desktop", "the first one counts");
    assert_eq!(decided(9, Arc::default()), None, "what is not told fits nothing");
}

#[test]
fn a_machine_that_the_site_names_keeps_its_name_and_its_profile_whatever_it_tells() {
    let alpha = decided(0x0a, x1()).unwrap();
    assert_eq!(
        (alpha.name.as_deref(), alpha.profile.as_str(), alpha.is_claimed),
        (Some("alpha"), "base", false)
    );
    assert_eq!(from(&alpha, "profile", true), [("desktop", "[[rule]] 1 (line 29)")]);
    assert_eq!(from(&alpha, "name", true), [("node-pf-12-3", "[[rule]] 1 (line 29)")]);
    assert_eq!(
        alpha.args,
        ["group", "own"],
        "a rule gives nothing to one of which its table says what it boots"
    );
    let beta = decided(0x0b, x1()).unwrap();
    assert_eq!((beta.profile.as_str(), beta.vars["who"].as_str()), ("desktop", "beta"));
    assert_eq!(decided(0x0b, Arc::default()), None);
}

#[test]
fn a_name_that_the_site_has_is_given_to_nobody_by_a_rule() {
    let text =
        format!("{}[machine.node-7]\nmac = \"52:54:00:00:00:0c\"\n", SITE.replace("\"*:*\"", "\"52:*\""));
    let site = common::site(&text);
    let claims = told(&[(Fact::Manufacturer, "Lenovo"), (Fact::Product, "X1"), (Fact::Serial, "7")]);
    let decision = of(&site, &Asked::by(mac(9)).telling(claims)).unwrap();
    assert_eq!((decision.name, decision.profile.as_str()), (None, "desktop"));
    let hidden: Vec<_> = decision.why.iter().filter(|why| why.what == "name").collect();
    assert!(hidden.len() == 1 && hidden[0].hidden);
}

#[test]
fn a_layer_whose_condition_is_not_true_is_left_out_and_said_and_one_of_a_workload_likewise() {
    let decision = decided(9, x1()).unwrap();
    let out = "[workload.render], only when memory = \"8192-\", nic = \"10de:*\"";
    assert_eq!(from(&decision, "layer", true)[..1], [("/site/layers/gpu", out)]);
    let mut claims = Claims::clone(&x1());
    claims.suppose(Fact::Nic, "10DE:2684".to_lowercase().as_str()).unwrap();
    claims.suppose(Fact::Memory, "8191").unwrap();
    assert!(!decided(9, Arc::new(claims.clone())).unwrap().parts.contains(&layer("layers/gpu")));
    claims.suppose(Fact::Memory, "8192").unwrap();
    assert!(decided(9, Arc::new(claims)).unwrap().parts.contains(&layer("layers/gpu")));
    let alpha = decided(0x0a, Arc::default()).unwrap();
    assert_eq!(alpha.parts, [Part::Profile { name: "base".to_owned() }, layer("layers/common")]);
}

#[test]
fn what_may_come_is_staged_and_checked_whatever_its_condition() {
    let site = site();
    let staged: Vec<Part> = parts(&site).into_iter().map(|(part, _)| part).collect();
    for path in ["layers/common", "layers/x1", "layers/gpu", "layers/lenovo"] {
        assert!(staged.contains(&layer(path)), "{path}");
    }
    let stacks = stacks(&site);
    let base = Part::Profile { name: "base".to_owned() };
    assert!(stacks.contains(&vec![base.clone(), layer("layers/common")]), "none of them");
    assert!(stacks.contains(&vec![base.clone(), layer("layers/common"), layer("layers/x1")]));
    let all = [layer("layers/common"), layer("layers/x1"), layer("layers/lenovo")];
    assert!(stacks.iter().any(|stack| all.iter().all(|part| stack.contains(part))));
    let catalogue = Catalogue::of(&site);
    let tried: Vec<_> =
        catalogue.everybody().filter_map(|(name, asked)| Some((name, of(&site, &asked)?))).collect();
    assert!(tried.iter().any(|(name, one)| name.is_none() && one.profile == "desktop"), "by each rule");
    assert!(
        tried.iter().any(|(name, one)| *name == Some("alpha") && one.parts.contains(&layer("layers/gpu")))
    );
}

#[test]
fn each_word_of_a_condition_goes_by_its_own_fact() {
    for (word, fact, yes, no) in [
        ("arch = \"x86_64\"", Fact::Arch, "x86_64", "i386"),
        ("firmware = \"bios\"", Fact::Firmware, "bios", "uefi"),
        ("manufacturer = \"Dell*\"", Fact::Manufacturer, "DELL Inc.", "Del"),
        ("product = \"Opti?lex*\"", Fact::Product, "OptiPlex 7080", "Optilex"),
        ("serial = \"5XK*\"", Fact::Serial, "5xk2q73", "X5XK"),
        (
            "uuid = \"4C4C4544-*\"",
            Fact::Uuid,
            "4c4c4544-0051-3010-8052-b4c04f4d3232",
            "5c4c4544-0051-3010-8052-b4c04f4d3232",
        ),
        ("asset = \"IT-*\"", Fact::Asset, "it-0042", "HR-1"),
        ("memory = \"4096-8191\"", Fact::Memory, "8191", "8192"),
        ("cpu = \"*Xeon*\"", Fact::Cpu, "Intel(R) Xeon(R)", "Atom"),
        ("nic = \"8086:15*\"", Fact::Nic, "8086:15bb", "8086:100e"),
        ("vendor_class = \"PXEClient:*\"", Fact::VendorClass, "PXEClient:Arch:00000", "HTTPClient"),
        ("user_class = \"*gold*\"", Fact::UserClass, "iPXE,gold", "iPXE"),
        ("relay = \"10.20.0.0/16\"", Fact::Relay, "10.20.3.1", "10.21.3.1"),
        ("circuit_id = \"Gi1/0/*\"", Fact::CircuitId, "Gi1/0/7", "Gi2/0/7"),
        ("remote_id = \"00:04:*\"", Fact::RemoteId, "00:04:01", "00:05:01"),
        ("interface = \"eth0\"", Fact::Interface, "eth0", "eth1"),
    ] {
        let text = format!(
            "{}[[rule]]\nwhen = {{ {word} }}\nprofile = \"desktop\"\n",
            SITE.split("[[rule]]").next().unwrap().replace("\"*:*\"", "\"52:*\"")
        );
        let site = common::site(&text);
        let is = |text: &str| {
            let asked = Asked::by(mac(9)).telling(told(&[(fact, text)]));
            of(&site, &asked).is_some()
        };
        assert!(is(yes) && !is(no), "{word}");
        assert!(of(&site, &Asked::by(mac(9))).is_none(), "{word}: nobody told it");
    }
}

#[test]
fn what_a_machine_has_found_out_fits_as_it_was_printed_and_of_a_list_one_text() {
    let when = |wanted: &str| {
        let site = common::site(&text().replacen(
            "product = [\"ThinkPad X1*\", \"X1*\"], manufacturer = \"lenovo\"",
            wanted,
            1,
        ));
        move |json: &str| {
            let claims: Claims = serde_json::from_str(&format!("{{\"examined\": {json}}}")).unwrap();
            let decided = of(&site, &Asked::by(mac(9)).telling(Arc::new(claims)));
            decided.is_some_and(|decision| decision.profile == "desktop")
        }
    };
    let fits = when("examined = { rack = [\"b*\", \"c1\"], gpu = 2, scratch = true }");
    assert!(fits(r#"{"rack": "B7", "gpu": 2, "scratch": true, "more": "x"}"#));
    assert!(fits(r#"{"rack": ["a", "c1"], "gpu": "2", "scratch": "true"}"#), "a word is a word");
    for not in [
        r#"{"rack": "a7", "gpu": 2, "scratch": true}"#,
        r#"{"rack": "b7", "gpu": 20, "scratch": true}"#,
        r#"{"rack": "b7", "gpu": 2, "scratch": false}"#,
        r#"{"rack": "b7", "gpu": 2}"#,
        r#"{"rack": [], "gpu": 2, "scratch": true}"#,
        "{}",
    ] {
        assert!(!fits(not), "{not}");
    }
    assert!(when("examined = { gpu = [-1, 0x10] }")(r#"{"gpu": 16}"#));
}
