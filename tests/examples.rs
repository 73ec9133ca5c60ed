//! The sites that the how-to pages are about: each is staged, checked and decided as it stands in `examples/`, with trees made here in the
//! place of its own, and the pages show its files as they are.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use crate::own_initrd::{MODULES, tree};
use crate::program::{json, oneroot, put, text};

/// What `check` says of the host that it runs on, which is not the example's.
const OF_THIS_HOST: [&str; 2] = ["is not an address of this host", "no interface "];

/// Programs that `check` looks for, by the packages that have them.
const PROGRAMS: [(&str, &str); 3] = [
    ("autofs", "usr/sbin/automount"),
    ("nfs-common", "sbin/mount.nfs"),
    ("systemd-journal-remote", "usr/lib/systemd/systemd-journal-upload"),
];

/// A copy of an example that can be staged here.
struct Example {
    name: String,
    home: TempDir,
    site: Table,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All directories of `examples/` that have a site.
fn names() -> Vec<String> {
    let all = fs::read_dir(repository().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = all
        .filter(|path| path.join("site.toml").exists())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    names
}

fn examples() -> Vec<Example> {
    names().into_iter().map(Example::copied).collect()
}

/// Every file and link below a directory, by its path there.
fn files(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![top.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(top).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn of_example(name: &str) -> PathBuf {
    repository().join("examples").join(name)
}

impl Example {
    fn copied(name: String) -> Self {
        let home = tempfile::tempdir().unwrap();
        for path in files(&of_example(&name)) {
            let (from, to) = (of_example(&name).join(&path), home.path().join(&path));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            if let Ok(target) = fs::read_link(&from) {
                symlink(target, &to).unwrap();
            } else {
                fs::copy(&from, &to).unwrap();
            }
        }
        let site = fs::read_to_string(home.path().join("site.toml")).unwrap().parse::<Table>().unwrap();
        let example = Self { name, home, site };
        example.give_trees();
        example.give_machines();
        example
    }

    fn tables(&self, kind: &str) -> impl Iterator<Item = (&String, &Table)> {
        let tables = self.site.get(kind).and_then(toml::Value::as_table).into_iter().flatten();
        tables.map(|(name, table)| (name, table.as_table().unwrap()))
    }

    /// Each profile's source becomes a directory; the store and the state lie beside it.
    fn give_trees(&self) {
        let mut lines = Vec::new();
        let mut profile = String::new();
        for line in fs::read_to_string(self.home.path().join("site.toml")).unwrap().lines() {
            let named = line.strip_prefix("[profile.").and_then(|rest| rest.strip_suffix(']'));
            profile = named.map_or(profile, str::to_owned);
            lines.push(match line {
                "[server]" => "[server]\nstore = \"store\"\nstate = \"state\"".to_owned(),
                line if line.starts_with("source = ") => {
                    format!("source = {{ directory = \"trees/{profile}\" }}")
                }
                line => line.to_owned(),
            });
        }
        put(self.home.path(), "site.toml", lines.join("\n"));
        let mounted = self.mounted();
        for (name, profile) in self.tables("profile").filter(|(_, profile)| profile.contains_key("source")) {
            let root = self.home.path().join("trees").join(name);
            if mounted.contains(name) {
                put(&root, "bin/program", "a program\n");
                continue;
            }
            assert!(profile.get("root").is_none(), "{}: {name} has no tree to make here", self.name);
            // The render farm's machines write to a compressed disk.
            tree(&root, &[&MODULES[..], &["kernel/drivers/block/zram/zram"]].concat());
            ["sh", "mount", "chroot", "env"]
                .iter()
                .for_each(|program| put(&root, &format!("bin/{program}"), "x"));
            let packages = profile["source"].get("packages").and_then(toml::Value::as_array);
            let is_in =
                |package: &str| packages.into_iter().flatten().any(|named| named.as_str() == Some(package));
            let programs = PROGRAMS.iter().filter(|(package, _)| is_in(package));
            programs.for_each(|(_, path)| put(&root, path, "x"));
        }
    }

    /// The profiles that are trees to be mounted on another's, and nobody's root.
    fn mounted(&self) -> BTreeSet<String> {
        let all = ["profile", "workload", "group"].into_iter().flat_map(|kind| self.tables(kind));
        let mounts = all.filter_map(|(_, table)| table.get("mounts")?.as_table());
        let profiles = mounts.flatten().filter_map(|(_, mount)| mount.get("profile")?.as_str());
        profiles.map(str::to_owned).collect()
    }

    /// A machine for each workload, so that none is in the example for show.
    fn give_machines(&self) {
        let machines = self.machines();
        let first = json(self.home.path(), &["check", "--machine", &machines[0]]);
        let profile = first["profile"].as_str().unwrap();
        let given = self.tables("workload").zip(1..).map(|((workload, _), number)| {
            format!(
                "[machine.tries-{workload}]\nmac = \"52:54:00:ff:ff:{number:02x}\"\nprofile = \"{profile}\"\n\
                 workloads = [\"{workload}\"]\n\n"
            )
        });
        put(self.home.path(), "machines.d/tried.toml", given.collect::<String>());
    }

    /// All machines of its files.
    fn machines(&self) -> Vec<String> {
        let texts = files(self.home.path()).into_iter().filter(|path| {
            path == Path::new("site.toml")
                || (path.starts_with("machines.d") && path.extension().is_some_and(|end| end == "toml"))
        });
        let texts = texts
            .map(|path| fs::read_to_string(self.home.path().join(path)).unwrap().parse::<Table>().unwrap());
        let tables = texts.filter_map(|site| site.get("machine")?.as_table().cloned());
        let names: Vec<String> =
            tables.flat_map(|machines| machines.keys().cloned().collect::<Vec<_>>()).collect();
        assert!(!names.is_empty(), "{}: who boots?", self.name);
        names
    }
}

#[test]
fn each_example_is_staged_and_checked_without_a_word_of_complaint() {
    for example in examples() {
        let (name, home) = (&example.name, example.home.path());
        let staged = oneroot(home, &["stage"]);
        let said = String::from_utf8_lossy(&staged.stderr);
        assert!(staged.status.success() && !said.contains("warning"), "{name}: {said}");
        // It exits with 3 where there are problems, and they are what one wants to read.
        let checked: Value = serde_json::from_slice(&oneroot(home, &["check", "--json"]).stdout).unwrap();
        assert_eq!(
            (&checked["problems"], &checked["staged"]),
            (&serde_json::json!([]), &serde_json::json!([])),
            "{name}"
        );
        let warnings =
            checked["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap());
        let ours: Vec<&str> =
            warnings.filter(|warning| !OF_THIS_HOST.iter().any(|words| warning.contains(words))).collect();
        assert_eq!(ours, [""; 0], "{name}");
    }
}

#[test]
fn each_machine_of_an_example_has_something_to_boot_and_each_template_becomes_a_file_of_some() {
    for example in examples() {
        let (name, home) = (&example.name, example.home.path());
        text(home, &["stage"]);
        let mut rendered = BTreeSet::new();
        for machine in example.machines() {
            let told = text(home, &["explain", &machine]);
            assert!(told.contains("would boot view"), "{name}: {told}");
            let shown = json(home, &["render", &machine]);
            assert!(shown["trouble"].is_null(), "{name}: {shown}");
            let files = shown["files"].as_array().unwrap().clone();
            rendered.extend(
                files.iter().map(|file| file["path"].as_str().unwrap().trim_start_matches('/').to_owned()),
            );
        }
        let templates = files(&home.join("layers")).into_iter().filter_map(|path| {
            let within: PathBuf = path.iter().skip(1).collect();
            within.to_str().unwrap().strip_suffix(".j2").map(str::to_owned)
        });
        for template in templates {
            assert!(rendered.contains(&template), "{name}: {template} is rendered for nobody; {rendered:?}");
        }
    }
}

#[test]
fn each_hook_of_an_example_can_be_run_and_is_a_script_that_a_shell_can_read() {
    let mut count = 0;
    for name in names() {
        let is_hook = |path: &PathBuf| {
            let path = path.to_str().unwrap();
            path.contains("early.d/") || path.contains("examine.d/")
        };
        let hooks = files(&of_example(&name)).into_iter().filter(is_hook);
        for hook in hooks.map(|path| of_example(&name).join(path)) {
            let mode = fs::metadata(&hook).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "{}", hook.display());
            assert!(
                Command::new("sh").arg("-n").arg(&hook).status().unwrap().success(),
                "{}",
                hook.display()
            );
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn what_a_machine_finds_out_changes_nothing_that_it_has_to_have_to_come_up_and_find_out_more() {
    let mut count = 0;
    for name in names() {
        let top = of_example(&name);
        let site = fs::read_to_string(top.join("site.toml")).unwrap().parse::<Table>().unwrap();
        let required = files(&top).into_iter().filter(|path| path.to_str().unwrap().ends_with(".required"));
        let hooks: String = required.map(|path| fs::read_to_string(top.join(path)).unwrap()).collect();
        let wants = |var: &String| hooks.contains(&format!("ONEROOT_VAR_{var}"));
        let rules = site.get("rule").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        for rule in rules.iter().filter(|rule| rule["when"].get("examined").is_some()) {
            let workloads = rule.get("workloads").and_then(toml::Value::as_array).into_iter().flatten();
            let given = workloads.map(|workload| &site["workload"][workload.as_str().unwrap()]).chain([rule]);
            let vars = given.filter_map(|table| table.get("vars")?.as_table()).flat_map(Table::keys);
            let locking: Vec<&String> = vars.filter(|var| wants(var)).collect();
            assert!(locking.is_empty(), "{name}: by a fact of its own a machine has to have {locking:?}");
            count += 1;
        }
    }
    assert!(count > 0, "no example has a rule by such a fact");
}

#[test]
fn a_how_to_shows_the_files_of_its_example_word_for_word() {
    let pages = repository().join("docs/how-to");
    for name in names() {
        let page = fs::read_to_string(pages.join(format!("{name}.md"))).unwrap();
        let site = fs::read_to_string(of_example(&name).join("site.toml")).unwrap();
        let mut lines = page.lines();
        let mut count = 0;
        while let Some(line) = lines.next() {
            let Some(kind) = line.strip_prefix("```") else { continue };
            let block: String =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            if kind == "toml" {
                count += 1;
                assert!(site.contains(&block), "{name}: not in its site.toml:\n{block}");
            } else if let Some((_, path)) = kind.split_once(' ') {
                let file = fs::read_to_string(of_example(&name).join(path));
                assert_eq!(block, file.unwrap_or_else(|cause| panic!("{name}: {path}: {cause}")), "{path}");
            }
        }
        assert!(count > 0, "{name}: its page shows nothing of its site");
    }
    let with_page: Vec<PathBuf> = files(&pages);
    assert_eq!(with_page.len(), names().len(), "each page has an example: {with_page:?}");
}
