//! What a machine finds out about itself while it comes up, through a real server: believed of nobody else and at no other time, there
//! for its next boot, and through a kill too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use oneroot_testkit::{Lab, Machine, RELAY, Server, SiteFiles};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// What programs of the tree have found out, as the machine tells it.
const FOUND: &[u8] =
    b"printed 10-rack 42\n{\"rack\": \"b7\", \"gpu\": 2, \"scratch\": true}\n\nprinted 20-odd 6\nno map\nfailed 30-late\n";

/// A machine of which no table says what it boots: a rule does, by what it has found out.
fn site() -> SiteFiles {
    let mut site = SiteFiles::with_two().unwrap();
    let text = site.text().replacen(
        "profile = \"debian\"\nlayer = \"layers/alpha\"",
        "layer = \"layers/alpha\"\nworkloads = [\"racks\"]",
        1,
    );
    let text = text.replace(
        "layers = [\"layers/common\"]",
        "layers = [\"layers/common\", { path = \"layers/gpu\", when = { examined = { gpu = [1, 2], scratch = true } } }]",
    );
    site.set_text(&text);
    site.add(
        "[workload.racks]\nlayers = [\"layers/rack\"]\n[profile.kiosk]\nextends = \"debian\"\nargs = [\"kiosk=1\"]\n\
         [[rule]]\nwhen = { examined = { rack = \"B*\" } }\nprofile = \"kiosk\"\n\
         [[rule]]\nwhen = { network = \"192.168.77.0/24\" }\nprofile = \"debian\"\n",
    );
    site.file("common", "etc/oneroot/examine.d/10-rack", "#!/bin/sh\n").unwrap();
    site.file("rack", "etc/rack.j2", "{{ examined.rack if examined.rack is defined else 'none' }}\n")
        .unwrap();
    site.file("common", "etc/issue.j2", "{{ name }}\n").unwrap();
    site.file("gpu", "etc/gpu", "yes\n").unwrap();
    let shell = site.path().join("root/bin/sh");
    fs::create_dir_all(shell.parent().unwrap()).unwrap();
    fs::write(&shell, &fs::read("/proc/self/exe").unwrap()[..64]).unwrap();
    site
}

