//! Promises of the tables; kmod's own answers beside ours are in `kmod.rs`.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const DEP: &str = "kernel/fs/nfs/nfsv3.ko.xz: kernel/fs/nfs/nfs.ko.xz kernel/fs/lockd/lockd.ko.xz kernel/net/sunrpc/sunrpc.ko.xz\n\
kernel/fs/nfs/nfs.ko.xz: kernel/fs/lockd/lockd.ko.xz kernel/net/sunrpc/sunrpc.ko.xz\n\
kernel/fs/lockd/lockd.ko.xz: kernel/net/sunrpc/sunrpc.ko.xz\n\
kernel/net/sunrpc/sunrpc.ko.xz:\n\
kernel/drivers/net/ethernet/realtek/r8169.ko.xz: kernel/drivers/net/mdio/mdio-devres.ko.xz kernel/drivers/net/phy/libphy.ko.xz\n\
kernel/drivers/net/mdio/mdio-devres.ko.xz: kernel/drivers/net/phy/libphy.ko.xz\n\
kernel/drivers/net/phy/libphy.ko.xz:\n\
kernel/drivers/net/phy/realtek.ko.xz: kernel/drivers/net/phy/libphy.ko.xz\n\
kernel/crypto/crc32c_generic.ko.xz:\n\
kernel/fs/jbd2/jbd2.ko.xz:\n";
const ALIAS: &str = "# Aliases extracted from modules themselves.\n\
alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\n\
alias mdio:0000000000011100110010010001???? realtek\n\
alias crypto-crc32c crc32c_generic\n\
alias fs-nfs nfs\n\
alias pci:v*d*sv*sd*bc02sc00i* jbd2\n";
const SOFT: &str =
    "softdep r8169 pre: realtek\nsoftdep jbd2 pre: crypto-crc32c post: nfsv3 nothing\nsoftdep nfs lockd\n";
const BUILTIN: &str = "kernel/net/packet/af-packet.ko\nkernel/fs/overlayfs/overlay.ko\n";

fn tables() -> Tables<'static> {
    Tables::parse(DEP, ALIAS, SOFT, BUILTIN).unwrap()
}

fn names(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| name_of(path).into_owned()).collect()
}

#[test]
fn what_a_module_needs_is_loaded_before_it_and_what_follows_it_after() {
    let tables = tables();
    assert_eq!(names(&tables.order("nfsv3")), ["sunrpc", "lockd", "nfs", "nfsv3"]);
    assert_eq!(
        names(&tables.order("r8169")),
        ["libphy", "mdio_devres", "realtek", "r8169"],
        "its PHY's driver first"
    );
    assert_eq!(
        names(&tables.order("jbd2")),
        ["crc32c_generic", "jbd2", "sunrpc", "lockd", "nfs", "nfsv3"],
        "by alias before, and by name after"
    );
    assert_eq!(names(&tables.order("fs-nfs")), ["sunrpc", "lockd", "nfs"], "by alias");
    assert_eq!(names(&tables.order_of_all(["nfs", "nfsv3", "nothing"])), ["sunrpc", "lockd", "nfs", "nfsv3"]);
    assert!(tables.order("nothing").is_empty());
}

#[test]
fn a_device_is_given_the_drivers_that_say_they_are_for_it() {
    let tables = tables();
    let realtek = "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00";
    assert_eq!(tables.matching(realtek), ["r8169", "jbd2"], "in the order of the table");
    assert_eq!(tables.matching("pci:v000010ECd00008168sv00001043sd00008677bc03sc00i00"), ["r8169"]);
    assert!(tables.matching("pci:v00008086d000015F3sv00008086sd00000000bc03sc00i00").is_empty());
    assert!(tables.matching("").is_empty());
}

#[test]
fn the_tables_of_some_modules_say_of_those_what_all_said_and_nothing_of_others() {
    let all = tables();
    let order = all.order_of_all(["r8169", "jbd2"]);
    let narrowed = all.narrowed(&order);
    let few = Tables::parse(&narrowed.dep, &narrowed.alias, &narrowed.softdep, BUILTIN).unwrap();
    for name in ["r8169", "jbd2", "nfs"] {
        let unpacked: Vec<&str> = all.order(name).into_iter().map(bare).collect();
        assert_eq!(few.order(name), unpacked, "{name}");
    }
    assert_eq!(few.path("nfsv3"), Some("kernel/fs/nfs/nfsv3.ko"));
    let without = all.narrowed(&all.order("nfs"));
    assert!(!without.dep.contains("nfsv3") && !without.alias.contains("r8169") && without.softdep.is_empty());
    assert_eq!(without.alias, "alias fs-nfs nfs\n");
}

#[test]
fn a_name_is_the_same_with_either_dash() {
    let tables = tables();
    for name in ["mdio-devres", "mdio_devres"] {
        assert_eq!(tables.path(name), Some("kernel/drivers/net/mdio/mdio-devres.ko.xz"));
    }
    for name in ["af-packet", "af_packet"] {
        assert!(tables.is_builtin(name), "{name}");
    }
    assert!(!tables.is_builtin("nfs"));
    assert_eq!(tables.path("overlay"), None, "the kernel has it in itself");
}

