//! The schemas of both sides, `docs/schemas`, by somebody else's validator: what was asked is as they say, and of what is answered they
//! refuse nothing that the server takes, and take nothing of what it refuses for its shape.

use std::fs;
use std::path::Path;
use std::process::Command;

use oneroot_testkit::Server;
use serde_json::Value;

use super::{PATIENCE, asked, put, script, site, with_machines};

/// Of each document, whether it is as its schema says: Debian's python3-jsonschema.
fn valid(server: &Server, schema: &str, documents: &[Value]) -> Vec<bool> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas").join(schema);
    let file = server.site.path().join("documents.json");
    fs::write(&file, serde_json::to_vec(documents).unwrap()).unwrap();
    let text = "import json, sys\nfrom jsonschema import Draft202012Validator as Validator\n\
        schema = json.load(open(sys.argv[1]))\nValidator.check_schema(schema)\n\
        print(json.dumps([Validator(schema).is_valid(one) for one in json.load(open(sys.argv[2]))]))\n";
    let done = Command::new("/usr/bin/python3").args(["-c", text]).arg(&schema).arg(&file).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn what_the_server_asks_is_what_the_schema_says() {
    with_machines(site("", "#!/bin/sh\ncat >>asked\necho '{}'\n"), |server, host, [_, beta, gamma]| {
        script(beta);
        script(gamma);
        script(host.lease(0x21, PATIENCE).unwrap().unwrap());
        let all = "arch=x86_64&platform=efi&product=X1&serial=7&manufacturer=A%26B&asset=r&x.cpu=41&busid=01808610d3\
            &uuid=4c4c4544-0051-3010-8052-b4c04f4d3232&sizes=1000.1000";
        host.lease(0x22, PATIENCE).unwrap().unwrap().boot_telling(all).unwrap();
        let mut asked = asked(server);
        assert_eq!(asked.len(), 4);
        let hardware = asked[3]["hardware"].as_object().unwrap();
        assert!(hardware.len() >= 8, "{hardware:?}");
        asked.push(serde_json::json!({ "mac": "52:54:00:00:00:0B" }));
        // As bootconf/tests/answers.rs has the server say it.
        for examined in [
            serde_json::json!({ "rack": "b7", "gpu": -2, "has-scratch": true, "disks": ["sda"], "none": [] }),
            serde_json::json!({ "9": 1 }),
            serde_json::json!({ "gpu": 1.5 }),
        ] {
            let mut told = asked[0].clone();
            told["examined"] = examined;
            asked.push(told);
        }
        let are_valid = valid(server, "decide-question.json", &asked);
        assert_eq!(are_valid, [true, true, true, true, false, true, false, false]);
    });
}

#[test]
fn what_the_server_takes_for_an_answer_the_schema_does_too_and_what_has_another_shape_neither_does() {
    let answers = [
        ("{}", true),
        (r#"{"profile": "kiosk"}"#, true),
        (r#"{"profile": "kiosk", "workloads": [], "args": [], "vars": {}}"#, true),
        (
            r#"{"profile": "kiosk", "workloads": ["print"], "args": ["a=b", "\"q\""], "vars": {"_a1": "x y ü"}}"#,
            true,
        ),
        (r#"{"boot": "local"}"#, true),
        (r#"{"boot": "hold", "vars": {"why": "in repair"}}"#, true),
        (r#"{"boot": "disk"}"#, false),
        (r#"{"boot": "local", "profile": "kiosk"}"#, false),
        (r#"{"profile": null}"#, false),
        (r#"{"profile": ["kiosk"]}"#, false),
        (r#"{"profile": "kiosk", "layers": ["/etc"]}"#, false),
        (r#"{"profile": "kiosk", "name": "node7"}"#, false),
        (r#"{"workloads": "print"}"#, false),
        (r#"{"workloads": [7]}"#, false),
        (r#"{"args": ["a b"]}"#, false),
        (r#"{"args": [""]}"#, false),
        (r#"{"args": ["ä"]}"#, false),
        (r#"{"vars": {"a": 7}}"#, false),
        (r#"{"vars": {"7a": "x"}}"#, false),
        (r#"{"vars": {"a": "x\ny"}}"#, false),
        (r#"{"vars": []}"#, false),
        ("[]", false),
        ("\"kiosk\"", false),
        ("null", false),
    ];
    with_machines(site("cache = \"0s\"", "#!/bin/sh\nexec cat answer\n"), |server, _, [_, beta, _]| {
        let answer = server.site.path().join("answer");
        let documents: Vec<Value> =
            answers.iter().map(|(text, _)| serde_json::from_str(text).unwrap()).collect();
        let valid = valid(server, "decide-answer.json", &documents);
        for ((text, is_good), valid) in answers.into_iter().zip(valid) {
            fs::write(&answer, text).unwrap();
            let before = super::told(server)["failed"].clone();
            let is_kiosk = script(beta).contains("kiosk=1");
            assert_eq!(super::told(server)["failed"] == before, is_good, "{text}: {}", super::told(server));
            assert_eq!(is_kiosk, is_good && text.contains("kiosk"), "{text}");
            assert_eq!(valid, is_good, "the schema, of {text}");
        }
        // What JSON readers don't agree on, and what goes beyond a schema.
        for text in [
            r#"{"vars": {"a": "1", "a": "2"}}"#,
            r#"{"profile": "kiosk", "profile": "debian"}"#,
            r#"{"workloads": ["pint"]}"#,
            r#"{"args": ["init=/bin/sh"]}"#,
            "{\"profile\": \"kiosk\"}\u{0}",
        ] {
            fs::write(&answer, text).unwrap();
            let before = super::told(server)["failed"].clone();
            assert!(!script(beta).contains("kiosk=1"), "{text}");
            assert_ne!(super::told(server)["failed"], before, "{text}");
        }
        put(
            &server.site,
            "#!/bin/sh\necho '{\"args\": ['; for i in $(seq 199); do printf '\"argument=%s\",' $i; done; echo '\"x\"]}'\n",
        );
        assert!(!script(beta).contains("argument=7"), "too long a line: {}", super::told(server));
    });
}
