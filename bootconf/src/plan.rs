//! Which machine gets which boot, and why: a pure function of site and MAC, then of what its view holds in `/boot`.

use std::path::PathBuf;

use oneroot_tree::ViewId;
use serde::{Deserialize, Serialize};

use crate::args::Initramfs;
use crate::identity::{BootId, Mac, MachineId};
use crate::site::{Site, Source};

/// One part of a machine's stack, before it is a generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A profile's own tree.
    Profile {
        /// The profile.
        name: String,
    },
    /// A directory of a profile or workload.
    Layer {
        /// Where it is.
        path: PathBuf,
    },
    /// A machine's own files.
    Machine {
        /// The machine.
        name: String,
        /// Where they are.
        path: PathBuf,
    },
}

/// Where one thing in a plan came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What was decided.
    pub what: String,
    /// By which table of the site, or which rule.
    pub from: String,
}

/// What the site says of a machine's boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The machine's name; none for one that the site does not know.
    pub name: Option<String>,
    /// Its profile.
    pub profile: String,
    /// Its workloads, bottom first.
    pub workloads: Vec<String>,
    /// What its root is made of, bottom first.
    pub parts: Vec<Part>,
    /// Kernel path, where the site says one.
    pub kernel: Option<String>,
    /// Initrd path, where the site says one.
    pub initrd: Option<String>,
    /// What mounts the root.
    pub initramfs: Initramfs,
    /// Kernel arguments: profiles bottom first, workloads, machine.
    pub args: Vec<String>,
    /// Where it all came from.
    pub why: Vec<Why>,
}

/// Why a machine gets no boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// Nobody has named it, and unknown machines get no profile.
    #[error("{0} is not a machine of this site; give it a [machine] table, or unknown machines a profile")]
    Unknown(Mac),
    /// Its tree has no kernel.
    #[error(
        "profile {profile} has no kernel{wanted}; install one in the tree, or say `kernel =` in the profile"
    )]
    NoKernel {
        /// The profile.
        profile: String,
        /// What the site asked for, with a colon before it.
        wanted: String,
    },
    /// Its kernel has no initrd.
    #[error(
        "profile {profile} has no initrd for {kernel}; make one in the tree, or say `initramfs = \"none\"`"
    )]
    NoInitrd {
        /// The profile.
        profile: String,
        /// The kernel.
        kernel: String,
    },
}

/// Everything that a machine was told at one boot; durable before the first byte leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPlan {
    /// This boot.
    pub boot: BootId,
    /// The machine.
    pub machine: MachineId,
    /// The NIC that booted.
    pub mac: Mac,
    /// What people call it: its name, or its MAC.
    pub name: String,
    /// Its profile.
    pub profile: String,
    /// Its workloads.
    pub workloads: Vec<String>,
    /// Its root.
    pub view: ViewId,
    /// Its kernel: a path in the view.
    pub kernel: String,
    /// Its initrd: a path in the view.
    pub initrd: Option<String>,
    /// Its kernel arguments.
    pub args: Vec<String>,
    /// Where all that came from.
    pub why: Vec<Why>,
}