#[test]
fn modules_that_need_each_other_are_loaded_once_each() {
    let dep = "a.ko: b.ko a.ko\nb.ko: c.ko\nc.ko: a.ko b.ko missing.ko\n";
    let soft = "softdep a pre: c post: b\nsoftdep b pre: a\nsoftdep c post: c a\n";
    let tables = Tables::parse(dep, "", soft, "").unwrap();
    for name in ["a", "b", "c"] {
        let order = tables.order(name);
        assert_eq!(order.len(), 3, "{order:?}");
        assert_eq!(order.iter().collect::<HashSet<_>>().len(), 3, "{order:?}");
    }
}

#[test]
fn a_chain_of_as_many_modules_as_there_may_be_is_no_trouble() {
    let dep: String = (0..MOST).map(|number| format!("m{number}.ko: m{}.ko\n", number + 1)).collect();
    let tables = Tables::parse(&dep, "", "", "").unwrap();
    let order = tables.order("m0");
    assert_eq!((order.len(), order.first(), order.last()), (MOST, Some(&"m65535.ko"), Some(&"m0.ko")));
    let more = dep + "one-more.ko:\n";
    assert_eq!(Tables::parse(&more, "", "", "").err(), Some(BadTables::TooMany("modules.dep")));
}

#[test]
fn a_path_that_leads_out_is_refused_and_so_is_a_table_that_no_kernel_has() {
    for path in
        ["../../etc/shadow", "kernel/../../x.ko", "/etc/passwd", "kernel//x.ko", "./x.ko", "a\u{7}.ko"]
    {
        for dep in [format!("{path}:"), format!("a.ko: {path}")] {
            assert_eq!(
                Tables::parse(&dep, "", "", "").err(),
                Some(BadTables::Path(path.to_owned())),
                "{dep}"
            );
        }
    }
    let soft = format!("softdep a pre:{}", " b".repeat(MOST_SOFT));
    assert_eq!(Tables::parse("", "", &soft, "").err(), Some(BadTables::TooMany("modules.softdep")));
    let alias = "alias a b\n".repeat(MOST_ALIASES + 1);
    assert_eq!(Tables::parse("", &alias, "", "").err(), Some(BadTables::TooMany("modules.alias")));
    let large = " ".repeat(LARGEST + 1);
    assert_eq!(Tables::parse("", &large, "", "").err(), Some(BadTables::TooLarge("modules.alias")));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        dep in "([ab/.: \n-]|\\.ko){0,60}", alias in "(alias |[ab*\\[\\]? \n-]){0,60}", soft in "(softdep |pre: |post: |[ab \n]){0,60}"
    ) {
        let Ok(tables) = Tables::parse(&dep, &alias, &soft, &dep) else { return Ok(()) };
        for name in ["a", "b", "a-b", ""] {
            let order = tables.order(name);
            prop_assert_eq!(order.iter().collect::<HashSet<_>>().len(), order.len());
            let _ = (tables.path(name), tables.is_builtin(name), tables.matching(name));
        }
    }
}

#[test]
fn tables_that_are_made_to_cost_hours_cost_a_moment() {
    let softdep = (0..500).map(|number| format!("softdep a pre: {}{number:03}\n", "a".repeat(60)));
    let softdep = softdep.collect::<String>() + "softdep b pre: " + &"c".repeat(65) + "\n";
    let pattern = "*[a]".repeat(18);
    let alias = (0..100_000).map(|number| format!("alias {pattern}{} a\n", number % 10)).collect::<String>();
    let alias = alias + "alias ccc* c\n";
    assert!(alias.len() <= LARGEST);
    let tables = Tables::parse("a.ko:\nb.ko:\nc.ko:\n", &alias, &softdep, "").unwrap();
    let mut left = MOST_STEPS;
    assert_eq!(tables.order("a"), ["a.ko"]);
    tables.steps(0, &mut Vec::new(), &mut left);
    assert_eq!(left, 0, "it is used up, and what is left unasked is not looked for");
    assert_eq!(tables.order("b"), ["b.ko"], "a word that is no name's length is none");
}

fn told(conf: &str) -> Vec<String> {
    let joined = conf::joined([conf]);
    let told = tables().told(&joined).unwrap();
    let paths: Vec<&str> = told.paths().collect();
    told.narrowed(&paths).conf.lines().map(str::to_owned).collect()
}

