//! Any text as a file of modprobe.d and as the kernel's command line.
//!
//! Input: the file, a zero, the line. What must hold: what an initrd has of it says the same of the kernel's modules as it did (a
//! name that is no module's loads nothing either way), and what is told to the kernel when a module is loaded is one line of bounded
//! length without a zero.

use oneroot_initrd::modules::Tables;
use oneroot_initrd::modules::conf::{LONGEST_OPTIONS, joined, of_command_line};

const DEP: &str = "a.ko: b.ko\nb.ko:\nc-d.ko: a.ko b.ko\n";
const ALIAS: &str = "alias fs-a a\nalias pci:v1* c_d\nalias pci:v2* b\n";

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (file, line) = text.split_once('\0').unwrap_or((text, ""));
    let conf = joined([file]) + &of_command_line(line);
    let Ok(tables) = Tables::parse(DEP, ALIAS, "", "").unwrap().told(&conf) else { return };
    let paths: Vec<&str> = tables.paths().collect();
    let narrowed = tables.narrowed(&paths);
    let packed = Tables::parse(&narrowed.dep, &narrowed.alias, &narrowed.softdep, "").unwrap();
    let packed = packed.told(&narrowed.conf).unwrap();
    for name in ["a", "b", "c-d", "c_d", "fs-a", "pci:v1", "pci:v2", "x"] {
        assert_eq!(tables.order(name), packed.order(name), "{name}");
        assert_eq!(
            modules(&tables, tables.matching(name)),
            modules(&packed, packed.matching(name)),
            "{name}"
        );
    }
    for name in ["a", "b", "c-d"] {
        assert_eq!(tables.may_load(name), packed.may_load(name), "{name}");
        assert_eq!(tables.is_wanted(name), packed.is_wanted(name), "{name}");
    }
    for path in paths {
        let options = tables.options(path);
        assert_eq!(options, packed.options(path), "{path}");
        assert!(options.len() <= LONGEST_OPTIONS && !options.contains(['\0', '\n']), "{options:?}");
    }
}

/// Where the modules of these names lie, without the names that are none's.
fn modules(tables: &Tables<'_>, names: Vec<&str>) -> Vec<String> {
    names.into_iter().filter_map(|name| tables.path(name)).map(str::to_owned).collect()
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        "options a x=1 \\\n y=2\noptions c-d z\nblacklist b\nalias fs-a c-d\nalias pci:v1* off\n\0a.x=3 modprobe.blacklist=a,b",
        "install b /bin/false\ninstall a /sbin/modprobe --ignore-install a\nsoftdep a pre: c-d post: b\nremove a /bin/true\n\0\"a.b=c d\" a.b=\"c d\"",
        "# nothing\nalias\noptions\nblacklist\ninstall\nsoftdep\n\0a.=1 .b=2 =c.d quiet",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
