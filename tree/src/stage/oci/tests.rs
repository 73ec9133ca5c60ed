//! What an image promises: its layers make one tree, as overlayfs would show it, and nothing in it is believed unchecked.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::stage::Finished;
use crate::store::Store;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// What a test's layer brings.
#[derive(Debug, Clone)]
enum Put {
    File(&'static str),
    Dir,
    Symlink(&'static str),
    Link(&'static str),
}
use Put::{Dir, File as Bytes, Link, Symlink};

/// A tar archive with these entries, in this order; names are written raw, so that they can be bad.
fn tar_of<'a>(entries: impl IntoIterator<Item = (&'a str, Put)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, put) in entries {
        let mut header = tar::Header::new_gnu();
        let (kind, mode, link, bytes) = match put {
            Bytes(text) => (tar::EntryType::Regular, 0o644, None, text),
            Dir => (tar::EntryType::Directory, 0o755, None, ""),
            Symlink(to) => (tar::EntryType::Symlink, 0o777, Some(to), ""),
            Link(to) => (tar::EntryType::Link, 0o644, Some(to), ""),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(7);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, bytes.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A layout that a test writes by hand.
struct Writer {
    home: tempfile::TempDir,
    store: Arc<Store>,
}

impl Writer {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let writer = Self { home, store };
        fs::create_dir_all(writer.path().join("blobs/sha256")).unwrap();
        fs::write(writer.path().join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        writer
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(self.path().join("blobs/sha256").join(&hex), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    fn file_of(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap();
        self.path().join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    /// A manifest of these layers; its config says this architecture.
    fn manifest(&self, architecture: &str, layers: &[Value]) -> Value {
        let ids = vec!["sha256:0"; layers.len()];
        let config = json!({ "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids } });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    fn index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    fn stage(&self, path: &Path) -> Result<Finished> {
        let mut stage = Stage::begin(&self.store, |_| {})?;
        stage.oci(path, &amd64())?;
        stage.finish()
    }

    fn image(&self, layers: &[Vec<u8>]) -> Result<Finished> {
        let layers: Vec<Value> = layers.iter().map(|layer| self.blob(PLAIN, layer)).collect();
        self.index(&[self.manifest("amd64", &layers)]);
        self.stage(&self.path())
    }

    /// The same tree as one archive without whiteouts: what the layers have to come to.
    fn flat(&self, layer: &[u8]) -> Finished {
        let mut stage = Stage::begin(&self.store, |_| {}).unwrap();
        stage.archive(layer).unwrap();
        stage.finish().unwrap()
    }

    fn comes_to(&self, layers: &[Vec<u8>], flat: &[(&str, Put)]) {
        let made = self.image(layers).unwrap();
        assert_eq!(made.index.whiteouts(), 0);
        assert_eq!(made.generation, self.flat(&tar_of(flat.iter().cloned())).generation);
    }
}

fn amd64() -> Platform {
    Platform { os: "linux".to_owned(), architecture: "amd64".to_owned() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_later_layer_wins_and_a_whiteout_removes_one_name_of_a_file() {
    let lower = tar_of([
        ("./", Dir),
        ("a", Bytes("old")),
        ("b", Bytes("two names")),
        ("c", Link("b")),
        ("d/", Dir),
        ("d/x", Bytes("x")),
    ]);
    let upper = tar_of([("a", Bytes("new")), (".wh.b", Bytes("")), ("d/", Dir), ("d/y", Bytes("y"))]);
    Writer::new().comes_to(
        &[lower, upper],
        &[
            ("./", Dir),
            ("a", Bytes("new")),
            ("c", Bytes("two names")),
            ("d/", Dir),
            ("d/x", Bytes("x")),
            ("d/y", Bytes("y")),
        ],
    );
}

#[test]
fn a_whiteout_and_an_opaque_directory_spare_their_own_layer_wherever_they_stand() {
    let lower = tar_of([("d/", Dir), ("d/low", Bytes("1")), ("e/", Dir), ("e/low", Bytes("2"))]);
    let marks = [("d/.wh..wh..opq", Bytes("")), (".wh.e", Bytes(""))];
    let brings = [("d/", Dir), ("d/own", Bytes("3")), ("e/", Dir), ("e/own", Bytes("4"))];
    let flat = brings.clone();
    for upper in [
        tar_of(marks.iter().cloned().chain(brings.clone())),
        tar_of(brings.iter().cloned().chain(marks.clone())),
    ] {
        Writer::new().comes_to(&[lower.clone(), upper], &flat);
    }
}

#[test]
fn an_opaque_root_leaves_nothing_of_what_was_below() {
    let lower = tar_of([("a", Bytes("1")), ("d/", Dir), ("d/x", Bytes("2"))]);
    let upper = tar_of([(".wh..wh..opq", Bytes("")), ("b", Bytes("3"))]);
    Writer::new().comes_to(&[lower, upper], &[("b", Bytes("3"))]);
}

#[test]
fn a_whiteout_of_nothing_is_nothing_and_aufs_bookkeeping_is_left_out() {
    let lower = tar_of([("a", Bytes("1")), ("l", Symlink("a"))]);
    let upper = tar_of([
        (".wh.gone", Bytes("")),
        ("no/such/.wh.x", Bytes("")),
        ("a/.wh.x", Bytes("")),
        ("l/.wh.x", Bytes("")),
        (".wh..wh.aufs", Bytes("")),
        (".wh..wh.plnk/", Dir),
        (".wh..wh.plnk/1.2", Bytes("x")),
    ]);
    Writer::new().comes_to(&[lower, upper], &[("a", Bytes("1")), ("l", Symlink("a"))]);
}

#[test]
fn a_file_over_a_directory_and_back_keeps_nothing_of_the_first() {
    let first = tar_of([("d/", Dir), ("d/x", Bytes("x"))]);
    let second = tar_of([("d", Bytes("a file"))]);
    let third = tar_of([("d/", Dir), ("d/y", Bytes("y"))]);
    Writer::new().comes_to(&[first, second, third], &[("d/", Dir), ("d/y", Bytes("y"))]);
}

#[test]
fn a_hard_link_may_name_a_lower_layers_file() {
    let lower = tar_of([("a", Bytes("1"))]);
    let upper = tar_of([("b", Link("a"))]);
    Writer::new().comes_to(&[lower, upper], &[("a", Bytes("1")), ("b", Link("a"))]);
}

#[test]
fn a_path_through_a_lower_layers_link_makes_a_directory_of_it_and_through_its_own_is_refused() {
    let lower =
        tar_of([("usr/", Dir), ("usr/lib/", Dir), ("usr/lib/a", Bytes("a")), ("lib", Symlink("usr/lib"))]);
    let upper = tar_of([("lib/x", Bytes("x"))]);
    let writer = Writer::new();
    let made = writer.image(&[lower.clone(), upper]).unwrap();
    let flat = tar_of([("usr/", Dir), ("usr/lib/", Dir), ("usr/lib/a", Bytes("a")), ("lib/x", Bytes("x"))]);
    assert_eq!(made.generation, writer.flat(&flat).generation);
    let own = tar_of([("lib", Symlink("usr/lib")), ("lib/x", Bytes("x"))]);
    let told = writer.image(&[lower, own]).unwrap_err().to_string();
    assert!(told.contains("runs through a file or a link"), "{told}");
}

#[test]
fn names_that_reach_out_or_hide_no_name_are_refused() {
    let writer = Writer::new();
    for (name, put) in [
        ("../x", Bytes("")),
        ("a/../../x", Bytes("")),
        ("../.wh.x", Bytes("")),
        (".wh.", Bytes("")),
        (".wh..", Bytes("")),
        (".wh...", Bytes("")),
        ("d/.wh...", Bytes("")),
        (".wh.d/x", Bytes("")),
        ("x", Link("../../etc/passwd")),
        ("x", Link("missing")),
    ] {
        let refused = writer.image(&[tar_of([("d/", Dir)]), tar_of([(name, put.clone())])]);
        assert!(refused.is_err(), "{name} {put:?}");
    }
}

#[test]
fn gzip_zstd_and_plain_layers_in_a_directory_and_in_any_archive_are_the_same_tree() {
    let writer = Writer::new();
    let (lower, upper) = (tar_of([("a", Bytes("1"))]), tar_of([("b", Bytes("2"))]));
    let empty = tar_of([]);
    let plain = writer.image(&[lower.clone(), upper.clone()]).unwrap();
    let layers = [
        writer.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &gzip(&lower)),
        writer.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(&empty)),
        writer.blob(
            "application/vnd.oci.image.layer.v1.tar+zstd",
            &zstd::encode_all(upper.as_slice(), 1).unwrap(),
        ),
    ];
    writer.index(&[writer.manifest("amd64", &layers)]);
    assert_eq!(writer.stage(&writer.path()).unwrap().generation, plain.generation);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".", writer.path()).unwrap();
    let archive = archive.into_inner().unwrap();
    for (name, bytes) in [("image.tar", archive.clone()), ("image.tar.gz", gzip(&archive))] {
        let path = writer.home.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(writer.stage(&path).unwrap().generation, plain.generation, "{name}");
    }
}

#[test]
fn the_platforms_image_is_taken_and_without_one_all_are_told() {
    let writer = Writer::new();
    let of = |architecture: &str, variant: Option<&str>| {
        let layer = tar_of([("made-for", Bytes(if architecture == "amd64" { "amd64" } else { "other" }))]);
        let mut manifest = writer.manifest(architecture, &[writer.blob(PLAIN, &layer)]);
        manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
        if let Some(variant) = variant {
            manifest["platform"]["variant"] = json!(variant);
        }
        manifest
    };
    let mut about = of("amd64", None);
    about["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let want = writer.flat(&tar_of([("made-for", Bytes("amd64"))])).generation;
    let nested = |manifests: &[Value]| {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        writer.blob(INDEX, index.to_string().as_bytes())
    };
    writer.index(&[nested(&[of("arm64", Some("v8")), of("amd64", None)])]);
    assert_eq!(writer.stage(&writer.path()).unwrap().generation, want);
    writer.index(&[nested(&[about, of("arm64", Some("v8")), of("s390x", None)])]);
    let told = writer.stage(&writer.path()).unwrap_err().to_string();
    assert_eq!(told, "image: nothing in it is for linux/amd64; it has linux/arm64/v8, linux/s390x");
    // An index that says what its config does not.
    let mut lies = of("arm64", None);
    lies["platform"]["architecture"] = json!("amd64");
    writer.index(&[lies]);
    assert!(matches!(writer.stage(&writer.path()), Err(Error::NoPlatform { .. })));
}

#[test]
fn the_plain_architecture_is_taken_before_a_newer_processors_and_two_names_are_not_chosen_from() {
    let writer = Writer::new();
    let with = |text: &'static str, key: &str, value: Value| {
        let layer = writer.blob(PLAIN, &tar_of([("f", Bytes(text))]));
        let mut manifest = writer.manifest("amd64", &[layer]);
        manifest[key] = value;
        manifest
    };
    let platform = |variant: &str| json!({ "architecture": "amd64", "os": "linux", "variant": variant });
    writer.index(&[with("v3", "platform", platform("v3")), with("v1", "platform", platform(""))]);
    let want = writer.flat(&tar_of([("f", Bytes("v1"))])).generation;
    assert_eq!(writer.stage(&writer.path()).unwrap().generation, want);
    let named = |name: &str| json!({ "org.opencontainers.image.ref.name": name });
    writer.index(&[with("1", "annotations", named("one")), with("2", "annotations", named("two"))]);
    let told = writer.stage(&writer.path()).unwrap_err().to_string();
    assert!(told.contains("several in it (one, two)"), "{told}");
    // As `docker save` writes two images of one tag, and one image of two.
    let saved = |name: &str| json!({ "org.opencontainers.image.ref.name": "latest", "io.containerd.image.name": name });
    writer.index(&[with("1", "annotations", saved("a:latest")), with("2", "annotations", saved("b:latest"))]);
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("(a:latest, b:latest)"));
    writer.index(&[with("1", "annotations", saved("a:latest")), with("1", "annotations", saved("b:latest"))]);
    assert!(writer.stage(&writer.path()).is_ok());
}

#[test]
fn no_byte_of_a_blob_that_is_not_its_descriptors_is_used() {
    let writer = Writer::new();
    let good = tar_of([("a", Bytes("1"))]);
    let refused = |layer: Value| {
        writer.index(&[writer.manifest("amd64", &[layer])]);
        writer.stage(&writer.path()).unwrap_err().to_string()
    };
    let changed = writer.blob(PLAIN, &good);
    fs::write(writer.file_of(&changed), tar_of([("a", Bytes("2"))])).unwrap();
    assert!(refused(changed.clone()).contains("its bytes have the hash"));
    fs::write(writer.file_of(&changed), &good).unwrap();
    for size in [0, good.len() - 1, good.len() + 1] {
        let mut lies = changed.clone();
        lies["size"] = json!(size);
        assert!(refused(lies).contains("bytes, not"), "{size}");
    }
    for digest in ["sha256:../../../etc/passwd", "../x", "sha512:00", "sha256:", "", "sha256:AA"] {
        let mut bad = changed.clone();
        bad["digest"] = json!(digest);
        assert!(refused(bad).contains("not named by sha256"), "{digest}");
    }
    let mut other = changed.clone();
    other["mediaType"] = json!("application/vnd.example.squashfs");
    assert!(refused(other).contains("application/vnd.example.squashfs"));
    fs::remove_file(writer.file_of(&changed)).unwrap();
    assert!(refused(changed.clone()).contains("is not there"));
    let outside = writer.home.path().join("outside");
    fs::write(&outside, &good).unwrap();
    symlink(&outside, writer.file_of(&changed)).unwrap();
    assert!(refused(changed).contains("cannot be opened"), "a blob is no link to a file elsewhere");
}

#[test]
fn what_may_be_absent_may_be_null_and_an_artifact_beside_the_image_is_passed_over() {
    let writer = Writer::new();
    let empty = writer.blob("application/vnd.oci.empty.v1+json", b"{}");
    let signature = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-signature", "config": empty, "layers": [empty], "annotations": null });
    let signature = writer.blob(MANIFEST, signature.to_string().as_bytes());
    let layer = writer.blob(PLAIN, &tar_of([("a", Bytes("x"))]));
    let config = json!({ "architecture": "amd64", "os": "linux", "variant": null, "history": null, "config": null, "rootfs": { "type": "layers", "diff_ids": ["sha256:0"] } });
    let config = writer.blob(CONFIG, config.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], "annotations": null });
    let mut manifest = writer.blob(MANIFEST, manifest.to_string().as_bytes());
    (manifest["annotations"], manifest["platform"], manifest["urls"]) =
        (Value::Null, Value::Null, Value::Null);
    writer.index(&[signature.clone(), manifest]);
    assert_eq!(writer.stage(&writer.path()).unwrap().index.inodes(), 2);
    writer.index(std::slice::from_ref(&signature));
    let refused = writer.stage(&writer.path()).unwrap_err().to_string();
    assert!(refused.contains("no image at all"), "{refused}");
    let mut said = signature;
    said["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    writer.index(&[said]);
    let refused = writer.stage(&writer.path()).unwrap_err().to_string();
    assert!(refused.contains("it is an artifact"), "{refused}");
    fs::write(writer.path().join("index.json"), r#"{ "schemaVersion": 2, "manifests": null }"#).unwrap();
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("no image at all"));
}

#[test]
fn what_is_wrong_in_a_layer_is_told_with_the_layers_name() {
    let writer = Writer::new();
    let bad = tar_of([("a", Link("missing"))]);
    let digest = writer.blob(PLAIN, &bad)["digest"].as_str().unwrap().to_owned();
    let refused = writer.image(&[tar_of([("b", Dir)]), bad]).unwrap_err().to_string();
    assert!(refused.contains(&digest) && refused.contains("entry a"), "{refused}");
}

#[test]
fn huge_documents_deep_indexes_and_what_is_no_image_are_refused() {
    let writer = Writer::new();
    let huge = writer.blob(MANIFEST, &vec![b' '; 5 << 20]);
    writer.index(&[huge]);
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("too many for a document"));
    let mut deep = writer.manifest("amd64", &[writer.blob(PLAIN, &tar_of([("a", Bytes("1"))]))]);
    for _ in 0..6 {
        let index = json!({ "schemaVersion": 2, "manifests": [deep] });
        deep = writer.blob(INDEX, index.to_string().as_bytes());
    }
    writer.index(&[deep]);
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("deeper than"));
    writer.index(&[]);
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("no image at all"));
    writer.index(&[writer.manifest("amd64", &[])]);
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("0 layers"));
    fs::write(writer.path().join("index.json"), vec![b' '; 5 << 20]).unwrap();
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("too many for a document"));
    fs::write(writer.path().join("index.json"), "{").unwrap();
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("index.json is not valid JSON"));
    fs::remove_file(writer.path().join("oci-layout")).unwrap();
    assert!(writer.stage(&writer.path()).unwrap_err().to_string().contains("not an OCI layout"));
    assert_eq!(fs::read_dir(writer.store.path().join("generations")).unwrap().count(), 0);
}

