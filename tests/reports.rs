//! What init tells of its boot by HTTP: whom it is believed of, what is kept of it, and what of floods and of bytes that are none.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, Machine, RELAY, Server, SiteFiles};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const LOST: &str = "phase carrier\nat 23000\ntook 20000\nfailed no carrier on eth1 (52:54:00:00:00:0a) for 20 s\nkernel igc 0000:01:00.0: link is down\n";

/// Tells of a boot from a port, or from one below 1024 that is free; the whole answer.
fn tell(machine: &Machine, boot: &str, from: Option<u16>, body: &[u8]) -> String {
    let head = format!(
        "POST /b/{boot}/report HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    send(machine, from, &[head.as_bytes(), body].concat())
}

fn send(machine: &Machine, from: Option<u16>, bytes: &[u8]) -> String {
    let mut server: TcpStream = match from {
        Some(from) => machine.connect(80, from).unwrap(),
        None => (600..1000).find_map(|from| machine.connect(80, from).ok()).unwrap(),
    };
    server.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // It may be closed with bytes unread.
    let _ = server.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn boots(server: &Server, machine: &str) -> Vec<Value> {
    let told: Value = serde_json::from_str(&server.run(&["boots", machine, "--json"]).unwrap()).unwrap();
    told["boots"].as_array().unwrap().clone()
}

#[test]
fn a_report_is_believed_of_its_own_machine_from_a_port_that_no_user_has_and_told_with_what_helps() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    let (alpha, boot) = lab
        .on_machines(RELAY, |host| {
            let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
            let beta = host.lease(11, PATIENCE).unwrap().unwrap();
            let boot = alpha.boot().unwrap().id;
            for (what, machine, boot, from, status) in [
                ("a user of the machine", &alpha, boot.as_str(), Some(40_000), 403),
                ("another machine", &beta, &boot, None, 403),
                ("no boot", &alpha, "0123456789abcdef", None, 404),
                ("no boot's name", &alpha, "root", None, 404),
            ] {
                let answer = tell(machine, boot, from, LOST.as_bytes());
                assert_eq!(status_of(&answer), status, "{what}: {answer}");
            }
            assert!(boots(&server, "alpha").is_empty());

            let answer = tell(&alpha, &boot, None, b"phase settings\nat 900\ntook 4\n");
            assert_eq!(status_of(&answer), 204, "{answer}");
            assert!(answer.contains("\r\nDate: "), "{answer}");
            assert_eq!(
                server.machine("alpha").unwrap()["steps"].as_array().unwrap().last().unwrap()["step"],
                "settings"
            );
            for _ in 0..3 {
                assert_eq!(status_of(&tell(&alpha, &boot, None, LOST.as_bytes())), 204);
            }
            let said = "alpha does not come up (carrier): no carrier on eth1";
            server.wait_for_log(said, PATIENCE).unwrap();
            assert_eq!(server.log().matches(said).count(), 1, "once a boot");
            let line = server.log().lines().find(|line| line.contains(said)).unwrap().to_owned();
            assert!(line.contains("machine=alpha") && line.contains("mac=52:54:00"), "{line}");
            for words in [&["status"][..], &["machines", "show", "alpha"], &["boots"], &["boots", "alpha"]] {
                let page = server.run(words).unwrap();
                assert!(page.contains("no carrier on eth1") && page.contains("look at the cable"), "{page}");
            }
            assert!(server.run(&["boots", "alpha"]).unwrap().contains("link is down"));

            // Written behind its back.
            std::thread::sleep(Duration::from_secs(1));
            (alpha, boot)
        })
        .unwrap();
    // What was told is there after a kill, and what comes then is of the same boot.
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |host| {
        assert!(host.lease(10, PATIENCE).unwrap().is_some(), "at the address that it had");
        let kept = boots(&server, "alpha");
        assert_eq!((kept.len(), &kept[0]["failures"][0]["phase"]), (1, &"carrier".into()));
        assert!(server.run(&["status"]).unwrap().contains("no carrier on eth1"));
        assert_eq!(status_of(&tell(&alpha, &boot, None, b"phase carrier\nat 60000\ntook 50000\n")), 204);
        let mut root = alpha.mount(&alpha.boot().unwrap().export).unwrap();
        root.say(&format!("{boot}.up")).unwrap();
        server.wait_for_step("alpha", "up", PATIENCE).unwrap();
        let now = &boots(&server, "alpha")[0];
        assert_eq!((&now["boot"], &now["phase"]), (&boot.as_str().into(), &"up".into()));
        assert_eq!(
            (&now["failures"][0]["is_over"], now["phases"].as_array().unwrap().len()),
            (&true.into(), 2)
        );
        let steps: Vec<&str> =
            now["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
        assert!(["settings", "carrier", "root", "up"].iter().all(|step| steps.contains(step)), "{steps:?}");
        assert!(!server.run(&["status"]).unwrap().contains("no carrier on eth1"));
    })
    .unwrap();
    assert!(server.run(&["boots", "nobody"]).is_err());
}

#[test]
fn bytes_that_are_no_report_are_refused_and_no_text_of_a_machines_is_obeyed() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap().id;
        let long = format!("{LOST}{}", "kernel x\n".repeat(1000));
        for (what, body, status) in [
            ("too long", long.as_bytes(), 413),
            ("no text", &b"\xff\xfe\x00"[..], 400),
            ("no phase", b"at 1\ntook 1\n", 400),
            ("a phase of nobody's", b"phase rm\nat 1\ntook 1\n", 400),
        ] {
            assert_eq!(status_of(&tell(&alpha, &boot, None, body)), status, "{what}");
        }
        let head = |more: &str| format!("POST /b/{boot}/report HTTP/1.1\r\nHost: x\r\n{more}\r\n");
        assert_eq!(status_of(&send(&alpha, None, head("Transfer-Encoding: chunked\r\n").as_bytes())), 411);
        assert_eq!(status_of(&send(&alpha, None, head("Content-Length: 99999999999\r\n").as_bytes())), 413);
        // Behind a report nothing is a request.
        let hidden = format!("{}{LOST}GET /undionly.kpxe HTTP/1.1\r\nHost: x\r\n\r\n", head(&format!("Content-Length: {}\r\n", LOST.len())));
        assert_eq!(send(&alpha, None, hidden.as_bytes()).matches("HTTP/1.1 ").count(), 1);

        let nasty = "phase root\nat 1\ntook 1\nfailed \u{1b}[2J\u{9b}31m\u{202e}gone\rERROR forged\nkernel \u{1b}]0;x\u{7}\n";
        let answer = status_of(&tell(&alpha, &boot, None, nasty.as_bytes()));
        assert!([204, 400].contains(&answer), "{answer}");
        let pages = [server.log(), server.run(&["boots", "alpha"]).unwrap(), server.run(&["status"]).unwrap()];
        for page in pages {
            let bad = |char: char| char.is_control() && char != '\n' || char == '\u{202e}';
            assert!(!page.contains(bad), "{page:?}");
            assert!(!page.lines().any(|line| line.starts_with("ERROR forged")));
        }
    })
    .unwrap();
}