/// Decides what boots a machine.
///
/// # Errors
/// [`NoPlan::Unknown`].
pub fn decide(site: &Site, mac: Mac) -> Result<Decision, NoPlan> {
    let known = site.machine(mac);
    let (profile, from) = match (known, &site.unknown) {
        (Some((name, machine)), _) => (machine.profile.as_str(), format!("[machine.{name}]")),
        (None, Some(profile)) => (profile.as_str(), "[unknown]".to_owned()),
        (None, None) => return Err(NoPlan::Unknown(mac)),
    };
    let workloads: &[String] = known.map_or(&[], |(_, machine)| &machine.workloads);
    let mut why = vec![Why { what: format!("profile {profile}"), from: from.clone() }];
    let (mut parts, mut args) = (Vec::new(), Vec::new());
    let (mut kernel, mut initrd, mut initramfs) = (None, None, None);
    for (name, profile) in site.chain(profile) {
        if profile.source.is_some() {
            parts.push(Part::Profile { name: name.to_owned() });
        }
        parts.extend(profile.layers.iter().map(|path| Part::Layer { path: path.clone() }));
        args.extend(profile.args.iter().cloned());
        kernel = profile.kernel.clone().or(kernel);
        initrd = profile.initrd.clone().or(initrd);
        initramfs = profile.initramfs.or(initramfs);
        why.push(Why { what: format!("layers of profile {name}"), from: format!("[profile.{name}]") });
    }
    for name in workloads {
        let Some(workload) = site.workloads.get(name) else { continue };
        parts.extend(workload.layers.iter().map(|path| Part::Layer { path: path.clone() }));
        args.extend(workload.args.iter().cloned());
        why.push(Why { what: format!("workload {name}"), from: from.clone() });
    }
    if let Some((name, machine)) = known {
        parts.extend(
            machine.layer.iter().map(|path| Part::Machine { name: name.to_owned(), path: path.clone() }),
        );
        args.extend(machine.args.iter().cloned());
    }
    Ok(Decision {
        name: known.map(|(name, _)| name.to_owned()),
        profile: profile.to_owned(),
        workloads: workloads.to_vec(),
        parts,
        kernel,
        initrd,
        initramfs: initramfs.unwrap_or(Initramfs::InitramfsTools),
        args,
        why,
    })
}

/// Every part that the site has, with a profile's source, each once: what `oneroot stage` stages.
#[must_use]
pub fn parts(site: &Site) -> Vec<(Part, Source)> {
    let mut all: Vec<(Part, Source)> = Vec::new();
    let mut add = |part: Part, source: Source| {
        if !all.iter().any(|(known, _)| *known == part) {
            all.push((part, source));
        }
    };
    let layer = |path: &PathBuf| (Part::Layer { path: path.clone() }, Source::Directory(path.clone()));
    for (name, profile) in &site.profiles {
        if let Some(source) = &profile.source {
            add(Part::Profile { name: name.clone() }, source.clone());
        }
        profile.layers.iter().map(layer).for_each(|(part, source)| add(part, source));
    }
    for workload in site.workloads.values() {
        workload.layers.iter().map(layer).for_each(|(part, source)| add(part, source));
    }
    for (name, machine) in &site.machines {
        if let Some(path) = &machine.layer {
            add(Part::Machine { name: name.clone(), path: path.clone() }, Source::Directory(path.clone()));
        }
    }
    all
}

/// Kernel and initrd of a view. `boot` are the names in the view's `/boot`, `exists` asks for any other path.
///
/// The newest `vmlinuz-VERSION` that has an initrd of the same version wins; a kernel without one counts only where the
/// site wants none. So kernel, initrd and modules always come from one installation.
///
/// # Errors
/// [`NoPlan::NoKernel`], [`NoPlan::NoInitrd`].
pub fn kernel_and_initrd(
    decision: &Decision,
    boot: &[String],
    exists: &dyn Fn(&str) -> bool,
) -> Result<(String, Option<String>), NoPlan> {
    let no_kernel =
        |wanted: &str| NoPlan::NoKernel { profile: decision.profile.clone(), wanted: wanted.to_owned() };
    let initrd_of = |kernel: &str| -> Option<String> {
        if let Some(path) = &decision.initrd {
            return exists(path).then(|| path.clone());
        }
        let version =
            kernel.rsplit('/').next().and_then(|name| name.split_once('-')).map(|(_, version)| version);
        let candidates = match version {
            Some(version) => vec![
                format!("/boot/initrd.img-{version}"),
                format!("/boot/initramfs-{version}.img"),
                format!("/boot/initrd-{version}"),
            ],
            None => vec!["/initrd.img".to_owned(), "/boot/initrd.img".to_owned()],
        };
        candidates.into_iter().find(|path| exists(path))
    };
    let wants_initrd = decision.initramfs != Initramfs::None || decision.initrd.is_some();
    let mut kernels: Vec<String> = match &decision.kernel {
        Some(path) if exists(path) => vec![path.clone()],
        Some(path) => return Err(no_kernel(&format!(": {path} is not there"))),
        None => {
            let named = boot.iter().filter(|name| name.starts_with("vmlinuz-"));
            let mut named: Vec<String> = named.map(|name| format!("/boot/{name}")).collect();
            named.sort_by(|a, b| by_version(b, a));
            named.extend(
                ["/vmlinuz", "/boot/vmlinuz"].map(str::to_owned).into_iter().filter(|path| exists(path)),
            );
            named
        }
    };
    if kernels.is_empty() {
        return Err(no_kernel(""));
    }
    if !wants_initrd {
        return Ok((kernels.swap_remove(0), None));
    }
    let pair = kernels.iter().find_map(|kernel| Some((kernel.clone(), Some(initrd_of(kernel)?))));
    pair.ok_or_else(|| NoPlan::NoInitrd { profile: decision.profile.clone(), kernel: kernels.swap_remove(0) })
}

