//! What a machine is given so that it mounts what its site says: units for systemd (systemd.mount(5), systemd.automount(5)), lines
//! of fstab(5) for every other init, and a map for autofs(5) where each user's home is mounted by itself.
//!
//! Profiles are not among them: their trees are parts of the machine's own view (docs/decisions/0022). What lasts is
//! (docs/decisions/0024): a directory at a file server is a mount like another, and what is in memory has a number, by which it is told.

use std::collections::BTreeMap;

use crate::plan::lasts::{self, Kept};
use crate::site::mounts::{HOMES, Mount, Mounts, What, own};

/// Seconds after which whoever looked at a place is told that it is not to be had.
const PATIENCE: u32 = 30;
/// The same for what the machine is not to come up without: after a power cut a file server comes up later than its clients.
const LONG: u32 = 600;
/// File systems that come over the network, as systemd has them (`fstype_is_network`); `fuse.` may stand before one.
const REMOTE: [&str; 17] = [
    "afs",
    "ceph",
    "cifs",
    "davfs",
    "gfs",
    "gfs2",
    "glusterfs",
    "lustre",
    "ncp",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "pvfs2",
    "smb3",
    "smbfs",
    "sshfs",
];
/// Those that it takes for local ones, unless it is told.
const REMOTE_TOO: [&str; 1] = ["9p"];
/// How long other inits wait for what lasts, in minutes: it is mounted before anybody writes there, or not at all.
const IN_TIME: &str = "retry=1";
/// The service that tells the boot server of a mount that failed, by its number.
const TELLS: &str = "oneroot-mount-failed@";
/// And the one that makes a directory at a file server.
const MAKES: &str = "oneroot-keep@";
/// Devices of fstab(5) that are found by what is on them, and where udev lists those.
const FOUND_BY: [(&str, &str); 4] = [
    ("LABEL=", "/dev/disk/by-label/"),
    ("UUID=", "/dev/disk/by-uuid/"),
    ("PARTLABEL=", "/dev/disk/by-partlabel/"),
    ("PARTUUID=", "/dev/disk/by-partuuid/"),
];

/// One mount as mount(8) makes it.
struct Line<'m> {
    at: &'m str,
    source: String,
    kind: &'m str,
    mount: &'m Mount,
    /// It lies in what comes over the network, and so waits for that too, whatever it is itself.
    is_in_remote: bool,
    /// Whether a machine does not come up without it, or without what is mounted in it.
    has_required: bool,
}

/// Those that a machine tells of by a number, in the order of these: all but profiles and users' homes.
fn all(mounts: &Mounts) -> impl Iterator<Item = (usize, &str, &Mount)> {
    let has_number = |(at, mount): &(&String, &Mount)| match mount.what {
        What::Nfs(_) => !at.ends_with(HOMES),
        What::Profile(_) | What::Nothing => false,
        What::Device { .. } | What::Server(_) | What::Copied(_) | What::Empty(_) => true,
    };
    let found = mounts.iter().filter(has_number).zip(1_usize..);
    found.map(|((at, mount), number)| (number, at.as_str(), mount))
}

/// What a machine calls by this number when it tells that it can't be had: its place, and what it is.
#[must_use]
pub fn numbered(mounts: &Mounts, number: usize) -> Option<(&str, &Mount)> {
    let (_, at, mount) = all(mounts).nth(number.checked_sub(1)?)?;
    Some((at, mount))
}

/// What lasts of a place at a file server, as the machine mounts it; as it is said where it lies nowhere but there.
#[must_use]
pub fn source(at: &str, mount: &Mount, machine: &str) -> String {
    match &mount.what {
        What::Server(source) => Kept::of(source, at, machine).source(),
        what => own(&what.to_string(), machine),
    }
}

