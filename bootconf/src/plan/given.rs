//! What a machine is given beside its tree: a few files that lie in `/.oneroot` of its own view, for its init to put into
//! `/run` and `/etc` (docs/decisions/0010).
//!
//! They say two things to whatever manages the network in that tree: leave the NIC that carries the root alone, and here is
//! what its lease said; and to its init what to mount (`plan/mounts.rs`). A pure function of frozen facts: the same facts give the same files.

use std::net::{IpAddr, Ipv4Addr};

use crate::decide::facts::{Facts, SiteFacts};
use crate::plan::args::BOOT_NIC;
use crate::plan::{mounts, own, secrets};
use crate::root::Initramfs;
use crate::site::log_place::LogPlace;
use crate::site::mounts::Mounts;
use crate::site::secrets::Secrets;

/// systemd's last steps, by the service for each, with the kernel's key for what ends the same way (sysrq).
const OFF: [(&str, Option<char>); 4] =
    [("poweroff", Some('o')), ("reboot", Some('b')), ("halt", None), ("kexec", None)];
/// Seconds that file servers are given to take what was not written yet. systemd gives them more, and looks at whether they take it.
const LAST_WRITES: u32 = 10;
/// Where the files are, by what they are for: `run/` is put into `/run` as it is, `etc/` where the tree has nothing better.
pub const HOME: &str = ".oneroot";
/// Bytes of memory that a machine's journal may take.
const JOURNAL: &str = "64M";
/// resolv.conf(5): the resolver heeds so many name servers.
const MOST_SERVERS: usize = 3;

/// Everything that the files are made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Given {
    /// MAC of the NIC that boots, with colons.
    mac: String,
    name: String,
    domain: Option<String>,
    dns: Vec<Ipv4Addr>,
    ntp: Vec<Ipv4Addr>,
    /// The initramfs was told to rename the NIC.
    renamed: bool,
    /// The VLAN that init has made a link for, over the NIC: the root comes by that one.
    vlan: Option<u16>,
    /// What it writes may lie in compressed swap.
    zram: bool,
    mounts: Mounts,
    log: Option<LogPlace>,
    /// Which secrets it asks for, and where.
    secrets: Option<(Secrets, Vec<IpAddr>, u16)>,
    /// For its tree's hooks, where it has any.
    facts: Option<Facts>,
    /// Where it tells what its tree's programs find out about it, where there are such.
    tells: Option<(Vec<IpAddr>, u16)>,
}

impl Given {
    /// What a machine with these facts is given.
    #[must_use]
    pub fn of(facts: &Facts, initramfs: Initramfs, mounts: &Mounts, log: Option<&LogPlace>) -> Self {
        Self {
            mac: facts.mac.clone(),
            name: facts.name.clone(),
            domain: facts.site.domain.clone(),
            dns: facts.site.dns.clone(),
            ntp: facts.site.ntp.clone(),
            renamed: initramfs == Initramfs::Dracut,
            vlan: None,
            zram: false,
            mounts: mounts.clone(),
            log: log.cloned(),
            secrets: None,
            facts: None,
            tells: None,
        }
    }

    /// The same with what it has to know of its secrets, where it has any: its server gives them, by this port and at its other addresses too.
    #[must_use]
    pub fn with_secrets(self, facts: &Facts, secrets: &Secrets, more: &[Ipv4Addr], port: u16) -> Self {
        let asks = || (secrets.clone(), own::servers(facts.site.server, more).collect(), port);
        Self { secrets: (!secrets.is_empty()).then(asks), ..self }
    }

    /// The same with its facts, for the hooks of its tree.
    #[must_use]
    pub fn with_facts(self, facts: &Facts) -> Self {
        Self { facts: Some(facts.clone()), ..self }
    }

    /// The same with where it tells what its tree's programs find out about it: its server, the site's at these
    /// addresses, and HTTP's port there.
    #[must_use]
    pub fn with_servers(self, facts: &Facts, more: &[Ipv4Addr], port: u16) -> Self {
        Self { tells: Some((own::servers(facts.site.server, more).collect(), port)), ..self }
    }

    /// The same where its init makes a link for a VLAN.
    #[must_use]
    pub fn with_vlan(self, vlan: Option<u16>) -> Self {
        Self { vlan, ..self }
    }

    /// The same where its init makes a zram disk.
    #[must_use]
    pub fn with_zram(self, zram: bool) -> Self {
        Self { zram, ..self }
    }