/// Runs of digits compare as numbers, all else as bytes: 6.1.0-9 comes before 6.1.0-10.
fn by_version(a: &str, b: &str) -> std::cmp::Ordering {
    let key = |text: &str| -> Vec<(String, u64)> {
        let mut parts = vec![(String::new(), 0u64)];
        let mut digits = false;
        for c in text.chars() {
            if !c.is_ascii_digit() && digits {
                parts.push((String::new(), 0));
            }
            digits = c.is_ascii_digit();
            if let Some((word, number)) = parts.last_mut() {
                match c.to_digit(10) {
                    Some(digit) => *number = number.saturating_mul(10).saturating_add(u64::from(digit)),
                    None => word.push(c),
                }
            }
        }
        parts
    };
    key(a).cmp(&key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> Decision {
        Decision {
            name: None,
            profile: "debian".to_owned(),
            workloads: vec![],
            parts: vec![],
            kernel: None,
            initrd: None,
            initramfs: Initramfs::InitramfsTools,
            args: vec![],
            why: vec![],
        }
    }

    fn choose(decision: &Decision, boot: &[&str]) -> Result<(String, Option<String>), NoPlan> {
        let names: Vec<String> = boot.iter().map(|name| (*name).to_owned()).collect();
        let exists = |path: &str| path.strip_prefix("/boot/").is_some_and(|name| boot.contains(&name));
        kernel_and_initrd(decision, &names, &exists)
    }

    #[test]
    fn the_newest_kernel_with_an_initrd_of_its_own_boots() {
        let boot = [
            "vmlinuz-6.1.0-9",
            "initrd.img-6.1.0-9",
            "vmlinuz-6.1.0-10",
            "initrd.img-6.1.0-10",
            "vmlinuz-6.2.0-1",
        ];
        let (kernel, initrd) = choose(&decision(), &boot).unwrap();
        assert_eq!(kernel, "/boot/vmlinuz-6.1.0-10");
        assert_eq!(initrd.as_deref(), Some("/boot/initrd.img-6.1.0-10"));
    }

    #[test]
    fn without_an_initramfs_the_newest_kernel_boots_alone() {
        let decision = Decision { initramfs: Initramfs::None, ..decision() };
        assert_eq!(
            choose(&decision, &["vmlinuz-6.1", "vmlinuz-6.10"]),
            Ok(("/boot/vmlinuz-6.10".to_owned(), None))
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(matches!(choose(&decision(), &[]), Err(NoPlan::NoKernel { .. })));
        assert!(matches!(choose(&decision(), &["vmlinuz-6.1"]), Err(NoPlan::NoInitrd { .. })));
        let asked = Decision { kernel: Some("/boot/bzImage".to_owned()), ..decision() };
        assert!(
            choose(&asked, &["vmlinuz-6.1", "initrd.img-6.1"])
                .unwrap_err()
                .to_string()
                .contains("/boot/bzImage")
        );
    }
}