#[test]
fn lines_of_modprobe_d_are_read_as_kmod_reads_them_and_those_of_other_modules_stay_behind() {
    let conf = "# a comment\noptions r8169 \\\n  debug=1\noptions  r8169\tname=\"a b\"\nblacklist lib-phy\nblacklist libphy\n\
        install realtek /bin/true\ninstall nfs /sbin/modprobe --ignore-install nfs && echo\noptions elsewhere x=1\n\
        blacklist elsewhere\nremove nfs /bin/false\noptions\noptions nfs\nalias\nalias fs-nfs* nfs\nsoftdep nfs pre: libphy\n";
    assert_eq!(
        told(conf),
        [
            "alias fs-nfs* nfs",
            "options r8169 debug=1 name=\"a b\"",
            "blacklist libphy",
            "install realtek /bin/false",
        ]
    );
    let joined = conf::joined([conf]);
    let tables = tables().told(&joined).unwrap();
    let paths = tables.order("nfs");
    assert!(names(&paths).contains(&"libphy".to_owned()), "{paths:?}");
    assert!(tables.narrowed(&paths).softdep.contains("softdep nfs pre: libphy\n"));
}

#[test]
fn what_is_not_wanted_is_loaded_by_no_device_and_by_no_alias_and_nothing_that_needs_what_may_not_be_loaded() {
    let device = "pci:v000010ECd00008168sv0sd0bc02sc00i00";
    for (conf, found) in [
        ("", &["r8169", "jbd2"][..]),
        ("blacklist r8169\n", &["jbd2"]),
        ("install jbd2 /bin/false\n", &["r8169"]),
        // What it needs, by way of another.
        ("install libphy /usr/bin/true\n", &["jbd2"]),
        ("alias pci:v000010ECd* realtek\n", &["realtek"]),
        ("alias pci:v000010ECd* off\n", &["off"]),
    ] {
        assert_eq!(tables().told(conf).unwrap().matching(device), found, "{conf}");
    }
    let tables = tables().told("blacklist r8169\nblacklist nfs\nalias jbd2 realtek\n").unwrap();
    assert_eq!(tables.of_pci(0x10ec, 0x8168), [""; 0]);
    assert!(tables.order("fs-nfs").is_empty(), "by an alias");
    assert!(names(&tables.order("nfs")).contains(&"nfs".to_owned()), "by its name");
    assert_eq!(names(&tables.order("jbd2")), ["libphy", "realtek"], "what the admin calls so");
}

#[test]
fn the_command_lines_words_for_modules_are_those_that_kmod_takes() {
    for (line, told) in [
        ("quiet root=/dev/nfs ip=10.0.0.1:a.b", ""),
        ("modprobe.blacklist=a,b-c,, x.y=1", "blacklist a\nblacklist b-c\noptions x y=1\n"),
        ("i915.modeset=0 nfs.callback_tcpport", "options i915 modeset=0\noptions nfs callback_tcpport\n"),
        ("a.b=\"c d\" \"e.f=g h\"", "options a b=\"c d\"\noptions e f=\"g h\"\n"),
        (".x=1 x.=1 =a.b \"a b.c=1\" \"a.b c=1\"", ""),
    ] {
        assert_eq!(conf::of_command_line(line), told, "{line}");
    }
}

#[test]
fn more_of_modprobe_d_than_any_admin_writes_is_refused_or_left_out() {
    let bad = |conf: &str| Tables::default().told(conf).err();
    assert_eq!(bad(&"a b\n".repeat(conf::MOST + 1)), Some(BadTables::TooMany("modprobe.d")));
    assert_eq!(bad(&" ".repeat(conf::LARGEST + 1)), Some(BadTables::TooLarge("modprobe.d")));
    let soft = format!("softdep a pre:{}", " b".repeat(MOST_SOFT));
    assert_eq!(bad(&soft), Some(BadTables::TooMany("modprobe.d")));
    let long = format!(
        "options r8169 a=1\noptions r8169 {}\noptions r8169 b=2\n",
        "x".repeat(conf::LONGEST_OPTIONS)
    );
    assert_eq!(told(&long), ["options r8169 a=1 b=2"]);
}

proptest! {
    #[test]
    fn any_text_of_modprobe_d_and_any_command_line_is_read(
        text in "((alias|blacklist|install|options|softdep|remove)? ?[ab*.=,/\"\\\\ \n-]{0,12}){0,20}"
    ) {
        let joined = conf::joined([text.as_str()]) + &conf::of_command_line(&text);
        if let Ok(tables) = Tables::parse("a.ko: b.ko\nb.ko: a.ko\n", "alias a* b\n", "", "").unwrap().told(&joined) {
            let narrowed = tables.narrowed(&["a.ko", "b.ko"]);
            // What the server has read is what init reads.
            let again = Tables::parse(&narrowed.dep, &narrowed.alias, &narrowed.softdep, "").unwrap().told(&narrowed.conf).unwrap();
            for name in ["a", "b", "ab", "-"] {
                prop_assert_eq!(tables.order(name), again.order(name));
                prop_assert_eq!(tables.matching(name), again.matching(name));
                // Of a module that is not in the initrd nothing is kept.
                let is_there = tables.path(name).is_some();
                prop_assert!(!is_there || tables.options(name) == again.options(name));
                prop_assert_eq!(tables.may_load(name), again.may_load(name));
            }
        }
    }
}