/// The files of this machine, by their paths below `/.oneroot`.
pub(super) fn files(mounts: &Mounts, machine: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let [mut list, mut lasting, mut fstab] = [const { String::new() }; 3];
    let mut targets = [(true, Vec::new()), (false, Vec::new())];
    let mut below: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (_, at, mount) in all(mounts).filter(|(_, at, mount)| Line::of(at, mount, machine).is_some()) {
        let unit = format!("{}.{}", unit_name(at), if mount.automount { "automount" } else { "mount" });
        if let Some(over) = outer(mounts, at) {
            below.entry(over).or_default().push(unit);
        }
    }
    for (number, at, mount) in all(mounts) {
        let how = match (mount.automount, mount.required) {
            (_, true) => "required",
            (true, _) => "automount",
            _ => "wanted",
        };
        list += &format!("{number} {at} {how}\n");
        lasting.extend(lasts::line((number, at, mount), machine));
        let Some(mut line) = Line::of(at, mount, machine) else { continue };
        line.has_required |= mounts.iter().any(|(inner, mount)| {
            mount.required && inner.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'))
        });
        line.is_in_remote = above(mounts, at)
            .any(|(over, mount)| Line::of(over, mount, machine).is_some_and(|over| over.is_remote()));
        let unit = unit_name(at);
        let below = below.get(at).map(Vec::as_slice).unwrap_or_default();
        files.push((format!("run/systemd/system/{unit}.mount"), line.unit(number, below)));
        fstab += &line.fstab();
        if mount.automount {
            files.push((format!("run/systemd/system/{unit}.automount"), line.automount(number)));
        }
        let ending = if mount.automount { "automount" } else { "mount" };
        let verb = if mount.required { "Requires" } else { "Wants" };
        for (is_remote, wanted) in &mut targets {
            if *is_remote == line.is_remote() {
                wanted.push(format!("{verb}={unit}.{ending}\n"));
            }
        }
    }
    files.extend(drop_ins(targets.map(|(_, wanted)| wanted.concat())));
    let lists = [("mounts", list), ("lasts", lasting), ("etc/fstab", fstab)];
    let said = lists.into_iter().filter(|(_, text)| !text.is_empty());
    files.extend(said.map(|(path, text)| (path.to_owned(), text)));
    files.extend(homes(mounts, machine));
    files
}

/// The place over this one that is mounted when somebody looks. systemd mounts it as soon as the inner one's place is to be watched, so that
/// nobody gets past it unwatched, and would not try again once that has failed: the outer one brings the inner one with it then.
fn outer<'m>(mounts: &'m Mounts, at: &'m str) -> Option<&'m str> {
    let is_watched =
        |mount: &Mount| mount.automount && !matches!(mount.what, What::Profile(_) | What::Nothing);
    above(mounts, at).find(|(_, mount)| is_watched(mount)).map(|(place, _)| place)
}

/// The places that this one lies in, the innermost first.
fn above<'m>(mounts: &'m Mounts, at: &'m str) -> impl Iterator<Item = (&'m str, &'m Mount)> {
    let found = at.rmatch_indices('/').filter_map(|(end, _)| mounts.get_key_value(at.get(..end)?));
    found.map(|(place, mount)| (place.as_str(), mount))
}

/// What has systemd mount it: drop-ins, for a target has them without a link.
fn drop_ins([remote, local]: [String; 2]) -> impl Iterator<Item = (String, String)> {
    // A tree may not have it in its multi-user.target.
    let pulled = match (remote.is_empty(), remote.contains("Requires=")) {
        (true, _) => "",
        // The machine is not up before that is there.
        (_, true) => "Requires=remote-fs.target\nAfter=remote-fs.target\n",
        _ => "Wants=remote-fs.target\n",
    };
    let targets = [("remote-fs", remote), ("local-fs", local), ("multi-user", pulled.to_owned())];
    targets.into_iter().filter(|(_, wanted)| !wanted.is_empty()).map(|(target, wanted)| {
        (format!("run/systemd/system/{target}.target.d/50-oneroot.conf"), format!("[Unit]\n{wanted}"))
    })
}

/// Its options. mount.nfs(8) by itself gives up after two minutes (nfs(5)), whatever the unit would wait.
pub(super) fn patient(kind: &str, mount: &Mount, is_required: bool) -> Vec<String> {
    let mut options = mount.options.clone();
    let says = |options: &[String]| options.iter().any(|option| option.starts_with("retry="));
    if is_required && kind.starts_with("nfs") && !says(&options) {
        options.push(format!("retry={}", LONG / 60));
    }
    options
}