/// Tells it from a port, or from one below 1024 that is free; the status.
fn tell(machine: &Machine, boot: &str, from: Option<u16>, body: &[u8]) -> u16 {
    let head = format!(
        "POST /b/{boot}/examined HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut server = match from {
        Some(from) => machine.connect(80, from).unwrap(),
        None => (600..1000).find_map(|from| machine.connect(80, from).ok()).unwrap(),
    };
    server.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    // It may be closed with bytes unread.
    let _ = server.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn json(server: &Server, words: &[&str]) -> Value {
    serde_json::from_str(&server.run(&[words, &["--json"]].concat()).unwrap()).unwrap()
}

#[test]
fn what_a_machine_finds_out_changes_its_next_boot_is_believed_while_it_comes_up_and_outlives_the_server() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let beta = host.lease(11, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        assert_eq!(tell(&alpha, &boot.id, None, FOUND), 403, "its root is not mounted yet");
        let mut root = alpha.mount(&boot.export).unwrap();
        let tree = root.read_all().unwrap();
        assert_eq!(tree["/.oneroot/tell-to"], b"192.168.77.1 80\n");
        assert!(tree["/.oneroot/tell"].starts_with(b"\x7fELF"), "what tells is there");
        assert_eq!((&tree["/etc/rack"][..], tree.get("/etc/gpu")), (&b"none\n"[..], None));
        for (what, machine, boot, from, body, status) in [
            ("a user of the machine", &alpha, boot.id.as_str(), Some(40_000), FOUND, 403),
            ("another machine", &beta, &boot.id, None, FOUND, 403),
            ("no boot", &alpha, "0123456789abcdef", None, FOUND, 404),
            ("no boot's name", &alpha, "root", None, FOUND, 404),
            ("no list", &alpha, &boot.id, None, b"{\"rack\": \"b7\"}", 400),
            ("too much", &alpha, &boot.id, None, &[b'x'; 20_000], 413),
        ] {
            assert_eq!(tell(machine, boot, from, body), status, "{what}");
        }
        assert_eq!(json(&server, &["machines", "show", "alpha"])["examined"], Value::Array(Vec::new()));

        assert_eq!(tell(&alpha, &boot.id, None, FOUND), 204);
        server.wait_for_log("alpha has found out something new about itself", PATIENCE).unwrap();
        server.wait_for_log("its hook examine.d/20-odd has printed what are no facts", PATIENCE).unwrap();
        root.say(&format!("{}.examine-failed-30-late", boot.id)).unwrap();
        server
            .wait_for_log(
                "its hook examine.d/30-late failed, and what it found out the last time stays",
                PATIENCE,
            )
            .unwrap();
        let one = json(&server, &["machines", "show", "alpha"]);
        let facts: Vec<_> = one["examined"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fact| (&fact["name"], &fact["value"], &fact["by"]))
            .collect();
        let by = &Value::from("10-rack");
        assert_eq!(
            facts,
            [
                (&"gpu".into(), &2.into(), by),
                (&"rack".into(), &"b7".into(), by),
                (&"scratch".into(), &true.into(), by)
            ]
        );
        let page = server.run(&["machines", "show", "alpha"]).unwrap();
        assert!(page.contains("rack b7, by 10-rack, since "), "{page}");
        let explained = server.run(&["explain", "alpha"]).unwrap();
        assert!(
            explained.contains("examined.rack b7") && explained.contains("[[rule]] 1 (line"),
            "{explained}"
        );
        let supposed = server.run(&["explain", "alpha", "--fact", "examined.rack=c1"]).unwrap();
        assert!(supposed.contains("[[rule]] 2 (line"), "{supposed}");
        assert!(server.run(&["explain", "alpha", "--fact", "examined.9=c1"]).is_err());
        let behind = server.machine("alpha").unwrap()["behind"].to_string();
        assert!(behind.contains("kiosk"), "its next boot is another: {behind}");
        assert!(behind.contains("what its templates are rendered from has changed"), "{behind}");
        // Another machine, whose templates look at nothing of it.
        let boot = beta.boot().unwrap();
        let _root = beta.mount(&boot.export).unwrap();
        assert_eq!(tell(&beta, &boot.id, None, b"printed 10-rack 13\n{\"rack\": \"c\"}\n"), 204);
        assert_eq!(json(&server, &["machines", "show", "beta"])["examined"][0]["value"], "c");
        assert_eq!(server.machine("beta").unwrap()["behind"], Value::Array(Vec::new()));
        assert_eq!(root.read_all().unwrap()["/etc/rack"], b"none\n", "this one stays as it is");
    })
    .unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let (_, script) = alpha.get("/boot/52-54-00-00-00-0a.ipxe?x=y").unwrap();
        assert!(String::from_utf8(script).unwrap().contains("kiosk=1"));
        let boot = alpha.boot().unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        let tree = root.read_all().unwrap();
        assert_eq!((&tree["/etc/rack"][..], &tree["/etc/gpu"][..]), (&b"b7\n"[..], &b"yes\n"[..]));
        assert!(String::from_utf8_lossy(&tree["/.oneroot/facts.json"]).contains("\"rack\": \"b7\""));
        assert_eq!(tell(&alpha, &boot.id, None, FOUND), 204, "the same again");
        assert_eq!(server.machine("alpha").unwrap()["behind"], Value::Array(Vec::new()));
        root.say(&format!("{}.up", boot.id)).unwrap();
        server.wait_for_step("alpha", "up", PATIENCE).unwrap();
        assert_eq!(
            tell(&alpha, &boot.id, None, b"printed 10-rack 2\n{}\n"),
            403,
            "it is up, and anybody may be there"
        );
        assert_eq!(json(&server, &["machines", "show", "alpha"])["examined"].as_array().unwrap().len(), 3);
    })
    .unwrap();
}
