//! What staging promises: the same input has the same name, and a crash leaves nothing behind.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::node::Kind;
use crate::store::Views;

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("store")).unwrap();
    (home, store)
}

fn stage(store: &Arc<Store>, fill: impl FnOnce(&mut Stage<'_>) -> Result<()>) -> Result<Finished> {
    let mut stage = Stage::begin(store, |_| {})?;
    fill(&mut stage)?;
    stage.finish()
}

/// A tar of empty files, and of directories, whose names end so.
fn tar_of_names(names: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular });
        header.set_mode(0o755);
        header.set_size(0);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, name, io::empty()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn sample(root: &std::path::Path) {
    fs::create_dir_all(root.join("etc/empty")).unwrap();
    fs::write(root.join("etc/motd"), "hello\n").unwrap();
    fs::write(root.join("etc/shadow"), "secret\n").unwrap();
    fs::set_permissions(root.join("etc/shadow"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(root.join("sudo"), "#!").unwrap();
    fs::set_permissions(root.join("sudo"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("etc/motd"), root.join("etc/issue")).unwrap();
    symlink("etc/motd", root.join("link")).unwrap();
    fs::write(root.join("etc/.wh.gone"), "").unwrap();
}

fn tar_of(root: &std::path::Path) -> Vec<u8> {
    let out = std::process::Command::new("tar")
        .args(["--format=posix", "--pax-option=delete=atime,delete=ctime", "-C"])
        .arg(root)
        .args(["-cf", "-", "."])
        .output()
        .unwrap();
    assert!(out.status.success());
    out.stdout
}

#[test]
fn a_directory_and_its_tar_have_the_same_name() {
    let (home, store) = store();
    let root = home.path().join("root");
    sample(&root);
    let directory = stage(&store, |stage| stage.directory(&root)).unwrap();
    let again = stage(&store, |stage| stage.directory(&root)).unwrap();
    let archive = stage(&store, |stage| stage.archive(tar_of(&root).as_slice())).unwrap();
    assert_eq!(directory.generation, again.generation);
    assert_eq!(directory.generation, archive.generation);
    assert_eq!(again.progress.new_objects, 0, "nothing is stored twice");
}

#[test]
fn compressed_archives_are_the_same_tree() {
    use std::io::Write as _;
    let (home, store) = store();
    let root = home.path().join("root");
    sample(&root);
    let tar = tar_of(&root);
    let plain = stage(&store, |stage| stage.archive(tar.as_slice())).unwrap().generation;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar).unwrap();
    for packed in [gzip, zstd, xz.finish().unwrap()] {
        assert_eq!(stage(&store, |stage| stage.archive(packed.as_slice())).unwrap().generation, plain);
    }
}

#[test]
fn owner_mode_links_and_whiteouts_survive() {
    let (home, store) = store();
    let root = home.path().join("root");
    sample(&root);
    let made = stage(&store, |stage| stage.directory(&root)).unwrap();
    let id = store.put_stack(&[made.generation]).unwrap();
    let view = Views::new(store.clone()).load(id).unwrap();
    let stat =
        |path: &str| view.stat(view.resolve(&TreePath::parse(path.as_bytes()).unwrap()).unwrap()).unwrap();
    assert_eq!(stat("etc/shadow").mode, 0o600);
    assert_eq!(stat("sudo").mode, 0o4755);
    assert_eq!((stat("etc/motd").fileid, stat("etc/motd").nlink), (stat("etc/issue").fileid, 2));
    assert_eq!(stat("link").kind, Kind::Symlink);
    assert_eq!(made.index.whiteouts(), 1);
    let mut bytes = String::new();
    let object = view.object(view.follow(b"/link").unwrap()).unwrap();
    store.object(object).unwrap().read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "hello\n");
}

#[test]
fn a_whiteout_hides_what_is_below_and_never_its_own_layers_file_in_either_order() {
    let (_home, store) = store();
    let tar = |names: &[&str]| {
        stage(&store, |stage| stage.archive(tar_of_names(names).as_slice())).unwrap().generation
    };
    let anew = tar(&["d/", "d/.wh..wh..opq", "d/x", "f"]);
    assert_eq!(tar(&[".wh.d", ".wh.f", "d/", "d/x", "f"]), anew);
    assert_eq!(tar(&["d/", "d/x", "f", ".wh.d", ".wh.f"]), anew);
    // Without an entry of its own, the directory is one with the usual mode, no owner and no time; it begins anew too.
    assert_eq!(tar(&[".wh.d", "d/x"]), tar(&["d/x", "d/.wh..wh..opq"]));
}

#[test]
fn a_whiteout_is_not_forgotten_over_a_file_that_a_directory_then_replaces() {
    let (_home, store) = store();
    // Not every source has a file come after a directory of its name; archives are refused for it.
    let fill = |stage: &mut Stage<'_>, names: &[&str]| -> Result<()> {
        names.iter().try_for_each(|name| {
            let is_directory = name.ends_with('/');
            let content = if is_directory { Content::Directory { opaque: false } } else { Content::Fifo };
            stage.insert(&TreePath::parse(name.as_bytes())?, Meta::default(), content)
        })
    };
    let tar = |names: &[&str]| stage(&store, |stage| fill(stage, names)).unwrap().generation;
    let (anew, file) = (tar(&["d/", "d/.wh..wh..opq"]), tar(&["d"]));
    for (order, last) in [
        (["d", ".wh.d", "d/"], anew),
        ([".wh.d", "d", "d/"], anew),
        (["d", "d/", ".wh.d"], anew),
        (["d/", "d", ".wh.d"], file),
        (["d/", ".wh.d", "d"], file),
        ([".wh.d", "d/", "d"], file),
    ] {
        assert_eq!(tar(&order), last, "{order:?}");
    }
    assert_eq!(tar(&[".wh.d", "d/", "d", "d/"]), anew);
    assert_eq!(
        tar(&["p/d", "p/.wh.d", "d/"]),
        tar(&["p/d", "d/"]),
        "it is one of that name in that directory"
    );
    let path = |name: &'static str| TreePath::parse(name.as_bytes()).unwrap();
    let linked = stage(&store, |stage| {
        fill(stage, &["f", ".wh.d"])?;
        stage.link(&path("d"), &path("f"))?;
        fill(stage, &["d/"])
    });
    assert_eq!(linked.unwrap().generation, tar(&["f", "d/", "d/.wh..wh..opq"]));
}

