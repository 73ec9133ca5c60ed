//! Any bytes as what the site's decide program has printed.
//!
//! Input: the bytes. What must hold: an answer names what the site has, within its bounds, and no directory; what is taken is written and
//! read again as the same; an error is one short line, and the same twice.

use std::path::Path;
use std::sync::OnceLock;

use oneroot_bootconf::answer::LONGEST;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decision::decide;
use oneroot_bootconf::gives::{Boots, Gives};
use oneroot_bootconf::{Site, load_str};

const SITE: &str = r#"
[server]
address = "10.0.0.1"
interface = "eth0"
[[network]]
subnet = "10.0.0.0/24"
pool = "10.0.0.100-10.0.0.199"
[decide]
program = "./decide"
[profile.base]
source = { tar = "base.tar" }
args = ["console=ttyS0"]
[profile.kiosk]
extends = "base"
[workload.print]
args = ["print=1"]
[unknown]
profile = "base"
"#;
/// What a kernel's line has room for beside oneroot's own.
const LONGEST_LINE: usize = 1500;

fn site() -> &'static Site {
    static SITE_READ: OnceLock<Site> = OnceLock::new();
    SITE_READ.get_or_init(|| load_str("site.toml", SITE, Path::new("/site")).unwrap())
}

pub fn run(data: &[u8]) {
    let (catalogue, asked) = (Catalogue::of(site()), Asked::by("52:54:00:00:00:0b".parse().unwrap()));
    let read = |bytes: &[u8]| Gives::answered_for(&catalogue, &asked, bytes);
    let gives = match read(data) {
        Ok(gives) => gives,
        Err(cause) => {
            let told = cause.to_string();
            assert!(told.chars().count() < 500, "{told}");
            assert_eq!(read(data), Err(cause));
            return;
        }
    };
    assert!(data.len() <= LONGEST && gives.layers.is_empty());
    assert!(gives.profile().is_none_or(|profile| site().profiles.contains_key(profile)));
    assert!(gives.workloads.iter().all(|name| site().workloads.contains_key(name)));
    assert!(gives.args.iter().all(|argument| argument.bytes().all(|byte| byte.is_ascii_graphic())));
    assert!(gives.vars.values().all(|value| !value.contains(char::is_control)));
    let decided = decide(&catalogue.told(&gives), &asked).unwrap();
    let mut again =
        serde_json::json!({ "workloads": gives.workloads, "args": gives.args, "vars": gives.vars });
    if let Some((key, value)) = gives.boots.as_ref().map(Boots::as_said) {
        again[key] = value.into();
    }
    let Some(decision) = decided.into_profile() else {
        assert!(gives.boots.is_some() && gives.profile().is_none());
        assert_eq!(read(&serde_json::to_vec(&again).unwrap()), Ok(gives));
        return;
    };
    assert!(decision.args.iter().map(|argument| argument.len() + 1).sum::<usize>() <= LONGEST_LINE);
    assert_eq!(decision.profile, gives.profile().unwrap_or("base"));
    assert_eq!(read(&serde_json::to_vec(&again).unwrap()), Ok(gives));
}

/// Answers of every shape, right and wrong.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "{}",
        "null",
        r#"{"profile": "kiosk"}"#,
        r#"{"profile": "kisok"}"#,
        r#"{"profile": "kiosk", "workloads": ["print"], "args": ["a=b"], "vars": {"seat": "7"}}"#,
        r#"{"profile": null, "workloads": null}"#,
        r#"{"args": ["root=/dev/sda", "init=/bin/sh"]}"#,
        r#"{"args": ["ip=eth0:dhcp", "\"root=x\""]}"#,
        r#"{"vars": {"a": "\u0000", "a": "b"}}"#,
        r#"{"vars": {"": "x", "7": "y", "_": "\ud83d\ude00"}}"#,
        r#"{"workloads": ["print", "print"]}"#,
        r#"{"layers": ["/etc"]}"#,
        r#"{"boot": "local"}"#,
        r#"{"boot": "hold", "args": ["x"]}"#,
        r#"{"boot": "never"}"#,
        r#"{"profile": "kiosk", "boot": "local"}"#,
        r#"{"menu": "tools"}"#,
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        "{\"profile\": \"kiosk\"}\n{}",
    ];
    let long = format!(r#"{{"args": [{}"x"]}}"#, r#""0123456789","#.repeat(120));
    texts.into_iter().map(str::to_owned).chain([long]).map(String::into_bytes).collect()
}