/// The reference model: a map from path to what is there, and a layer applied by the image spec's words alone.
type Model = BTreeMap<String, Option<&'static str>>;

fn model(tree: &mut Model, layer: &[(String, u8)]) {
    let below = |tree: &mut Model, path: &str| {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        tree.retain(|name, _| !name.starts_with(&prefix));
    };
    for (path, what) in layer {
        let (parent, _) = path.rsplit_once('/').unwrap_or(("", path));
        match what {
            3 => {
                tree.remove(path);
                below(tree, path);
            }
            4 if parent.is_empty() || tree.get(parent) == Some(&None) => below(tree, parent),
            _ => {}
        }
    }
    for (path, what) in layer.iter().filter(|(_, what)| *what < 3) {
        for (at, _) in path.match_indices('/') {
            tree.insert(path[..at].to_owned(), None);
        }
        let content = [None, Some("one"), Some("two")][usize::from(*what)];
        if content.is_some() {
            below(tree, path);
        }
        tree.insert(path.clone(), content);
    }
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_layers_come_to_the_tree_that_the_specs_words_make(
        layers in prop::collection::vec(prop::collection::vec((path(), 0u8..5), 0..8), 1..5),
    ) {
        let writer = Writer::new();
        let (mut tree, mut archives) = (Model::new(), Vec::new());
        for layer in layers {
            // A layer names a path once, and has nothing below a file of its own: else it would be no diff of two trees.
            let mut own: BTreeMap<String, u8> = BTreeMap::new();
            for (path, what) in layer {
                let files_above = own.iter().any(|(name, what)| {
                    matches!(what, 1 | 2) && path.starts_with(&format!("{name}/"))
                });
                let has_below = own.keys().any(|name| name.starts_with(&format!("{path}/")));
                if !(files_above || matches!(what, 1 | 2) && has_below) {
                    own.insert(path, what);
                }
            }
            let layer: Vec<(String, u8)> = own.into_iter().collect();
            let names: Vec<(String, Put)> = layer.iter().map(|(path, what)| {
                let (parent, name) = path.rsplit_once('/').map_or((String::new(), path.as_str()), |(parent, name)| {
                    (format!("{parent}/"), name)
                });
                match what {
                    0 => (format!("{path}/"), Dir),
                    1 => (path.clone(), Bytes("one")),
                    2 => (path.clone(), Bytes("two")),
                    3 => (format!("{parent}.wh.{name}"), Bytes("")),
                    _ => (format!("{parent}.wh..wh..opq"), Bytes("")),
                }
            }).collect();
            // Written backwards, marks stand behind what they must spare.
            archives.push(tar_of(names.iter().rev().map(|(name, put)| (name.as_str(), put.clone()))));
            model(&mut tree, &layer);
        }
        let made = writer.image(&archives).unwrap();
        prop_assert_eq!(made.index.whiteouts(), 0);
        let mut found = Model::new();
        let id = writer.store.put_stack(&[made.generation]).unwrap();
        let view = crate::store::Views::new(writer.store.clone()).load(id).unwrap();
        for path in tree.keys() {
            let node = view.resolve(&TreePath::parse(path.as_bytes()).unwrap());
            prop_assert!(node.is_some(), "{} is missing", path);
            let stat = view.stat(node.unwrap()).unwrap();
            let text = match stat.kind.is_directory() {
                true => None,
                false => Some(fs::read_to_string(writer.store.object_path(view.object(node.unwrap()).unwrap())).unwrap()),
            };
            let text = text.map(|text| if text == "one" { "one" } else { "two" });
            found.insert(path.clone(), text);
        }
        prop_assert_eq!(&found, &tree);
        // As many nodes as names, and the root: nothing is there beside them.
        let flat: Vec<(String, Put)> = tree.iter().map(|(path, content)| match content {
            None => (format!("{path}/"), Dir),
            Some(text) => (path.clone(), Bytes(text)),
        }).collect();
        let flat = writer.flat(&{
            let mut all = tar_of(flat.iter().map(|(name, put)| (name.as_str(), put.clone())));
            if flat.is_empty() { all = tar_of([("./", Dir)]); }
            all
        });
        prop_assert_eq!(made.index.bytes().len(), flat.index.bytes().len());
    }
}
