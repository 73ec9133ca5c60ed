//! A machine that is switched off, or cut off, while its boot is being written: what is on the disk is what the server
//! knows, and the machine boots the next time as any other.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMES: u32 = 60;

#[test]
fn a_machine_that_goes_while_its_boot_is_written_boots_the_next_time() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(SiteFiles::with_alpha(b"kernel").unwrap()).unwrap();
    let booted = lab.on_machines(RELAY, |host| {
        let machine = host.lease(10, PATIENCE).unwrap().unwrap();
        let mut boots = BTreeSet::new();
        for time in 0..TIMES {
            let mut stream = machine.connect(80, 0).unwrap();
            stream.write_all(b"GET /boot/52-54-00-00-00-0a.ipxe? HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            // From before it is looked at to after it is written: somewhere on the way the machine is gone.
            std::thread::sleep(Duration::from_micros(u64::from(time) * 200));
            drop(stream);
            // It runs, so that the next request makes a boot of its own, and has pins to change.
            let boot = machine.boot().unwrap();
            machine.mount(&boot.export).unwrap().lookup("boot/vmlinuz-1").unwrap();
            boots.insert(boot.id);
        }
        assert_eq!(boots.len(), usize::try_from(TIMES).unwrap());
    });
    booted.unwrap();
    assert!(!server.log().contains("another server"), "{}", server.log());
    server.resident().unwrap();
}