impl<'m> Line<'m> {
    /// None for what no unit and no line mounts.
    fn of(at: &'m str, mount: &'m Mount, machine: &str) -> Option<Self> {
        let kind = match &mount.what {
            What::Nfs(_) | What::Server(_) => "nfs",
            What::Device { kind, .. } => kind.as_str(),
            What::Profile(_) | What::Copied(_) | What::Empty(_) | What::Nothing => return None,
        };
        let source = match &mount.what {
            What::Device { source, .. } => source.clone(),
            _ => source(at, mount, machine),
        };
        Some(Self { at, source, kind, mount, is_in_remote: false, has_required: mount.required })
    }

    fn title(&self) -> String {
        format!("{} from {}", self.at, self.source)
    }

    /// Whether it is there no sooner than the network.
    fn is_remote(&self) -> bool {
        self.is_in_remote
            || self.is_known_remote()
            || REMOTE_TOO.contains(&self.kind)
            || self.mount.options.iter().any(|option| option == "_netdev")
    }

    /// Whether systemd sees that without being told.
    fn is_known_remote(&self) -> bool {
        REMOTE.contains(&self.kind.strip_prefix("fuse.").unwrap_or(self.kind))
    }

    /// Of what comes over the network none may be looked at before the system is there, nor be what local file systems wait for.
    fn automount(&self, number: usize) -> String {
        let order = match self.is_remote() {
            true => {
                "DefaultDependencies=no\nAfter=sysinit.target\nBefore=remote-fs.target umount.target\nConflicts=umount.target\n"
            }
            false => "",
        };
        let (title, at) = (self.title(), self.at);
        // A place that is a link in the tree fails here already.
        format!(
            "[Unit]\nDescription={title}\nOnFailure={TELLS}{number}.service\n{order}\n[Automount]\nWhere={at}\n"
        )
    }

    fn unit(&self, number: usize, below: &[String]) -> String {
        let Self { at, source, kind, mount, .. } = self;
        let (title, source) = (self.title(), device(source));
        let mut options = patient(kind, mount, self.has_required);
        if !mount.required && !mount.automount {
            // systemd's word for it, too, that nobody waits for this one.
            options.push("nofail".to_owned());
        }
        let is_told = options.iter().any(|option| option == "_netdev");
        if self.is_remote() && !self.is_known_remote() && !is_told {
            options.push("_netdev".to_owned());
        }
        let options =
            if options.is_empty() { String::new() } else { format!("Options={}\n", options.join(",")) };
        let patience = if self.has_required { LONG } else { PATIENCE };
        let made = match mount.what {
            What::Server(_) => format!("Wants={MAKES}{number}.service\nAfter={MAKES}{number}.service\n"),
            _ => String::new(),
        };
        let below: String = below.iter().map(|unit| format!("Wants={unit}\n")).collect();
        format!(
            "[Unit]\nDescription={title}\nStartLimitIntervalSec=0\nOnFailure={TELLS}{number}.service\n{made}{below}\n\
             [Mount]\nWhat={source}\nWhere={at}\nType={kind}\n{options}TimeoutSec={patience}\n"
        )
    }

    fn fstab(&self) -> String {
        let Self { at, source, kind, mount, .. } = self;
        let mut options = mount.options.clone();
        let mut add = |option: &str| {
            if !options.iter().any(|known| known == option) {
                options.push(option.to_owned());
            }
        };
        if self.is_remote() {
            add("_netdev");
        }
        if !mount.required {
            add("nofail");
            match &self.mount.what {
                // In the background it would come over files that are in use by then.
                What::Server(_) if self.mount.options.iter().any(|option| option.starts_with("retry=")) => {}
                What::Server(_) => add(IN_TIME),
                // A server that is down holds nobody up; mount.nfs tries on.
                _ if self.kind.starts_with("nfs") => add("bg"),
                _ => {}
            }
        }
        let options = if options.is_empty() { "defaults".to_owned() } else { options.join(",") };
        format!("{source} {at} {kind} {options} 0 0\n")
    }
}

