//! What a tree still has of the machine that it was installed on, and what that does to a diskless one: a short review when a
//! profile is staged. Machine-id, host name and name servers are not in it: the guest's init sees to those (docs/decisions/0010).
//!
//! | file | what | row |
//! |---|---|---|
//! | `/etc/fstab` | file systems on a disk | R1 |
//! | `/etc/fstab` | swap | R2 |
//! | `/etc/crypttab` | encrypted disks | R3 |
//! | `/etc/initramfs-tools/conf.d/resume` | a disk to wake up from | R4 |
//! | `/etc/selinux/config` | enforcing | R5 |
//! | `/etc/cloud/` | cloud-init that asks a network for its data | R6 |
//! | `/etc/udev/rules.d/` | names for NICs by MAC | R7 |
//! | `dockerd` with `/etc/docker/daemon.json`, `podman` with `/etc/containers/storage.conf` | containers that would lie on the overlay in memory | R8 |

use std::path::Path;

/// A tree, as far as the review looks.
pub struct Tree<'t> {
    /// A file's text; none where there is no such file, or one that is no configuration.
    pub text: &'t dyn Fn(&str) -> Option<String>,
    /// The names in a directory.
    pub names: &'t dyn Fn(&str) -> Vec<String>,
    /// Whether the site gives this place a file system of its own.
    pub is_placed: &'t dyn Fn(&str) -> bool,
}

/// A program that lays containers' file systems on one of the machine's.
struct Containers {
    program: &'static str,
    /// Where it keeps them, if nobody says otherwise.
    place: &'static str,
    /// The file that may say otherwise, and how.
    config: &'static str,
    said: fn(&str) -> Option<String>,
}

const CONTAINERS: [Containers; 2] = [
    Containers {
        program: "dockerd",
        place: "/var/lib/docker",
        config: "/etc/docker/daemon.json",
        said: data_root,
    },
    Containers {
        program: "podman",
        place: "/var/lib/containers",
        config: "/etc/containers/storage.conf",
        said: graph_root,
    },
];
/// Where distributions have them.
const PROGRAMS: [&str; 3] = ["/usr/bin", "/usr/sbin", "/sbin"];