    /// The files, by their paths below [`HOME`], in order.
    #[must_use]
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files = vec![
            ("etc/hostname".to_owned(), format!("{}\n", self.name)),
            ("etc/hosts".to_owned(), self.hosts()),
            // Which NIC is meant, for the managers that know NICs by name alone: only the machine knows that.
            ("nic".to_owned(), format!("{}\n", self.mac)),
            ("run/NetworkManager/conf.d/00-oneroot.conf".to_owned(), self.network_manager()),
            ("run/systemd/network/00-oneroot.network".to_owned(), self.networkd()),
            ("run/udev/rules.d/79-oneroot.rules".to_owned(), self.udev()),
        ];
        if self.renamed {
            files.extend(self.naming());
        }
        if self.vlan.is_some() {
            files.push(("run/systemd/network/01-oneroot-nic.network".to_owned(), self.below_the_vlan()));
        }
        if self.zram {
            files.extend(off_with_swap());
        }
        if !self.dns.is_empty() {
            files.push(("etc/resolv.conf".to_owned(), self.resolv_conf()));
            let searched = self.domain.as_ref().map_or(String::new(), |domain| format!("Domains={domain}\n"));
            let text = format!("[Resolve]\nDNS={}\n{searched}", list(&self.dns, " "));
            files.push(("run/systemd/resolved.conf.d/oneroot.conf".to_owned(), text));
        }
        if !self.ntp.is_empty() {
            let text = format!("[Time]\nNTP={}\n", list(&self.ntp, " "));
            files.push(("run/systemd/timesyncd.conf.d/oneroot.conf".to_owned(), text));
            let sources = self.ntp.iter().map(|server| format!("server {server} iburst\n")).collect();
            files.push(("run/chrony-dhcp/oneroot.sources".to_owned(), sources));
        }
        files.extend(mounts::files(&self.mounts, &self.name));
        files.extend(self.log());
        if let Some((wanted, servers, port)) = &self.secrets {
            files.push((secrets::LIST.to_owned(), secrets::list(wanted, servers, *port)));
        }
        if let Some(facts) = &self.facts {
            files.push(("facts".to_owned(), environment(facts)));
            // It is made of texts, numbers and addresses alone.
            files.extend(
                serde_json::to_string_pretty(facts).ok().map(|text| ("facts.json".to_owned(), text + "\n")),
            );
        }
        files.extend(self.tells.as_ref().map(|(servers, port)| {
            let lines = servers.iter().map(|server| format!("{server} {port}\n")).collect();
            ("tell-to".to_owned(), lines)
        }));
        files.sort();
        files
    }

    /// A journal on the disk would be one in memory, and gone with it: so it is the one that journald bounds itself. Where the site has a
    /// place for logs, whoever sends there is told of it, if the tree has it.
    fn log(&self) -> Vec<(String, String)> {
        let volatile = format!("[Journal]\nStorage=volatile\nRuntimeMaxUse={JOURNAL}\n");
        // Whose journal has a disk of its own keeps it there.
        let lasts = |at: &&str| self.mounts.get(*at).is_some_and(|mount| mount.what.outlives());
        let has_disk = ["/var", "/var/log", "/var/log/journal"].iter().any(lasts);
        let journald =
            (!has_disk).then(|| ("run/systemd/journald.conf.d/50-oneroot.conf".to_owned(), volatile));
        let mut files: Vec<(String, String)> = journald.into_iter().collect();
        match &self.log {
            Some(LogPlace::Journal(url)) => {
                let wants = "[Unit]\nWants=systemd-journal-upload.service\n".to_owned();
                files.push((
                    "run/systemd/journal-upload.conf.d/50-oneroot.conf".to_owned(),
                    format!("[Upload]\nURL={url}\n"),
                ));
                files.push(("run/systemd/system/multi-user.target.d/51-oneroot-log.conf".to_owned(), wants));
                // It ends when it can't send, and after five such ends within some seconds systemd 252 would let it be. Whether it is started
                // again at all is its unit's to say, and not every release's unit says it.
                let tries_on =
                    "[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nRestart=on-failure\nRestartSec=10\n"
                        .to_owned();
                let drop_in = "run/systemd/system/systemd-journal-upload.service.d/50-oneroot.conf";
                files.push((drop_in.to_owned(), tries_on));
            }
            Some(LogPlace::Syslog(host)) => {
                files.push(("etc/rsyslog.d/50-oneroot.conf".to_owned(), format!("*.* @{host}\n")));
            }
            None => {}
        }
        files
    }

    /// systemd-networkd drops an address that it finds and does not know, and then reads no byte more of its own root. It may
    /// ask for the lease itself, and learns so what the lease says.
    fn networkd(&self) -> String {
        // `Kind=!*`, for a VLAN or a bridge over the NIC has the same MAC and is its tree's own, but for the one that init has made.
        let (link, kind) = match self.vlan {
            None => ("NIC", "Kind=!*".to_owned()),
            Some(vlan) => ("VLAN", format!("Kind=vlan\nName=*.{vlan}")),
        };
        format!(
            "# The root comes over this {link}.\n[Match]\nMACAddress={}\n{kind}\n\n[Network]\nDHCP=ipv4\n\
             KeepConfiguration=yes\n\n[DHCPv4]\nClientIdentifier=mac\nUseDomains=yes\n",
            self.mac
        )
    }

    /// A NIC that asked for an address beside its VLAN would be given the one that the VLAN has: it is the same machine.
    fn below_the_vlan(&self) -> String {
        format!(
            "# The root comes over a VLAN of this NIC.\n[Match]\nMACAddress={}\nKind=!*\n\n[Link]\nUnmanaged=yes\n",
            self.mac
        )
    }

    /// The NIC has the name that dracut was told to give it; udev gives it the one that it would have had, where the kernel
    /// renames a NIC that is up (6.2), and lists that name beside the other where it does not. What dracut was told stands on
    /// the kernel's command line, from which systemd makes the same link file once more, so that is hidden.
    fn naming(&self) -> [(String, String); 2] {
        let policy = "database onboard slot path";
        let text = format!(
            "[Match]\nMACAddress={}\n\n[Link]\nNamePolicy=kernel {policy}\nAlternativeNamesPolicy={policy}\n",
            self.mac
        );
        [
            (format!("etc/systemd/network/70-{BOOT_NIC}.link"), String::new()),
            ("run/systemd/network/98-oneroot.link".to_owned(), text),
        ]
    }

    /// ifupdown knows NICs by name, and udev may give this one another than it has when init looks: a kernel from 6.2 on
    /// renames it while it is up. This sorts before ifupdown's own rule, so no `ifup` comes between. What the machine makes
    /// over the NIC, a VLAN or a bridge, has the same MAC and is its tree's own.
    fn udev(&self) -> String {
        format!(
            "ACTION==\"add\", SUBSYSTEM==\"net\", DEVPATH!=\"/devices/virtual/*\", ATTR{{address}}==\"{}\", \
             RUN+=\"/bin/sh /{HOME}/ifupdown\"\n",
            self.mac
        )
    }

    /// NetworkManager leaves the NIC alone, and so would know no name server.
    fn network_manager(&self) -> String {
        let mut text = format!(
            "# The root comes over this NIC.\n[device-oneroot]\nmatch-device=mac:{}\nmanaged=0\n",
            self.mac
        );
        if !self.dns.is_empty() {
            let searched =
                self.domain.as_ref().map_or(String::new(), |domain| format!("searches={domain}\n"));
            text += &format!(
                "\n[global-dns]\n{searched}\n[global-dns-domain-*]\nservers={}\n",
                list(&self.dns, ",")
            );
        }
        text
    }

    fn resolv_conf(&self) -> String {
        let searched = self.domain.iter().map(|domain| format!("search {domain}\n"));
        let servers = self.dns.iter().take(MOST_SERVERS).map(|server| format!("nameserver {server}\n"));
        searched.chain(servers).collect()
    }

    fn hosts(&self) -> String {
        let full = self.domain.as_ref().map_or(String::new(), |domain| format!("{}.{domain} ", self.name));
        format!(
            "127.0.0.1 localhost\n127.0.1.1 {full}{}\n::1 localhost ip6-localhost ip6-loopback\n",
            self.name
        )
    }
}

