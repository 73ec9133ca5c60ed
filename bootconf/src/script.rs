//! Boot scripts for iPXE, in the words that its version of 2019 knows, which is what Debian 12 ships.
//!
//! Nothing that a client has sent is ever pasted in: URLs and arguments come from the plan alone (hostile-inputs H6).

use std::net::IpAddr;

use crate::identity::BootId;

/// `http://server[:port]`, as clients are told.
#[must_use]
pub fn http_base(server: IpAddr, port: u16) -> String {
    let host = match server {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    if port == 80 { format!("http://{host}") } else { format!("http://{host}:{port}") }
}

/// The script that boots a plan: `name` for the screen, the kernel's arguments, and whether there is an initrd.
///
/// `initrd=` is said to the kernel too: an EFI kernel finds the initrd by that name and by nothing else.
#[must_use]
pub fn boot(base: &str, boot: BootId, name: &str, args: &[String], initrd: bool) -> String {
    let mut script = format!("#!ipxe\necho oneroot: {name}, boot {boot}\n:again\n");
    let named = if initrd { " initrd=initrd" } else { "" };
    let args = args.join(" ");
    script.push_str(&format!("kernel --name kernel {base}/b/{boot}/kernel{named} {args} || goto failed\n"));
    if initrd {
        script.push_str(&format!("initrd --name initrd {base}/b/{boot}/initrd || goto failed\n"));
    }
    script.push_str("boot || goto failed\n:failed\necho oneroot: that did not work, again in 5 s\nimgfree\nsleep 5\ngoto again\n");
    script
}

/// The script for a machine that gets no boot: says why, and asks again, so that adopting it needs no walk to it.
#[must_use]
pub fn refused(url: &str, reason: &str) -> String {
    let reason: String = reason
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .filter(|c| !"${}&|".contains(*c))
        .collect();
    format!(
        "#!ipxe\necho oneroot: {reason}\necho oneroot: asking again in 30 s\nsleep 30\nchain --replace {url} ||\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_fetches_kernel_and_initrd_of_its_own_boot() {
        let base = http_base(IpAddr::from([10, 0, 0, 1]), 8080);
        let script = boot(&base, BootId::from_random([1; 8]), "alpha", &["ro".to_owned()], true);
        assert!(script.starts_with("#!ipxe\n"));
        assert!(script.contains(
            "kernel --name kernel http://10.0.0.1:8080/b/0101010101010101/kernel initrd=initrd ro ||"
        ));
        assert!(script.contains("initrd --name initrd http://10.0.0.1:8080/b/0101010101010101/initrd ||"));
    }

    #[test]
    fn a_reason_can_not_become_a_command() {
        let script = refused("http://10.0.0.1/x", "bad\nshell ${net0/mac} && exit | x");
        assert_eq!(script.lines().count(), 5);
        assert!(!script.contains('$') && !script.contains("&&"));
    }
}
