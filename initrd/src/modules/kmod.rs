//! kmod's own answers beside ours: of modules that the assembler makes here, and of a real kernel's where `ONEROOT_MODULES` names a
//! directory that `lib/modules/VERSION` is below. Of several lines of `softdep` for one module kmod 30 takes the first; we take all,
//! for each says what its driver's author wanted.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const VERSION: &str = "6.1.0-1";
/// Texts.
type Words = &'static [&'static str];
/// A module's path; what it says of itself; the symbols that it gives, and those that it needs.
const MODULES: [(&str, Words, Words, Words); 9] = [
    ("kernel/net/base", &[], &["base_a"], &[]),
    ("kernel/net/mid-dle", &["alias=pci:v000010ECd00008168sv*sd*bc*sc*i*"], &["mid_a"], &["base_a"]),
    ("kernel/net/other", &["alias=pci:v000010ECd*sv*sd*bc02sc*i*"], &[], &[]),
    (
        "kernel/net/third",
        &["alias=pci:v00001234d*sv*sd*bc*sc*i*", "softdep=pre: mid-dle post: late"],
        &[],
        &[],
    ),
    ("kernel/net/late", &[], &[], &["mid_a", "base_a"]),
    ("kernel/crypto/crc", &["alias=crypto-crc32c"], &[], &[]),
    ("kernel/fs/one", &["alias=fs-one", "softdep=pre: crypto-crc32c"], &[], &["base_a"]),
    ("kernel/fs/two", &["alias=fs-two"], &[], &["mid_a"]),
    ("updates/unloved", &["alias=pci:v00001234d*sv*sd*bc*sc*i*", "alias=fs-one"], &[], &[]),
];
const CONF: &str = "blacklist unloved\noptions mid_dle debug=1 \\\n name=x\noptions base a=1\noptions mid-dle more\n\
    alias eth0 other\nalias pci:v00004321d*sv*sd*bc*sc*i* late\nalias crc one\ninstall two /bin/false\nsoftdep other pre: third\n";
/// What devices say of themselves, names and aliases.
const ASKED: [&str; 14] = [
    "pci:v000010ECd00008168sv00000000sd00000000bc02sc00i00",
    "pci:v000010ECd00001111sv00000000sd00000000bc02sc00i00",
    "pci:v00001234d00001111sv00000000sd00000000bc02sc00i00",
    "pci:v00004321d00001111sv00000000sd00000000bc02sc00i00",
    "pci:v00005555d00001111sv00000000sd00000000bc02sc00i00",
    "eth0",
    "fs-one",
    "fs_one",
    "crypto-crc32c",
    "crc",
    "unloved",
    "mid_dle",
    "late",
    "nothing",
];

