//! A key that may have become known is replaced while machines run on what it has sealed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::time::Duration;

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn keys(server: &Server, words: &[&str]) -> Vec<Value> {
    let told = server.run(&[&["keys"], words, &["--json"]].concat()).unwrap();
    serde_json::from_str::<Value>(&told).unwrap()["keys"].as_array().unwrap().clone()
}

fn numbers(keys: &[Value]) -> Vec<(u64, bool, bool)> {
    let one = |key: &Value| {
        (key["number"].as_u64().unwrap(), key["seals"].as_bool().unwrap(), key["next"].as_bool().unwrap())
    };
    keys.iter().map(one).collect()
}

#[test]
fn a_key_is_replaced_while_a_machine_runs_and_goes_when_nothing_of_it_is_held() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(SiteFiles::with_alpha(b"kernel").unwrap()).unwrap();
    let export = lab
        .on_machines(RELAY, |host| {
            let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
            let boot = alpha.boot().unwrap();
            let root = alpha.mount(&boot.export).unwrap();
            (boot.export, root.handle().to_vec())
        })
        .unwrap();
    let first = keys(&server, &[]);
    assert_eq!(numbers(&first), [(1, true, true)]);
    assert_eq!(first[0]["machines"][0], "alpha");
    assert_eq!(numbers(&keys(&server, &["rotate"])), [(1, true, false), (2, false, true)]);
    let table = server.run(&["keys"]).unwrap();
    assert!(
        table.contains("until the server starts again") && table.contains("from the next start on"),
        "{table}"
    );
    server.kill9().unwrap();
    server.restart().unwrap();
    let rotated = keys(&server, &[]);
    assert_eq!(numbers(&rotated), [(1, false, false), (2, true, true)]);
    let refused = server.run(&["keys", "retire"]).unwrap_err().to_string();
    assert!(refused.contains("alpha") && refused.contains("have not booted since"), "{refused}");
    let new = lab
        .on_machines(RELAY, |host| {
            let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
            let mut old = alpha.resume(export.1.clone()).unwrap();
            old.read_all().unwrap();
            let again = alpha.mount(&export.0).unwrap();
            (again.handle() != export.1, again.handle().to_vec())
        })
        .unwrap();
    assert!(new.0, "what is made from now on is sealed with the new key");
    server.run(&["release", "alpha"]).unwrap();
    assert_eq!(numbers(&keys(&server, &["retire"])), [(2, true, true)]);
    server.kill9().unwrap();
    server.restart().unwrap();
    assert_eq!(numbers(&keys(&server, &[])), [(2, true, true)]);
}