/// Both were seen to lose data with exit code 0; `tests/archives.rs` goes through the rest of their kind.
#[test]
fn a_hard_link_with_a_size_swallows_nothing_and_a_file_with_a_slash_is_a_directory() {
    let (_home, store) = store();
    let mut tar = Vec::new();
    let mut add = |name: &[u8], kind: u8, size: u64, link: &[u8], data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.as_ustar_mut().unwrap().linkname[..link.len()].copy_from_slice(link);
        header.as_ustar_mut().unwrap().typeflag = [kind];
        header.set_size(size);
        header.set_mode(0o755);
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    };
    add(b"etc/", b'0', 0, b"", b"");
    add(b"a", b'0', 3, b"", b"aaa");
    add(b"b", b'1', 3, b"a", b"");
    add(b"c", b'0', 3, b"", b"ccc");
    let whole = tar.clone();
    let made = stage(&store, |stage| stage.archive(whole.as_slice())).unwrap();
    let view = Views::new(store.clone()).load(store.put_stack(&[made.generation]).unwrap()).unwrap();
    let stat =
        |path: &str| view.stat(view.resolve(&TreePath::parse(path.as_bytes()).unwrap()).unwrap()).unwrap();
    assert_eq!(stat("etc").kind, Kind::Directory);
    assert_eq!((stat("b").fileid, stat("c").size), (stat("a").fileid, 3));
    let mut with_data = whole[..2048].to_vec();
    with_data.extend([b'x'; 512]);
    let refused = stage(&store, |stage| stage.archive(with_data.as_slice())).unwrap_err().to_string();
    assert!(refused.contains("entry b: it is of a kind that has no data"), "{refused}");
}

#[test]
fn a_packing_that_is_not_read_is_named() {
    let (_home, store) = store();
    for (head, name) in [(&b"BZh91AY&SY"[..], "bzip2"), (b"\x04\x22\x4d\x18x", "lz4"), (b"PK\x03\x04", "zip")]
    {
        let refused = stage(&store, |stage| stage.archive(head)).unwrap_err().to_string();
        assert_eq!(refused, format!("archive: {name} is not supported; recompress with zstd, xz or gzip"));
    }
}

#[test]
fn an_index_on_the_disk_is_the_one_that_was_made() {
    let (home, store) = store();
    let root = home.path().join("root");
    sample(&root);
    let made = stage(&store, |stage| stage.directory(&root)).unwrap();
    let path = store.path().join("generations").join(made.generation.to_string());
    assert_eq!(store.generation(made.generation).unwrap().bytes(), made.index.bytes());
    let mut bytes = fs::read(&path).unwrap();
    for at in [0, 9, 40, 70, bytes.len() / 2, bytes.len() - 1] {
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(store.generation(made.generation).is_err(), "one flipped bit at {at} is seen");
        bytes[at] ^= 1;
    }
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(store.generation(made.generation).is_err(), "a torn file is seen");
}

