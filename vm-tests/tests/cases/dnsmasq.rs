//! Others' servers on the machines' network: DHCP without booting, names.

use std::process::{Child, Command, Stdio};

use oneroot_testkit::Lab;

/// A dnsmasq on a host of its own, 192.168.77.2; it ends when dropped.
pub struct Dnsmasq(Child);

impl Dnsmasq {
    /// Starts one that does what these words say and nothing else.
    pub fn start(lab: &Lab, words: &[&str]) -> Self {
        let start = || {
            Command::new("dnsmasq")
                .args([
                    "--keep-in-foreground",
                    "--conf-file=/dev/null",
                    "--leasefile-ro",
                    "--log-facility=-",
                    "--user=root",
                    "--pid-file=",
                ])
                .args(words)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        Self(lab.on_host("192.168.77.2/24", start).unwrap().unwrap())
    }

    /// A name server that knows `files.lab.example`, in a network whose machines are told of it.
    pub fn names(lab: &Lab) -> Self {
        Self::start(lab, &["--no-resolv", "--no-hosts", "--address=/files.lab.example/192.168.77.77"])
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