/// The maps of autofs(5) for places of which each name is a home of its own.
fn homes(mounts: &Mounts, machine: &str) -> Vec<(String, String)> {
    let (mut master, mut maps) = (String::new(), Vec::new());
    for ((at, mount), number) in mounts.iter().zip(1..) {
        let (Some(at), What::Nfs(source)) = (at.strip_suffix(HOMES), &mount.what) else { continue };
        // Only what ends with `.autofs` is read as a list of maps.
        let map = format!("auto.master.d/oneroot-{number}.map");
        master += &format!("{at} /etc/{map}\n");
        let options =
            if mount.options.is_empty() { String::new() } else { format!("-{} ", mount.options.join(",")) };
        maps.push((format!("etc/{map}"), format!("* {options}{}\n", own(source, machine))));
    }
    if !master.is_empty() {
        maps.push(("etc/auto.master.d/oneroot.autofs".to_owned(), master));
    }
    maps
}

/// The name that systemd gives to the unit of a path (systemd.unit(5)), without its ending.
fn unit_name(path: &str) -> String {
    let mut name = String::new();
    for (place, letter) in path.trim_matches('/').char_indices() {
        match letter {
            '/' => name.push('-'),
            '.' if place == 0 => name += "\\x2e",
            '0'..='9' | 'a'..='z' | 'A'..='Z' | '_' | '.' | ':' => name.push(letter),
            other => name += &format!("\\x{:02x}", u32::from(other)),
        }
    }
    name
}