#[test]
fn an_index_that_the_disk_has_torn_is_made_anew_by_the_next_stage() {
    let (home, store) = store();
    let root = home.path().join("root");
    sample(&root);
    let made = stage(&store, |stage| stage.directory(&root)).unwrap().generation;
    fs::write(store.path().join("generations").join(made.to_string()), "torn").unwrap();
    assert!(store.generation(made).is_err());
    assert_eq!(stage(&store, |stage| stage.directory(&root)).unwrap().generation, made);
    assert!(store.generation(made).is_ok());
}

#[test]
fn an_object_that_the_disk_lost_comes_back_with_the_next_stage() {
    let (home, store) = store();
    let root = home.path().join("root");
    sample(&root);
    let made = stage(&store, |stage| stage.directory(&root)).unwrap();
    let lost = (1..=made.index.inodes()).find_map(|number| made.index.inode(number)?.object()).unwrap();
    fs::remove_file(store.object_path(lost)).unwrap();
    let again = stage(&store, |stage| stage.directory(&root)).unwrap();
    assert_eq!(again.generation, made.generation);
    assert!(store.has_object(lost));
}

#[test]
fn what_a_crashed_stage_left_is_swept_and_a_running_one_is_not() {
    let (_home, store) = store();
    let mut running = Stage::begin(&store, |_| {}).unwrap();
    running.object(b"new".as_slice(), b"new").unwrap();
    let litter = store.path().join("staging/999999-0");
    fs::create_dir(&litter).unwrap();
    fs::write(litter.join("o0"), "half").unwrap();
    let mut second = Stage::begin(&store, |_| {}).unwrap();
    second.object(b"newer".as_slice(), b"newer").unwrap();
    assert!(!litter.exists());
    for stage in [&running, &second] {
        assert!(stage.contents.place().unwrap().path().exists());
    }
}

#[test]
fn what_is_staged_again_and_is_as_it_was_makes_nothing_in_the_store() {
    let (_home, store) = store();
    let staged = || {
        let mut stage = Stage::begin(&store, |_| {}).unwrap();
        let content = stage.object(b"hello".as_slice(), b"a").unwrap();
        stage.insert(&TreePath::parse(b"a").unwrap(), Meta::default(), content).unwrap();
        assert_eq!(stage.contents.has_place(), stage.contents.has_new());
        stage.finish().unwrap().generation
    };
    assert_eq!(staged(), staged());
    let mut again = Stage::begin(&store, |_| {}).unwrap();
    again.object(b"hello".as_slice(), b"a").unwrap();
    assert!(!again.contents.has_place());
}

#[test]
fn archives_that_reach_out_are_refused() {
    let (_home, store) = store();
    let tar_with = |name: &str, link: Option<&str>| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            header.set_entry_type(EntryType::Link);
            header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        builder.into_inner().unwrap()
    };
    for (name, link) in
        [("../x", None), ("a/../../x", None), ("x", Some("../../etc/passwd")), ("x", Some("/etc/passwd"))]
    {
        let tar = tar_with(name, link);
        assert!(stage(&store, |stage| stage.archive(tar.as_slice())).is_err(), "{name} {link:?}");
    }
    for broken in [b"not a tar at all".as_slice(), &[0u8; 600], &[]] {
        assert!(stage(&store, |stage| stage.archive(broken)).is_err());
    }
}

use tar::EntryType;

#[test]
fn devices_owners_long_names_and_attributes_of_an_archive_are_in_the_index() {
    let (_home, store) = store();
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(200));
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: EntryType, device: (u32, u32), records: &[(&str, &[u8])]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o4751);
        header.set_uid(0);
        header.set_gid(42);
        header.set_mtime(7);
        header.set_size(0);
        header.set_device_major(device.0).unwrap();
        header.set_device_minor(device.1).unwrap();
        builder.append_pax_extensions(records.iter().copied()).unwrap();
        header.set_path(name).unwrap();
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
    };
    add("null", EntryType::Char, (1, 3), &[]);
    add("disk", EntryType::Block, (8, 1), &[]);
    add("pipe", EntryType::Fifo, (0, 0), &[]);
    let records: &[(&str, &[u8])] = &[
        ("path", long.as_bytes()),
        // More than the header's field can hold.
        ("uid", b"3000000000"),
        ("mtime", b"1.5"),
        ("SCHILY.xattr.user.note", b"\x00\xff"),
    ];
    add("short", EntryType::Regular, (0, 0), records);
    let tar = builder.into_inner().unwrap();
    let made = stage(&store, |stage| stage.archive(tar.as_slice())).unwrap();
    let view = Views::new(store.clone()).load(store.put_stack(&[made.generation]).unwrap()).unwrap();
    let node = |path: &str| view.resolve(&TreePath::parse(path.as_bytes()).unwrap()).unwrap();
    let stat = |path: &str| view.stat(node(path)).unwrap();
    assert_eq!((stat("null").kind, stat("null").rdev), (Kind::Character, (1, 3)));
    assert_eq!((stat("disk").kind, stat("disk").rdev), (Kind::Block, (8, 1)));
    assert_eq!((stat("pipe").kind, stat("pipe").gid, stat("pipe").mode), (Kind::Fifo, 42, 0o4751));
    assert_eq!((stat(&long).uid, stat(&long).mtime), (3_000_000_000, 1_500_000_000));
    assert_eq!(view.inode(node(&long)).unwrap().xattrs(), [(b"user.note".to_vec(), b"\x00\xff".to_vec())]);
}

