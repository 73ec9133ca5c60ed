//! Any texts as a kernel's tables.
//!
//! Input: `modules.dep`, `.alias`, `.softdep`, `.builtin`, and names and aliases that are asked for, with a zero between each two. What
//! must hold: no path leads out, no order has a module twice, and the tables of all modules, as an initrd has them, say the same.

use std::collections::HashSet;

use oneroot_initrd::modules::{MOST_CALLED, Tables, bare};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut texts = text.split('\0');
    let [dep, alias, softdep, builtin] = [(); 4].map(|()| texts.next().unwrap_or_default());
    let Ok(tables) = Tables::parse(dep, alias, softdep, builtin) else { return };
    let paths: Vec<&str> = tables.paths().collect();
    for path in &paths {
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path:?}");
    }
    let narrowed = tables.narrowed(&paths);
    let packed = Tables::parse(&narrowed.dep, &narrowed.alias, &narrowed.softdep, builtin).unwrap();
    for name in texts.take(16) {
        let order = tables.order(name);
        assert_eq!(order.iter().collect::<HashSet<_>>().len(), order.len(), "{name}: {order:?}");
        let again = packed.order(name);
        // Two modules may have one name, and then the first counts.
        if paths.iter().collect::<HashSet<_>>().len() == paths.len() && is_plain(dep) {
            let bares: Vec<&str> = order.iter().map(|path| bare(path)).collect();
            assert_eq!(again, bares, "{name}");
        }
        assert!(tables.matching(name).len() <= paths.len().max(MOST_CALLED) + alias.lines().count());
        let _ = (tables.is_builtin(name), tables.path(name), tables.options(name));
    }
    let _ = tables.of_pci(0x8086, 0x15f3);
}

/// Whether a table is one that depmod could have written: each line a module and those that it needs, which have lines too. What else
/// there is, a name that is none or a path that nobody has, may be found by the name of another.
fn is_plain(dep: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte);
    let is_path = |path: &str| {
        let name = path.strip_suffix(".ko").unwrap_or_default();
        name.bytes().all(letter) && !name.is_empty() && !name.ends_with('/')
    };
    let heads: HashSet<&str> =
        dep.lines().filter_map(|line| Some(line.split_once(':')?.0)).filter(|path| is_path(path)).collect();
    dep.lines().all(|line| {
        let Some((head, needs)) = line.split_once(':') else { return line.is_empty() };
        heads.contains(head) && needs.split(' ').all(|path| path.is_empty() || heads.contains(path))
    })
}

pub fn seeds() -> Vec<Vec<u8>> {
    let dep = "kernel/a.ko: kernel/b.ko\nkernel/b.ko:\nkernel/c-d.ko.xz: kernel/a.ko kernel/b.ko\n";
    let alias = "alias pci:v00008086d000015F3sv*sd*bc*sc*i* a\nalias fs-c c_d\nalias [a-c]? b\n";
    let softdep = "softdep a pre: c-d post: fs-c\n";
    let builtin = "kernel/e.ko\n";
    let asked = "a\0c-d\0fs-c\0pci:v00008086d000015F3sv0sd0bc02sc00i00\0e";
    [
        format!("{dep}\0{alias}\0{softdep}\0{builtin}\0{asked}"),
        format!("a.ko: b.ko\nb.ko: a.ko\n\0alias * a\n\0softdep a pre: b\nsoftdep b post: a\n\0\0{asked}"),
        "../../etc/shadow:\n\0\0\0\0a".to_owned(),
        format!("\0{alias}\0\0\0{asked}"),
    ]
    .map(String::into_bytes)
    .to_vec()
}