/// Assembles the modules and has depmod write their tables.
fn made(top: &Path) {
    let home = top.join("lib/modules").join(VERSION);
    for (path, info, gives, needs) in MODULES {
        let mut text = String::from(".section .modinfo,\"a\"\n");
        info.iter().for_each(|info| text += &format!(".asciz \"{info}\"\n"));
        text += ".section __ksymtab_strings,\"a\"\n";
        gives.iter().for_each(|name| text += &format!(".asciz \"{name}\"\n"));
        text += ".data\n";
        gives.iter().for_each(|name| text += &format!(".globl {name}\n{name}: .quad 0\n"));
        needs.iter().for_each(|name| text += &format!(".quad {name}\n"));
        let file = home.join(format!("{path}.ko"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut cc = Command::new("cc")
            .args(["-c", "-x", "assembler", "-", "-o"])
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cc.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(cc.wait().unwrap().success(), "{path}");
    }
    for table in ["order", "builtin", "builtin.modinfo"] {
        fs::write(home.join(format!("modules.{table}")), "").unwrap();
    }
    let depmod = Command::new("/sbin/depmod").arg("-b").arg(top).arg(VERSION).output().unwrap();
    assert!(depmod.status.success(), "{depmod:?}");
    fs::create_dir_all(top.join("conf")).unwrap();
    fs::write(top.join("conf/a.conf"), CONF).unwrap();
}

/// What kmod would load for a name, alias or device, with options: it loads nothing here, so what two need comes twice.
fn kmods(top: &Path, version: &str, conf: &Path, words: &[&str]) -> Vec<String> {
    let mut command = Command::new("/sbin/modprobe");
    command.env_remove("MODPROBE_OPTIONS").arg("--show-depends").arg("-C").arg(conf).arg("-d").arg(top);
    let out = command.arg("-S").arg(version).args(words).output().unwrap();
    let told = String::from_utf8(out.stdout).unwrap();
    let home = format!("/lib/modules/{version}/");
    let paths = told.lines().filter_map(|line| line.strip_prefix("insmod ")?.split_once(&home));
    let mut seen = HashSet::new();
    paths.map(|(_, path)| path.trim().to_owned()).filter(|path| seen.insert(path.clone())).collect()
}

fn ours(tables: &Tables<'_>, order: Vec<&str>) -> Vec<String> {
    order.into_iter().map(|path| format!("{path} {}", tables.options(path)).trim().to_owned()).collect()
}

/// Tables as depmod has written them, with the first softdep of each module alone.
fn texts(home: &Path) -> [String; 4] {
    let text = |name: &str| fs::read_to_string(home.join(name)).unwrap();
    let mut texts = ["dep", "alias", "softdep", "builtin"].map(|kind| text(&format!("modules.{kind}")));
    let mut first = HashSet::new();
    let once = texts[2].lines().filter(|line| first.insert(line.split(' ').nth(1)));
    texts[2] = once.map(|line| format!("{line}\n")).collect();
    texts
}

#[test]
fn every_module_of_a_kernel_is_loaded_in_kmods_own_order() {
    let made_here = tempfile::tempdir().unwrap();
    made(made_here.path());
    let real = std::env::var_os("ONEROOT_MODULES").map(std::path::PathBuf::from);
    for top in [made_here.path().to_owned()].into_iter().chain(real) {
        for version in fs::read_dir(top.join("lib/modules")).unwrap().map(|entry| entry.unwrap()) {
            let [dep, alias, softdep, builtin] = texts(&version.path());
            let tables = Tables::parse(&dep, &alias, &softdep, &builtin).unwrap();
            assert!(tables.paths().count() >= MODULES.len());
            let (name, none) = (version.file_name().into_string().unwrap(), Path::new("/dev/null"));
            for path in tables.paths() {
                let module = name_of(path);
                let kmods = kmods(&top, &name, none, &[&module]);
                assert_eq!(ours(&tables, tables.order(&module)), kmods, "{module}");
            }
        }
    }
}

#[test]
fn what_the_admin_says_of_modules_is_heeded_as_kmod_heeds_it() {
    let home = tempfile::tempdir().unwrap();
    made(home.path());
    let [dep, alias, softdep, builtin] = texts(&home.path().join("lib/modules").join(VERSION));
    let joined = conf::joined([CONF]);
    let tables = Tables::parse(&dep, &alias, &softdep, &builtin).unwrap().told(&joined).unwrap();
    // As the initrd has them.
    let paths: Vec<&str> = tables.paths().collect();
    let narrowed = tables.narrowed(&paths);
    let packed = Tables::parse(&narrowed.dep, &narrowed.alias, &narrowed.softdep, &builtin).unwrap();
    let packed = packed.told(&narrowed.conf).unwrap();
    let mut some = 0;
    for asked in ASKED {
        let kmods = kmods(home.path(), VERSION, &home.path().join("conf"), &["-b", asked]);
        // By its name, without `-b`, what is not wanted is loaded; a device has no name.
        let kmods = if asked == "unloved" { vec!["updates/unloved.ko".to_owned()] } else { kmods };
        for tables in [&tables, &packed] {
            let order = ours(tables, tables.order(asked));
            assert_eq!(order, kmods, "{asked}");
        }
        some += usize::from(!kmods.is_empty());
    }
    assert_eq!(some, ASKED.len() - 2);
    for (asked, may) in [("two", false), ("one", true)] {
        let kmods = kmods(home.path(), VERSION, &home.path().join("conf"), &[asked]);
        assert_eq!(kmods.iter().any(|path| path.ends_with(&format!("{asked}.ko"))), may, "{kmods:?}");
        assert_eq!(tables.may_load(asked), may);
    }
    assert!(tables.order("fs-two").is_empty());
}