#[test]
fn a_sparse_file_is_read_with_its_holes_or_refused_and_never_taken_for_its_map() {
    let (home, store) = store();
    let root = home.path().join("root");
    fs::create_dir(&root).unwrap();
    let file = fs::File::create(root.join("holes")).unwrap();
    file.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"end", (1 << 20) - 3).unwrap();
    let tar = |format: &[&str]| {
        let out = std::process::Command::new("tar")
            .arg("--sparse")
            .args(format)
            .arg("-C")
            .arg(&root)
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        stage(&store, |stage| stage.archive(out.stdout.as_slice()))
    };
    let read = tar(&["--format=gnu"]).unwrap();
    assert_eq!(read.index.content_bytes(), 1 << 20);
    for version in ["0.0", "0.1", "1.0"] {
        let refused = tar(&["--format=posix", "--sparse-version", version]).unwrap_err().to_string();
        assert!(refused.contains("holes") && refused.contains("--format=gnu"), "{version}: {refused}");
    }
}

#[test]
fn a_file_with_many_holes_is_told_by_name_and_one_with_few_is_not() {
    let (home, store) = store();
    let root = home.path().join("root");
    fs::create_dir_all(root.join("var/log")).unwrap();
    fs::File::create(root.join("var/log/lastlog")).unwrap().set_len(2 << 20).unwrap();
    fs::File::create(root.join("var/log/faillog")).unwrap().set_len(600 << 10).unwrap();
    let finished = stage(&store, |stage| {
        stage.contents.tell_holes(1 << 20);
        stage.directory(&root)
    });
    assert_eq!(finished.unwrap().noted.sparse, [("/var/log/lastlog".to_owned(), 2 << 20)]);
}

#[test]
fn an_acl_as_tar_writes_it_is_found_as_one_of_the_kernels_is() {
    let (home, store) = store();
    let root = home.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("shared"), "x").unwrap();
    // As the kernel has it: owner, one more user, group, mask, others.
    let entries = [(1, u32::MAX), (2, 31_234), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)];
    let acl: Vec<u8> = entries
        .iter()
        .flat_map(|(tag, id): &(u16, u32)| [&tag.to_le_bytes()[..], &[4, 0], &id.to_le_bytes()].concat())
        .collect();
    let acl = [&2u32.to_le_bytes()[..], &acl].concat();
    let set = |path: &std::path::Path, name: &str| {
        rustix::fs::setxattr(path, name, &acl, rustix::fs::XattrFlags::empty())
    };
    let set = set(&root.join("shared"), "system.posix_acl_access")
        .and_then(|()| set(&root, "system.posix_acl_default"));
    if set.is_err() {
        eprintln!("skipped: the temporary directory's file system has no ACLs");
        return;
    }
    let tar = |options: &[&str]| {
        let mut tar = std::process::Command::new("tar");
        tar.args(["--format=posix", "--pax-option=delete=atime,delete=ctime"]).args(options);
        let out = tar.arg("-C").arg(&root).args(["-cf", "-", "."]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let staged = stage(&store, |stage| stage.archive(out.stdout.as_slice())).unwrap();
        let (mut shared, mut others) = (Vec::new(), std::collections::BTreeSet::new());
        staged.index.each(&mut |path, inode| {
            for (name, _) in inode.xattrs() {
                match name.as_slice() {
                    b"system.posix_acl_access" | b"SCHILY.acl.access" => shared.push(path.to_vec()),
                    _ => drop(others.insert(name)),
                }
            }
        });
        (staged.generation, shared, others)
    };
    let text = tar(&["--acls"]);
    assert_eq!(text.1, [b"shared"], "the root's is no file's; {:?}", text.2);
    let kernels = tar(&["--xattrs", "--xattrs-include=*"]);
    assert_eq!(kernels.1, [b"shared"]);
    assert_eq!(tar(&["--acls", "--xattrs", "--xattrs-include=*"]), kernels, "said twice, it is one");
    assert!(tar(&[]).1.is_empty());
}