/// A device as systemd waits for it: by the link that udev makes, in whose name it writes some letters as numbers.
fn device(source: &str) -> String {
    let found = FOUND_BY.iter().find_map(|(tag, links)| Some((links, source.strip_prefix(tag)?)));
    let Some((links, value)) = found else { return source.to_owned() };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "#+-.:=@_".contains(letter);
    let letter = |letter: char| {
        if plain(letter) { letter.to_string() } else { format!("\\x{:02x}", u32::from(letter)) }
    };
    format!("{links}{}", value.chars().map(letter).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(what: What) -> Mount {
        Mount { what, options: Vec::new(), required: false, automount: false }
    }

    fn files_of(
        mounts: impl IntoIterator<Item = (&'static str, Mount)>,
    ) -> std::collections::BTreeMap<String, String> {
        let mounts = mounts.into_iter().map(|(at, mount)| (at.to_owned(), mount)).collect();
        files(&mounts, "alpha").into_iter().collect()
    }

    #[test]
    fn a_file_servers_directory_is_a_unit_for_systemd_and_a_line_for_all_others() {
        let home = Mount {
            automount: true,
            options: vec!["vers=3".to_owned()],
            ..mount(What::Nfs("nas:/export/home".to_owned()))
        };
        let work = Mount { required: true, ..mount(What::Nfs("[fd00::1]:/w-2".to_owned())) };
        let files = files_of([("/home", home), ("/srv/w-2", work)]);
        let unit = |name: &str| files[&format!("run/systemd/system/{name}")].as_str();
        assert_eq!(
            unit("home.mount"),
            "[Unit]\nDescription=/home from nas:/export/home\nStartLimitIntervalSec=0\nOnFailure=oneroot-mount-failed@1.service\n\n\
             [Mount]\nWhat=nas:/export/home\nWhere=/home\nType=nfs\nOptions=vers=3\nTimeoutSec=30\n"
        );
        assert!(unit("home.automount").ends_with("[Automount]\nWhere=/home\n"));
        assert!(
            unit("home.automount").contains("OnFailure=oneroot-mount-failed@1.service\n"),
            "a link in the tree is told of"
        );
        assert!(
            unit("srv-w\\x2d2.mount").contains("Options=retry=10\nTimeoutSec=600\n"),
            "what it can't do without it waits for"
        );
        assert!(
            unit("home.automount").contains("DefaultDependencies=no\nAfter=sysinit.target\n"),
            "no early look hangs"
        );
        assert_eq!(
            unit("remote-fs.target.d/50-oneroot.conf"),
            "[Unit]\nWants=home.automount\nRequires=srv-w\\x2d2.mount\n"
        );
        assert_eq!(
            unit("multi-user.target.d/50-oneroot.conf"),
            "[Unit]\nRequires=remote-fs.target\nAfter=remote-fs.target\n",
            "it is not up before what it needs is there"
        );
        assert_eq!(
            files["etc/fstab"],
            "nas:/export/home /home nfs vers=3,_netdev,nofail,bg 0 0\n[fd00::1]:/w-2 /srv/w-2 nfs _netdev 0 0\n"
        );
        assert_eq!(files["mounts"], "1 /home automount\n2 /srv/w-2 required\n");
    }

    #[test]
    fn a_disk_is_waited_for_under_the_name_that_udev_gives_it_and_holds_nobody_up() {
        let disk = What::Device { source: "LABEL=my,data".to_owned(), kind: "ext4".to_owned() };
        let files = files_of([("/data", mount(disk))]);
        let unit = &files["run/systemd/system/data.mount"];
        assert!(
            unit.contains("What=/dev/disk/by-label/my\\x2cdata\n") && unit.contains("Options=nofail\n"),
            "{unit}"
        );
        assert_eq!(
            files["run/systemd/system/local-fs.target.d/50-oneroot.conf"],
            "[Unit]\nWants=data.mount\n"
        );
        assert_eq!(files["etc/fstab"], "LABEL=my,data /data ext4 nofail 0 0\n");
        assert!(!files.contains_key("run/systemd/system/multi-user.target.d/50-oneroot.conf"));
    }

    #[test]
    fn what_lasts_is_made_at_its_file_server_before_it_is_mounted_and_what_is_in_memory_by_init_alone() {
        let server = Mount {
            automount: true,
            options: vec!["vers=3".to_owned(), "soft".to_owned()],
            ..mount(What::Server("nas:/state/{name}".to_owned()))
        };
        let files = files_of([
            ("/opt/x", Mount { required: true, ..mount(What::Copied("50%".to_owned())) }),
            ("/var/lib/db", server),
            ("/var/log", mount(What::Empty("64m".to_owned()))),
        ]);
        let unit = &files["run/systemd/system/var-lib-db.mount"];
        assert!(unit.contains("What=nas:/state/alpha/var/lib/db\nWhere=/var/lib/db\nType=nfs\n"), "{unit}");
        let before = "\nWants=oneroot-keep@2.service\nAfter=oneroot-keep@2.service\n";
        assert!(unit.contains(before), "{unit}");
        assert_eq!(
            files["lasts"],
            "1 /opt/x required copied 50%\n2 /var/lib/db wanted server nas:/state alpha/var/lib/db vers=3,soft\n3 /var/log wanted empty 64m\n"
        );
        assert_eq!(files["mounts"], "1 /opt/x required\n2 /var/lib/db automount\n3 /var/log wanted\n");
        assert_eq!(
            files["etc/fstab"],
            "nas:/state/alpha/var/lib/db /var/lib/db nfs vers=3,soft,_netdev,nofail,retry=1 0 0\n"
        );
        let units = files.keys().filter(|path| path.ends_with(".mount") || path.ends_with(".automount"));
        assert_eq!(units.count(), 2, "{files:#?}");
    }

    #[test]
    fn a_place_below_one_that_is_mounted_when_somebody_looks_is_there_from_then_on() {
        let nas = |path: &str| Mount { automount: true, ..mount(What::Nfs(format!("nas:{path}"))) };
        let files = files_of([("/home", nas("/h")), ("/home/shared", nas("/s")), ("/srv", nas("/v"))]);
        let unit = |name: &str| files[&format!("run/systemd/system/{name}")].as_str();
        assert!(unit("home.mount").contains("\nWants=home-shared.automount\n"), "{}", unit("home.mount"));
        assert_eq!(
            unit("remote-fs.target.d/50-oneroot.conf"),
            "[Unit]\nWants=home.automount\nWants=home-shared.automount\nWants=srv.automount\n",
            "and who comes by the outer one first is not past it before that"
        );
        assert!(!unit("srv.mount").contains("Wants="));
    }

    #[test]
    fn what_a_required_place_lies_in_is_waited_for_as_long_and_what_lies_in_a_place_comes_with_it() {
        let nas = |path: &str, required: bool| {
            let what = What::Nfs(format!("nas:{path}"));
            Mount { automount: !required, required, ..mount(what) }
        };
        let scratch = What::Device { source: "scratch".to_owned(), kind: "tmpfs".to_owned() };
        let files = files_of([
            ("/home", nas("/h", false)),
            ("/home/scratch", mount(scratch)),
            ("/home/work", nas("/w", true)),
            ("/srv", nas("/v", false)),
        ]);
        let unit = |name: &str| files[&format!("run/systemd/system/{name}")].as_str();
        for name in ["home.mount", "home-work.mount"] {
            assert!(
                unit(name).contains("retry=10\n") && unit(name).contains("TimeoutSec=600\n"),
                "{}",
                unit(name)
            );
        }
        assert!(unit("srv.mount").contains("TimeoutSec=30\n"), "{}", unit("srv.mount"));
        assert!(unit("home.mount").contains("\nWants=home-scratch.mount\nWants=home-work.mount\n"));
    }

    #[test]
    fn a_disk_below_what_comes_over_the_network_waits_for_it_and_no_local_file_system_for_the_disk() {
        let disk = What::Device { source: "/dev/vda1".to_owned(), kind: "ext4".to_owned() };
        let nas = What::Nfs("nas:/v".to_owned());
        let both =
            [("/srv", mount(nas)), ("/srv/scratch", mount(disk.clone())), ("/var/scratch", mount(disk))];
        let files = files_of(both);
        let unit = |name: &str| files[&format!("run/systemd/system/{name}")].as_str();
        assert!(unit("srv-scratch.mount").contains("\nOptions=nofail,_netdev\n"));
        assert!(unit("remote-fs.target.d/50-oneroot.conf").contains("srv-scratch.mount"));
        assert!(!unit("var-scratch.mount").contains("_netdev"));
        assert_eq!(unit("local-fs.target.d/50-oneroot.conf"), "[Unit]\nWants=var-scratch.mount\n");
        assert!(files["etc/fstab"].contains("/srv/scratch ext4 _netdev,nofail"), "{}", files["etc/fstab"]);
    }

    #[test]
    fn what_comes_over_a_network_is_what_systemd_takes_for_that_or_is_told() {
        for (kind, word) in [("lustre", None), ("9p", Some("_netdev")), ("fuse.sshfs", None)] {
            let device = What::Device { source: "10.0.0.5@tcp:/s".to_owned(), kind: kind.to_owned() };
            let files = files_of([("/scratch", Mount { required: true, ..mount(device) })]);
            let unit = &files["run/systemd/system/scratch.mount"];
            assert_eq!(unit.contains("Options=_netdev\n"), word.is_some(), "{unit}");
            assert!(files.contains_key("run/systemd/system/multi-user.target.d/50-oneroot.conf"), "{kind}");
            assert!(files["etc/fstab"].contains("_netdev"), "{kind}");
        }
    }

    #[test]
    fn a_machines_name_stands_in_the_path_of_whatever_it_mounts_from_a_file_server() {
        let files = files_of([
            ("/home/*", Mount { automount: true, ..mount(What::Nfs("nas:/{name}/&".to_owned())) }),
            ("/srv", mount(What::Nfs("nas:/srv/{name}".to_owned()))),
        ]);
        assert!(files["run/systemd/system/srv.mount"].contains("What=nas:/srv/alpha\n"));
        assert!(files["etc/auto.master.d/oneroot-1.map"].contains("nas:/alpha/&\n"), "{files:#?}");
    }

    #[test]
    fn each_users_home_is_mounted_by_autofs_and_is_no_unit() {
        let files = files_of([(
            "/home/*",
            Mount { automount: true, ..mount(What::Nfs("nas:/export/home/&".to_owned())) },
        )]);
        assert_eq!(files.len(), 2, "{files:#?}");
        assert_eq!(files["etc/auto.master.d/oneroot.autofs"], "/home /etc/auto.master.d/oneroot-1.map\n");
        assert_eq!(files["etc/auto.master.d/oneroot-1.map"], "* nas:/export/home/&\n");
    }

    #[test]
    fn a_profile_is_no_file_and_takes_no_number() {
        let mounts = [
            ("/apps", mount(What::Profile("apps".to_owned()))),
            ("/home", mount(What::Nfs("nas:/home".to_owned()))),
        ];
        let mounts: Mounts = mounts.into_iter().map(|(at, mount)| (at.to_owned(), mount)).collect();
        assert_eq!(numbered(&mounts, 1).map(|(at, _)| at), Some("/home"));
        assert_eq!((numbered(&mounts, 0), numbered(&mounts, 2)), (None, None));
        assert!(files(&Mounts::new(), "alpha").is_empty());
    }
}