/// All of it, one line each.
pub fn of(tree: &Tree<'_>) -> Vec<String> {
    let rows: [fn(&Tree<'_>) -> Option<String>; 7] =
        [disks, swap, crypttab, resume, selinux, cloud_init, nic_names];
    rows.iter().filter_map(|row| row(tree)).chain(containers(tree)).collect()
}

/// The lines of a file that say something.
fn lines(tree: &Tree<'_>, path: &str) -> Vec<String> {
    let text = (tree.text)(path).unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Device, place, kind and options of each line of fstab whose device is a disk's.
fn fstab(tree: &Tree<'_>) -> Vec<[String; 4]> {
    let disk = |device: &str| {
        ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/"].iter().any(|start| device.starts_with(start))
    };
    let fields = |line: String| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some([words.next()?, words.next()?, words.next()?, words.next().unwrap_or_default()])
    };
    lines(tree, "/etc/fstab").into_iter().filter_map(fields).filter(|[device, ..]| disk(device)).collect()
}

fn disks(tree: &Tree<'_>) -> Option<String> {
    let may_fail = |options: &str| options.split(',').any(|option| matches!(option, "nofail" | "noauto"));
    let needed = fstab(tree).into_iter().filter(|[_, _, kind, options]| kind != "swap" && !may_fail(options));
    let places: Vec<String> = needed.map(|[_, place, ..]| place).collect();
    (!places.is_empty()).then(|| {
        format!(
            "/etc/fstab mounts {} from a disk of the machine that the tree was installed on: a machine without it waits 90 s and stops in \
             emergency mode; take the lines out, or add `nofail`",
            places.join(", ")
        )
    })
}

fn swap(tree: &Tree<'_>) -> Option<String> {
    let may_fail = |options: &str| options.split(',').any(|option| matches!(option, "nofail" | "noauto"));
    let found = fstab(tree).into_iter().find(|[_, _, kind, options]| kind == "swap" && !may_fail(options));
    found.map(|[device, ..]| {
        format!("/etc/fstab has swap on {device}: a machine without it waits 90 s for it at each boot; take the line out")
    })
}

fn crypttab(tree: &Tree<'_>) -> Option<String> {
    let first = lines(tree, "/etc/crypttab")
        .into_iter()
        .find(|line| !line.contains("noauto") && !line.contains("nofail"))?;
    let name = first.split_whitespace().next().unwrap_or_default().to_owned();
    Some(format!(
        "/etc/crypttab opens {name}: a machine without that disk waits 90 s for it at each boot; take the line out"
    ))
}

fn resume(tree: &Tree<'_>) -> Option<String> {
    let line = lines(tree, "/etc/initramfs-tools/conf.d/resume")
        .into_iter()
        .find(|line| line.starts_with("RESUME="))?;
    let disk = line.trim_start_matches("RESUME=").trim_matches(['"', '\'']);
    (!matches!(disk, "" | "none")).then(|| {
        format!(
            "the initrd waits for {disk} to wake up from, 30 s at each boot; write RESUME=none into /etc/initramfs-tools/conf.d/resume and run \
             update-initramfs -u in the tree"
        )
    })
}

fn selinux(tree: &Tree<'_>) -> Option<String> {
    let enforcing =
        lines(tree, "/etc/selinux/config").iter().any(|line| line.replace(' ', "") == "SELINUX=enforcing");
    enforcing.then(|| {
        "SELinux is enforcing, and NFSv3 carries no labels: the machine's own init may not run its programs; write SELINUX=permissive into \
         /etc/selinux/config, or give the profile args = [\"enforcing=0\"]"
            .to_owned()
    })
}

fn cloud_init(tree: &Tree<'_>) -> Option<String> {
    (tree.text)("/etc/cloud/cloud.cfg")?;
    let is_off = (tree.names)("/etc/cloud").iter().any(|name| name == "cloud-init.disabled");
    let mut said = lines(tree, "/etc/cloud/cloud.cfg");
    let mut more = (tree.names)("/etc/cloud/cloud.cfg.d");
    more.sort();
    said.extend(more.iter().flat_map(|name| lines(tree, &format!("/etc/cloud/cloud.cfg.d/{name}"))));
    // Of files that say it twice cloud-init takes the last, in the order of their names.
    let list = said.iter().filter_map(|line| line.strip_prefix("datasource_list:")).next_back();
    let local = |list: &str| {
        let words = list.split([' ', ',', '[', ']', '"', '\'']).filter(|word| !word.is_empty());
        words.into_iter().all(|word| matches!(word, "None" | "NoCloud"))
    };
    (!is_off && !list.is_some_and(local)).then(|| {
        "cloud-init asks the network for its data, up to two minutes at each boot; write datasource_list: [ None ] into \
         /etc/cloud/cloud.cfg.d/99-oneroot.cfg, or make /etc/cloud/cloud-init.disabled"
            .to_owned()
    })
}

fn nic_names(tree: &Tree<'_>) -> Option<String> {
    let mut names = (tree.names)("/etc/udev/rules.d");
    names.sort();
    let by_mac = |line: &String| {
        line.contains("SUBSYSTEM==\"net\"") && line.contains("ATTR{address}==") && line.contains("NAME=")
    };
    let file = names
        .into_iter()
        .find(|name| lines(tree, &format!("/etc/udev/rules.d/{name}")).iter().any(by_mac))?;
    Some(format!(
        "/etc/udev/rules.d/{file} names NICs by the MACs of the machine that the tree was installed on: others have theirs under the next \
         numbers, and what is configured for eth0 hits nothing; remove it"
    ))
}

fn containers(tree: &Tree<'_>) -> Vec<String> {
    let programs: Vec<String> = PROGRAMS.iter().flat_map(|directory| (tree.names)(directory)).collect();
    let there = CONTAINERS.iter().filter(|known| programs.iter().any(|name| name == known.program));
    let told = there.filter_map(|Containers { program, place, config, said }| {
        let said = (tree.text)(config).and_then(|text| said(&text));
        let said = said.as_deref().map(|said| said.trim_end_matches('/')).filter(|said| !said.is_empty());
        let place = said.filter(|said| !Path::new(said).starts_with(place)).unwrap_or(place);
        (!(tree.is_placed)(place)).then(|| {
            format!(
                "{program} keeps containers in {place}, and overlayfs takes no overlay, which a machine's root is, for its upper layer: they are \
                 refused there, or copied whole for each container; say lasts = {{ \"{place}\" = \"empty\" }}, or mount a disk there"
            )
        })
    });
    told.collect()
}

/// docker's `data-root`, where its file says one.
fn data_root(text: &str) -> Option<String> {
    let said: serde_json::Value = serde_json::from_str(text).ok()?;
    said.get("data-root")?.as_str().map(str::to_owned)
}

/// podman's `graphroot`, likewise.
fn graph_root(text: &str) -> Option<String> {
    let said: toml::Table = text.parse().ok()?;
    said.get("storage")?.get("graphroot")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        let names = |directory: &str| {
            let below = files.keys().filter_map(|path| path.strip_prefix(directory)?.strip_prefix('/'));
            below.filter(|name| !name.contains('/')).map(str::to_owned).collect()
        };
        let is_placed = |place: &str| place == "/var/lib/containers";
        of(&Tree {
            text: &|path| files.get(path).map(|text| (*text).to_owned()),
            names: &names,
            is_placed: &is_placed,
        })
    }

    /// podman's containers elsewhere.
    const MOVED: &str = "[storage]\ndriver = \"overlay\"\ngraphroot = \"/srv/c\"\n";

    #[test]
    fn each_row_is_told_with_what_to_do() {
        let fstab = "# a comment\nUUID=1 / ext4 errors=remount-ro 0 1\nUUID=2 /boot/efi vfat umask=0077 0 1\nUUID=3 none swap sw 0 0\nproc /proc proc defaults 0 0\n";
        let udev =
            "SUBSYSTEM==\"net\", ACTION==\"add\", ATTR{address}==\"52:54:00:00:00:0a\", NAME=\"eth0\"\n";
        for (files, row, expected) in [
            (&[("/etc/fstab", fstab)][..], 0, "mounts /, /boot/efi from a disk"),
            (&[("/etc/fstab", "/dev/sda2 none swap sw 0 0\n")], 0, "swap on /dev/sda2"),
            (&[("/etc/crypttab", "# x\ndata UUID=1 none luks\n")], 0, "opens data"),
            (&[("/etc/initramfs-tools/conf.d/resume", "RESUME=UUID=1\n")], 0, "RESUME=none"),
            (&[("/etc/selinux/config", "SELINUX=enforcing\n")], 0, "NFSv3 carries no labels"),
            (&[("/etc/cloud/cloud.cfg", "users:\n  - default\n")], 0, "datasource_list: [ None ]"),
            (&[("/etc/udev/rules.d/70-persistent-net.rules", udev)], 0, "70-persistent-net.rules names NICs"),
            (
                &[("/usr/sbin/dockerd", ""), ("/usr/bin/podman", "")],
                0,
                "lasts = { \"/var/lib/docker\" = \"empty\" }",
            ),
            (
                &[("/usr/bin/podman", ""), ("/etc/containers/storage.conf", MOVED)],
                0,
                "keeps containers in /srv/c,",
            ),
            (
                &[("/sbin/dockerd", ""), ("/etc/docker/daemon.json", "{\"data-root\": \"/srv/d\"}")],
                0,
                "lasts = { \"/srv/d\" = \"empty\" }",
            ),
            (
                &[("/sbin/dockerd", ""), ("/etc/docker/daemon.json", "{\"data-root\": \"/srv/d/\"}")],
                0,
                "lasts = { \"/srv/d\" = \"empty\" }",
            ),
            (
                &[
                    ("/sbin/dockerd", ""),
                    ("/etc/docker/daemon.json", "{\"data-root\": \"/var/lib/docker-data\"}"),
                ],
                0,
                "lasts = { \"/var/lib/docker-data\" = \"empty\" }",
            ),
        ] {
            let told = told(files);
            assert!(told.get(row).is_some_and(|line| line.contains(expected)), "{told:?}");
        }
        assert_eq!(told(&[("/etc/fstab", fstab)]).len(), 2, "file systems and swap");
        let both =
            [("/usr/bin/dockerd", ""), ("/usr/bin/podman", ""), ("/etc/containers/storage.conf", MOVED)];
        assert_eq!(told(&both).len(), 2, "each of two");
    }

    #[test]
    fn a_tree_that_is_nobodys_has_no_review() {
        let none: [&[(&str, &str)]; 8] = [
            &[("/usr/bin/podman", "")],
            &[(
                "/etc/fstab",
                "# UNCONFIGURED FSTAB FOR BASE SYSTEM\ntmpfs /tmp tmpfs defaults 0 0\n10.0.0.1:/srv /srv nfs defaults 0 0\n",
            )],
            &[("/etc/fstab", "UUID=1 /data ext4 nofail 0 0\nLABEL=s none swap nofail 0 0\n")],
            &[("/etc/initramfs-tools/conf.d/resume", "RESUME=none\n")],
            &[("/etc/selinux/config", "# SELINUX=enforcing\nSELINUX=permissive\n")],
            &[("/etc/cloud/cloud.cfg", ""), ("/etc/cloud/cloud.cfg.d/99.cfg", "datasource_list: [ None ]\n")],
            &[("/etc/cloud/cloud.cfg", ""), ("/etc/cloud/cloud-init.disabled", "")],
            &[("/etc/udev/rules.d/80-other.rules", "SUBSYSTEM==\"block\", NAME=\"x\"\n")],
        ];
        for files in none {
            assert_eq!(told(files), Vec::<String>::new(), "{files:?}");
        }
    }
}