#[test]
fn a_machine_that_tells_without_end_is_not_heard_and_costs_others_nothing() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let beta = host.lease(11, PATIENCE).unwrap().unwrap();
        let (boot, other) = (alpha.boot().unwrap().id, beta.boot().unwrap().id);
        assert_eq!(status_of(&tell(&beta, &other, None, LOST.as_bytes())), 204);
        let before = server.resident().unwrap();
        let mut heard = 0;
        let begun = Instant::now();
        for number in 0..300_u32 {
            let report =
                format!("phase root\nat {number}\ntook 1\nfailed {}\n", format!("{number} ").repeat(100));
            let from = 600 + u16::try_from(number).unwrap();
            match status_of(&tell(&alpha, &boot, Some(from), report.as_bytes())) {
                204 => heard += 1,
                status => assert_eq!(status, 429),
            }
        }
        // 32 at once, then one in two seconds.
        let due = 33 + begun.elapsed().as_secs() / 2;
        assert!(heard >= 32 && heard <= due, "{heard} of {due}");
        assert!(server.resident().unwrap() < before + (8 << 20));
        let kept = boots(&server, "alpha");
        assert_eq!((kept.len(), kept[0]["failures"].as_array().unwrap().len()), (1, 4));
        assert!(server.log().matches("alpha does not come up").count() < 40);
        assert!(server.log().matches("refused a report").count() < 40, "the limiter has it");
        assert_eq!(boots(&server, "beta")[0]["failures"][0]["phase"], "carrier");
        assert_eq!(status_of(&tell(&beta, &other, None, b"phase settings\nat 9\ntook 4\n")), 204);
    })
    .unwrap();
}
