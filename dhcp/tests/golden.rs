//! Packets of real clients, caught by the VM tests: each is accepted, and known for what it is.
//!
//! `golden/*.hex` has one DHCP payload on each line, in hexadecimal; `#` begins a comment. The first comment says who
//! sent them: `# expect: ipxe`, `# expect: pxe arch=7`, `# expect: http arch=16`, `# expect: system`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::path::Path;

use oneroot_dhcp::{Client, Request};

/// What the file says of itself, in the words of its first comment.
fn who(client: &Client) -> String {
    let class = match (client.ipxe, client.http, client.pxe) {
        // iPXE names the architecture of the firmware below it, which says nothing of what it can load.
        (true, ..) => return "ipxe".to_owned(),
        (false, true, _) => "http",
        (false, false, true) => "pxe",
        (false, false, false) => return "system".to_owned(),
    };
    client
        .architectures
        .first()
        .map_or(class.to_owned(), |architecture| format!("{class} arch={architecture}"))
}

fn unhex(text: &str, at: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "{at}: half a byte");
    let byte = |from: usize| u8::from_str_radix(&text[from..from + 2], 16);
    (0..text.len())
        .step_by(2)
        .map(|from| byte(from).unwrap_or_else(|_| panic!("{at}: no hexadecimal")))
        .collect()
}

/// Looks at one file; the number of its packets.
fn check(path: &Path) -> usize {
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let expected = text.lines().find_map(|line| line.strip_prefix("# expect: "));
    let expected = expected.unwrap_or_else(|| panic!("{name}: does not say `# expect: ...`")).trim();
    let lines =
        text.lines().enumerate().map(|(number, line)| (number + 1, line.split('#').next().unwrap().trim()));
    let packets: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    for (number, packet) in &packets {
        let at = format!("{name}:{number}");
        let request = Request::parse(&unhex(packet, &at)).unwrap_or_else(|refused| panic!("{at}: {refused}"));
        assert_eq!(who(&Client::of(&request)), expected, "{at}");
    }
    assert!(!packets.is_empty(), "{name}: has no packet");
    packets.len()
}

#[test]
fn every_captured_packet_is_accepted_and_known_for_what_it_is() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
    let files = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "hex")).collect();
    let packets: usize = files.iter().map(|path| check(path)).sum();
    // What is not there can't be wrong: a capture that is lost is not to look like one that is good.
    assert!(
        files.len() >= 6 && packets >= 14,
        "only {packets} packets in {} files of {}",
        files.len(),
        folder.display()
    );
}
