//! Boot scripts for iPXE, in the words that its version of 2019 knows, which is what Debian 12 ships.
//!
//! Nothing that a client has sent is ever pasted in: URLs and arguments come from the plan alone.

use std::net::IpAddr;

use oneroot_ids::Mac;

use crate::hardware::Hardware;
use crate::plan::{BootPlan, KERNEL};

/// `http://server[:port]`, as clients are told.
#[must_use]
pub fn http_base(server: IpAddr, port: u16) -> String {
    let host = host(server);
    if port == 80 { format!("http://{host}") } else { format!("http://{host}:{port}") }
}

/// An address as it stands in a URL.
fn host(server: IpAddr) -> String {
    match server {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Where a machine's script is by HTTP.
#[must_use]
pub fn url(base: &str, mac: Mac) -> String {
    format!("{base}/boot/{}.ipxe", mac.dashed())
}

/// The script that boots a plan; `url` is where the machine's script is.
///
/// `initrd=` is said to the kernel too, for each of them: an EFI kernel finds an initrd by that name and by nothing else. What has failed three
/// times asks anew what to boot, for the boot may be gone; each try waits its five seconds, and nothing of it ever ends, for
/// firmware that is left to itself may ask for no boot again.
#[must_use]
pub fn boot(base: &str, plan: &BootPlan, url: &str) -> String {
    let BootPlan { boot, name, .. } = plan;
    let mut script =
        format!("#!ipxe\necho oneroot: {name}, boot {boot}\n:begin\nset tries:int32 0\n:again\n");
    let initrds: Vec<String> = plan.files().skip(1).map(|(name, _)| name).collect();
    let said = initrds.iter().map(|name| format!("initrd={name}"));
    let args: String = said.chain(plan.args.iter().cloned()).map(|word| format!(" {word}")).collect();
    script.push_str(&format!("kernel --name {KERNEL} {base}/b/{boot}/{KERNEL}{args} || goto failed\n"));
    for name in &initrds {
        script.push_str(&format!("initrd --name {name} {base}/b/{boot}/{name} || goto failed\n"));
    }
    script.push_str(
        "boot || goto failed\n:failed\necho oneroot: that did not work, again in 5 s\nimgfree\nsleep 5\n",
    );
    script.push_str("inc tries\niseq ${tries} 3 || goto again\n");
    script
        .push_str(&format!("echo oneroot: asking anew what to boot\nchain --replace {url} ||\ngoto begin\n"));
    script
}

/// The script for a machine that gets no boot: says why, and asks again, so that adopting it needs no walk to it.
#[must_use]
pub fn refused(url: &str, reason: &str) -> String {
    let reason: String = reason
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        // iPXE would expand `${...}`, and take `||` and `&&` for its own.
        .filter(|c| !"${}&|".contains(*c))
        .collect();
    let ask = format!("echo oneroot: asking again in 30 s\nsleep 30\nchain --replace {url} ||\ngoto again\n");
    format!("#!ipxe\necho oneroot: {reason}\n:again\n{ask}")
}

/// The script that asks a machine for the facts of its hardware, and leads it to the script that it boots by; `url` is where that
/// is. A BIOS' iPXE is a 32-bit program on a 64-bit processor too, so it looks whether that has the long mode.
#[must_use]
pub fn ask(url: &str) -> String {
    let query = Hardware::query();
    format!(
        "#!ipxe\nset oneroot-arch ${{buildarch}}\n\
         iseq ${{buildarch}} i386 && cpuid --ext 29 && set oneroot-arch x86_64 ||\n\
         chain --replace {url}?{query} ||\n:again\necho oneroot: that did not work, again in 5 s\nsleep 5\n\
         chain --replace {url} ||\ngoto again\n"
    )
}

/// What is told by TFTP before a peer has shown that it hears us: the way to the name with its cookie, which makes the boot.
/// `server` is the address as the peer knows it.
#[must_use]
pub fn lead(server: IpAddr, mac: Mac, cookie: &str) -> String {
    let own = format!("tftp://{}/boot/{}", host(server), mac.dashed());
    format!(
        "#!ipxe\nchain --replace {own}.{cookie}.ipxe ||\n:again\necho oneroot: that did not work, again in 5 s\nsleep 5\n\
         chain --replace {own}.ipxe ||\ngoto again\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BootFile;

    #[test]
    fn a_script_fetches_kernel_and_initrd_of_its_own_boot() {
        let base = http_base(IpAddr::from([10, 0, 0, 1]), 8080);
        let script = boot(&base, &plan(&["/initrd.img"]), &url(&base, mac()));
        assert!(script.starts_with("#!ipxe\n"));
        assert!(script.contains(
            "kernel --name kernel http://10.0.0.1:8080/b/0101010101010101/kernel initrd=initrd ro ||"
        ));
        assert!(script.contains("initrd --name initrd http://10.0.0.1:8080/b/0101010101010101/initrd ||"));
    }

    #[test]
    fn of_several_initrds_each_is_fetched_in_its_turn_and_each_is_said_to_the_kernel() {
        let script = boot("http://10.0.0.1", &plan(&["/ucode.img", "/initrd.img"]), "");
        assert!(script.contains("/kernel initrd=initrd initrd=initrd2 ro ||"), "{script}");
        let fetched: Vec<&str> = script.lines().filter(|line| line.starts_with("initrd ")).collect();
        let line = |name: &str| {
            format!("initrd --name {name} http://10.0.0.1/b/0101010101010101/{name} || goto failed")
        };
        assert_eq!(fetched, [line("initrd"), line("initrd2")]);
        let script = boot("http://10.0.0.1", &plan(&[]), "");
        assert!(!script.contains("initrd"), "{script}");
    }

    fn plan(initrds: &[&str]) -> BootPlan {
        BootPlan {
            boot: oneroot_ids::BootId::from_random([1; 8]),
            machine: oneroot_ids::MachineId::from_random([1; 16]),
            mac: mac(),
            name: "alpha".to_owned(),
            profile: "debian".to_owned(),
            choice: None,
            workloads: vec![],
            view: oneroot_ids::ViewId([1; 16]),
            kernel: BootFile::View("/vmlinuz".to_owned()),
            initrds: initrds.iter().map(|path| BootFile::View((*path).to_owned())).collect(),
            args: vec!["ro".to_owned()],
            root: crate::root::Root::Nfs,
            initramfs: None,
            mounts: crate::site::mounts::Mounts::new(),
            log: None,
            secrets: crate::site::secrets::Secrets::new(),
            mounted: crate::plan::Mounted::new(),
            assigned: None,
            facts: None,
            why: vec![],
        }
    }

    fn mac() -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, 0x0a]).unwrap()
    }

    /// What runs when this line fails each time that it can, as iPXE goes through a script: the commands, up to a bound.
    fn failing(script: &str, most: usize) -> Vec<&str> {
        let lines: Vec<&str> = script.lines().skip(1).collect();
        let place = |label: &str| lines.iter().position(|line| *line == format!(":{label}")).unwrap();
        let (mut at, mut tries, mut ran) = (0, 0, Vec::new());
        while ran.len() < most {
            let line = *lines.get(at).expect("a script never comes to its end");
            at += 1;
            let (command, otherwise) = line.split_once(" ||").unwrap_or((line, ""));
            let word = command.split(' ').next().unwrap();
            let failed = match word {
                "set" => {
                    tries = 0;
                    false
                }
                "inc" => {
                    tries += 1;
                    false
                }
                "iseq" => tries != 3,
                "kernel" | "initrd" | "boot" | "chain" => true,
                "goto" => {
                    at = place(command.split_once(' ').unwrap().1);
                    continue;
                }
                _ => false,
            };
            ran.push(command);
            assert!(!failed || line.contains("||"), "{line} would end the script");
            if let Some(label) = otherwise.trim().strip_prefix("goto ").filter(|_| failed) {
                at = place(label);
            }
        }
        ran
    }

    #[test]
    fn a_script_that_has_failed_three_times_asks_anew_what_to_boot_and_never_ends_or_hurries() {
        let base = http_base(IpAddr::from([10, 0, 0, 1]), 80);
        let own = url(&base, mac());
        let boot = boot(&base, &plan(&["/initrd.img"]), &own);
        let lead = lead([10, 0, 0, 1].into(), mac(), &"0a".repeat(16));
        for script in [boot, refused(&own, "because"), lead, ask(&own)] {
            let ran = failing(&script, 1000);
            let asks: Vec<usize> = (0..ran.len()).filter(|at| ran[*at].starts_with("chain")).collect();
            assert!(asks.len() > 20, "{script}");
            for pair in asks.windows(2) {
                let between = &ran[pair[0]..pair[1]];
                let kernels = between.iter().filter(|line| line.starts_with("kernel")).count();
                assert!([0, 3].contains(&kernels), "{between:?}");
                let waits = between.iter().filter(|line| line.starts_with("sleep")).count();
                assert_eq!(waits, kernels.max(1), "{between:?}");
            }
        }
    }

    #[test]
    fn a_script_that_asks_for_facts_has_each_in_one_line_that_no_fact_can_end() {
        let own = url("http://10.0.0.1", mac());
        let script = ask(&own);
        let asks: Vec<&str> = script.lines().filter(|line| line.contains('?')).collect();
        let [line] = asks.as_slice() else { panic!("{script}") };
        let query =
            line.strip_prefix(&format!("chain --replace {own}?")).and_then(|line| line.strip_suffix(" ||"));
        for pair in query.unwrap().split('&') {
            let (name, value) = pair.split_once('=').unwrap();
            for setting in value.split("${").skip(1) {
                // What iPXE knows as a text is said in digits; the others are a word each.
                let is_plain =
                    ["platform", "uuid", "oneroot-arch"].iter().any(|word| setting.starts_with(word));
                assert!(setting.contains(":hexraw}") || is_plain, "{name} {setting}");
            }
        }
        assert!(script.len() < 4096);
    }

    #[test]
    fn a_lead_is_what_ipxe_and_tftp_take_as_a_name() {
        let script = lead([10, 0, 0, 1].into(), mac(), &"0a".repeat(16));
        let name = format!("boot/52-54-00-00-00-0a.{}.ipxe", "0a".repeat(16));
        assert!(
            script.starts_with(&format!("#!ipxe\nchain --replace tftp://10.0.0.1/{name} ||\n")),
            "{script}"
        );
        assert!(script.contains("\nchain --replace tftp://10.0.0.1/boot/52-54-00-00-00-0a.ipxe ||\n"));
        assert!(name.len() < 128 && script.len() < 512, "one datagram, and DHCP's field for a name");
    }

    #[test]
    fn a_reason_can_not_become_a_command() {
        let script = refused("http://10.0.0.1/x", "bad\nshell ${net0/mac} && exit | x");
        assert_eq!(script.lines().count(), 7);
        assert!(!script.contains('$') && !script.contains("&&"));
    }
}