/// A machine's facts as lines for a shell's `export`, which takes all that stands behind the first `=` as it is.
fn environment(facts: &Facts) -> String {
    let Facts { name, mac, macs, address, profile, workloads, groups, vars, site, .. } = facts;
    let SiteFacts { server, domain, dns, ntp } = site;
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    let fixed = [
        ("NAME", name.clone()),
        ("MAC", mac.clone()),
        ("MACS", macs.join(" ")),
        ("ADDRESS", address),
        ("PROFILE", profile.clone()),
        ("WORKLOADS", workloads.join(" ")),
        ("GROUPS", groups.join(" ")),
        ("SERVER", server.to_string()),
        ("DOMAIN", domain.clone().unwrap_or_default()),
        ("DNS", list(dns, " ")),
        ("NTP", list(ntp, " ")),
    ];
    let fixed = fixed.into_iter().map(|(key, value)| format!("ONEROOT_{key}={value}\n"));
    // Neither has a line break in it: a site's file with one is refused.
    fixed.chain(vars.iter().map(|(key, value)| format!("ONEROOT_VAR_{key}={value}\n"))).collect()
}

fn list(addresses: &[Ipv4Addr], between: &str) -> String {
    addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(between)
}

/// How a machine goes off whose writable layer lies in swap. By itself systemd stops each swap device, and what is left of it once more at
/// the very end: all is read back into a memory that need not have the room, and the kernel panics. All else has been stopped and
/// unmounted by then, what was written is gone in any case, and so that step is left out. Its own actions for that
/// (`poweroff-immediate`) write to file servers without a limit; and before 240 they are no actions, but commands.
fn off_with_swap() -> Vec<(String, String)> {
    let unit = |name: &str| format!("run/systemd/system/{name}.d/50-oneroot.conf");
    let mut files = vec![(unit("dev-zram0.swap"), "[Unit]\nDefaultDependencies=no\n".to_owned())];
    files.extend(OFF.map(|(verb, key)| {
        let limit =
            key.map(|key| format!("(sleep {LAST_WRITES}; echo {key} >/proc/sysrq-trigger) & ")).unwrap_or_default();
        let text = format!(
            "[Unit]\nSuccessAction=none\nFailureAction={verb}-immediate\n\n[Service]\nType=oneshot\nExecStart=\n\
             ExecStart=/bin/sh -c '{limit}sync; exec systemctl -ff {verb}'\n"
        );
        (unit(&format!("systemd-{verb}.service")), text)
    }));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(change: impl FnOnce(&mut Given)) -> std::collections::BTreeMap<String, String> {
        let mut given = Given {
            mac: "52:54:00:00:00:0a".to_owned(),
            name: "alpha".to_owned(),
            domain: Some("lab.example".to_owned()),
            dns: (1..=4).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect(),
            ntp: vec![Ipv4Addr::new(10, 0, 0, 9)],
            renamed: true,
            vlan: None,
            zram: false,
            mounts: Mounts::new(),
            secrets: None,
            log: None,
            facts: None,
            tells: None,
        };
        change(&mut given);
        given.files().into_iter().collect()
    }

    #[test]
    fn what_the_lease_says_is_said_to_each_program_in_its_own_words() {
        let files = given(|_| {});
        let says = |path: &str, text: &str| {
            assert!(files.get(path).is_some_and(|file| file.contains(text)), "{path}: {files:#?}");
        };
        says("etc/hostname", "alpha\n");
        says("etc/hosts", "127.0.1.1 alpha.lab.example alpha\n");
        says(
            "etc/resolv.conf",
            "search lab.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n",
        );
        says(
            "run/systemd/resolved.conf.d/oneroot.conf",
            "DNS=10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4\nDomains=lab.example\n",
        );
        says("run/systemd/timesyncd.conf.d/oneroot.conf", "NTP=10.0.0.9\n");
        says("run/chrony-dhcp/oneroot.sources", "server 10.0.0.9 iburst\n");
        says("run/NetworkManager/conf.d/00-oneroot.conf", "servers=10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4\n");
    }

    #[test]
    fn the_nic_of_the_root_is_named_by_its_mac_to_each_manager() {
        let files = given(|_| {});
        let matched = "MACAddress=52:54:00:00:00:0a\n";
        for (path, text) in [
            ("nic", "52:54:00:00:00:0a\n"),
            ("run/systemd/network/00-oneroot.network", matched),
            ("run/systemd/network/98-oneroot.link", matched),
            ("run/udev/rules.d/79-oneroot.rules", "ATTR{address}==\"52:54:00:00:00:0a\""),
            ("run/NetworkManager/conf.d/00-oneroot.conf", "match-device=mac:52:54:00:00:00:0a\nmanaged=0\n"),
        ] {
            assert!(files.get(path).is_some_and(|file| file.contains(text)), "{path}: {files:#?}");
        }
    }

    #[test]
    fn a_machine_whose_layer_lies_in_swap_goes_off_without_reading_it_back() {
        let has = |files: &std::collections::BTreeMap<String, String>, name: &str| {
            files.get(&format!("run/systemd/system/{name}.d/50-oneroot.conf")).cloned()
        };
        let files = given(|given| given.zram = true);
        let words = ["dev-zram0.swap", "systemd-poweroff.service", "systemd-kexec.service"];
        let told = words.map(|name| has(&files, name).unwrap_or_default());
        let command = |command: &str| {
            format!("[Service]\nType=oneshot\nExecStart=\nExecStart=/bin/sh -c '{command}'\n")
        };
        let wanted = [
            "[Unit]\nDefaultDependencies=no\n".to_owned(),
            "[Unit]\nSuccessAction=none\nFailureAction=poweroff-immediate\n\n".to_owned()
                + &command("(sleep 10; echo o >/proc/sysrq-trigger) & sync; exec systemctl -ff poweroff"),
            "[Unit]\nSuccessAction=none\nFailureAction=kexec-immediate\n\n".to_owned()
                + &command("sync; exec systemctl -ff kexec"),
        ];
        assert_eq!(told, wanted);
        assert_eq!(words.map(|name| has(&given(|_| {}), name)), [None, None, None], "others go off as ever");
    }

    #[test]
    fn networkd_keeps_the_link_of_the_vlan_that_the_root_comes_by_and_leaves_the_nic_below_it_alone() {
        let files = given(|given| given.vlan = Some(12));
        let matching = |name: &str, says: &str| {
            let text = &files[&format!("run/systemd/network/{name}.network")];
            assert!(text.contains("MACAddress=52:54:00:00:00:0a\n") && text.contains(says), "{text}");
            assert!(text.contains("Kind=vlan\nName=*.12\n") != text.contains("Kind=!*\n"), "{text}");
            text.contains("Kind=vlan\n")
        };
        assert!(matching("00-oneroot", "KeepConfiguration=yes\n"));
        assert!(!matching("01-oneroot-nic", "[Link]\nUnmanaged=yes\n"));
    }

    #[test]
    fn a_log_that_is_to_outlive_the_machine_is_sent_by_what_the_tree_has_for_that() {
        let sent = |place: &str| given(|given| given.log = LogPlace::parse(place).ok());
        let files = sent("https://logs:19532");
        assert_eq!(
            files["run/systemd/journal-upload.conf.d/50-oneroot.conf"],
            "[Upload]\nURL=https://logs:19532\n"
        );
        assert!(
            files["run/systemd/system/multi-user.target.d/51-oneroot-log.conf"]
                .contains("systemd-journal-upload")
        );
        // Where a host of logs is away, and for however long.
        let tries = &files["run/systemd/system/systemd-journal-upload.service.d/50-oneroot.conf"];
        for line in ["StartLimitIntervalSec=0\n", "Restart=on-failure\n", "RestartSec=10\n"] {
            assert!(tries.contains(line), "{tries}");
        }
        assert_eq!(sent("syslog://[fd00::1]:514")["etc/rsyslog.d/50-oneroot.conf"], "*.* @[fd00::1]:514\n");
        for bad in ["logs", "ftp://logs", "http://", "syslog://a b", "http://logs/path\nX=1"] {
            assert!(LogPlace::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_machine_finds_out_it_can_tell_to_each_of_the_sites_servers_the_one_it_boots_from_first() {
        let all @ [one, two, _] = [1, 2, 3].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let files = given(|given| given.tells = Some((own::servers(two.into(), &all).collect(), 8080)));
        assert_eq!(files["tell-to"], "10.0.0.2 8080\n10.0.0.1 8080\n10.0.0.3 8080\n");
        let many: Vec<Ipv4Addr> = (2..20).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
        assert_eq!(own::servers(one.into(), &many).count(), 8);
    }

    #[test]
    fn a_file_that_would_say_nothing_is_not_there() {
        let files = given(|given| {
            (given.dns, given.ntp, given.domain, given.renamed) = (Vec::new(), Vec::new(), None, false);
        });
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        let always = [
            "etc/hostname",
            "etc/hosts",
            "nic",
            "run/NetworkManager/conf.d/00-oneroot.conf",
            "run/systemd/journald.conf.d/50-oneroot.conf",
            "run/systemd/network/00-oneroot.network",
            "run/udev/rules.d/79-oneroot.rules",
        ];
        assert_eq!(paths, always);
        let names = |line: &str| line.contains("dns") || line.starts_with("Domains=");
        assert!(!files.values().flat_map(|text| text.lines()).any(names), "{files:#?}");
    }
}