#[test]
fn an_archive_that_is_cut_off_is_refused_but_between_two_entries_where_nobody_can_tell() {
    let (home, store) = store();
    let root = home.path().join("root");
    sample(&root);
    let tar = tar_of(&root);
    let whole = stage(&store, |stage| stage.archive(tar.as_slice())).unwrap();
    // Behind its last entry an archive is zeros.
    let data = tar.iter().rposition(|byte| *byte != 0).unwrap();
    let mut refused = 0;
    for end in (256..data).step_by(256) {
        match stage(&store, |stage| stage.archive(&tar[..end])) {
            Ok(cut) => {
                assert!(end.is_multiple_of(512), "cut at {end}, within a block");
                assert_ne!(cut.generation, whole.generation, "cut at {end} of {data}");
            }
            Err(cause) => {
                refused += 1;
                assert!(cause.to_string().contains("archive"), "{cause}");
            }
        }
    }
    assert!(refused > data / 512, "{refused} of {}", data / 256);
    let ended = stage(&store, |stage| stage.archive(&tar[..(data / 512 + 1) * 512])).unwrap();
    assert_eq!(
        ended.generation, whole.generation,
        "the empty blocks at the end are missing, and nothing else"
    );
}

/// Found by review: what lay in a directory that is no part of the tree was read, and taken for the next file's contents.
#[test]
fn what_aufs_left_in_a_directory_is_no_part_of_the_tree_and_shifts_nothing() {
    let (home, store) = store();
    let root = home.path().join("root");
    for directory in [".wh..wh.plnk", ".wh..wh.orph", "a", "b"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join(".wh..wh.orph/x"), "x").unwrap();
    fs::write(root.join("a/passwd"), "passwd").unwrap();
    fs::set_permissions(root.join("a/passwd"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(root.join("b/su"), "su").unwrap();
    fs::set_permissions(root.join("b/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    let archive = stage(&store, |stage| stage.archive(tar_of(&root).as_slice())).unwrap();
    fs::hard_link(root.join("b/su"), root.join(".wh..wh.plnk/1.2")).unwrap();
    let directory = stage(&store, |stage| stage.directory(&root)).unwrap();
    for staged in [directory, archive] {
        let stack = store.put_stack(&[staged.generation]).unwrap();
        let view = Views::new(store.clone()).load(stack).unwrap();
        let at = |path: &[u8]| view.stat(view.follow(path).unwrap()).unwrap();
        assert_eq!(view.entries(view.root()).count(), 2);
        assert_eq!((at(b"a/passwd").size, at(b"a/passwd").mode), (6, 0o644));
        assert_eq!((at(b"b/su").size, at(b"b/su").mode), (2, 0o4755));
    }
}

#[test]
fn a_stage_that_fails_at_the_last_step_leaves_nothing_but_objects() {
    let (home, store) = store();
    let root = home.path().join("root");
    sample(&root);
    let mut stage = Stage::begin(&store, |_| {}).unwrap();
    stage.remember(Duration::from_secs(1), false);
    stage.directory(&root).unwrap();
    // Nobody can rename a file there: its name is a directory's.
    let (index, _) = {
        let mut twin = Stage::begin(&store, |_| {}).unwrap();
        twin.directory(&root).unwrap();
        twin.builder.finish_ordered().unwrap()
    };
    fs::create_dir_all(store.path().join("generations").join(index.generation().to_string())).unwrap();
    assert!(stage.finish().is_err());
    let left = |name: &str| fs::read_dir(store.path().join(name)).unwrap().count();
    assert_eq!((left("staging"), left("seen")), (0, 0));
}

#[test]
fn a_time_before_1970_is_one_in_gnus_format_too() {
    let (home, store) = store();
    let root = home.path().join("root");
    fs::create_dir(&root).unwrap();
    let file = fs::File::create(root.join("old")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH - Duration::from_secs(86_400)).unwrap();
    let tar = std::process::Command::new("tar")
        .args(["--format=gnu", "-cf", "-", "-C"])
        .arg(&root)
        .arg("old")
        .output();
    let archive = stage(&store, |stage| stage.archive(tar.unwrap().stdout.as_slice())).unwrap();
    assert_eq!(archive.index.inode(2).unwrap().mtime(), -86_400_000_000_000);
}
