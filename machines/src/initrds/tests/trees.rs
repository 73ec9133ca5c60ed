//! Trees with a kernel and modules, laid out and packed as distributions do, and a site of one profile over such a tree.

use super::*;

/// How a distribution packs its modules.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Packed {
    Not,
    Gzip,
    Xz,
    Zstd,
}

impl Packed {
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Not => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    pub(super) fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Not => bytes.to_vec(),
            Self::Gzip => gzip(bytes).unwrap(),
            Self::Zstd => zstd(bytes, 1).unwrap(),
            Self::Xz => {
                let mut xz = std::process::Command::new("xz")
                    .stdin(std::process::Stdio::piped())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                std::io::Write::write_all(&mut xz.stdin.take().unwrap(), bytes).unwrap();
                xz.wait_with_output().unwrap().stdout
            }
        }
    }
}

/// Modules with what each needs and says of itself.
pub(super) const MODULES: [(&str, &[&str], &str); 8] = [
    ("kernel/net/sunrpc/sunrpc", &[], ""),
    ("kernel/fs/nfs/nfsv3", &["kernel/net/sunrpc/sunrpc"], ""),
    ("kernel/fs/overlayfs/overlay", &[], ""),
    ("kernel/net/packet/af_packet", &[], ""),
    ("kernel/drivers/net/ethernet/intel/igc/igc", &[], "firmware=intel/igc.bin\0"),
    ("kernel/drivers/net/virtio_net", &[], ""),
    ("kernel/drivers/virtio/virtio_pci", &[], ""),
    ("kernel/sound/snd", &[], ""),
];
pub(super) const ALIAS: &str =
    "alias pci:v00008086d000015F3sv*sd*bc*sc*i* igc\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n";
pub(super) const VERSION: &str = "6.1.0-1";

/// A Debian kernel with its modules, in a tree.
pub fn debian(root: &Path) {
    laid(root, &format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
}

/// A kernel with its modules, as depmod leaves them.
pub(super) fn laid(root: &Path, kernel: &str, lib: &str, packed: Packed) {
    written(root, kernel, "kernel");
    let modules = format!("{lib}/modules/{VERSION}");
    let mut dep = String::new();
    for (path, needs, info) in MODULES {
        let end = format!(".ko{}", packed.end());
        written(root, &format!("{modules}/{path}{end}"), packed.pack(&module(info.as_bytes())));
        let needs: String = needs.iter().map(|need| format!(" {need}{end}")).collect();
        dep += &format!("{path}{end}:{needs}\n");
    }
    written(root, &format!("{modules}/modules.dep"), dep);
    written(root, &format!("{modules}/modules.alias"), ALIAS);
    written(root, &format!("{modules}/modules.builtin"), "");
}

pub(super) fn written(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A site with one profile, whose tree is a directory.
pub(super) struct Home {
    pub(super) directory: tempfile::TempDir,
    pub(super) planner: Planner,
}

impl Home {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let planner = planner(directory.path());
        Self { directory, planner }
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path.trim_start_matches('/'))
    }

    pub(super) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        written(&self.at("/"), path, bytes);
    }

    pub(super) fn kernel(&self, kernel: &str, lib: &str, packed: Packed) {
        laid(&self.at("/"), kernel, lib, packed);
    }

    /// Stages the tree and plans for a machine that tells of this NIC, and has this in a layer of its own.
    pub(super) fn plan(&self, nic: &str, own: &str) -> Stacked {
        self.planned(&self.planner, nic, own)
    }

    pub(super) fn planned(&self, planner: &Planner, nic: &str, own: &str) -> Stacked {
        let home = self.directory.path();
        let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
            [[network]]\nsubnet = \"10.0.0.0/24\"\n[profile.a]\nsource = { directory = \"root\" }\n\
            [machine.m]\nmac = \"52:54:00:00:00:0a\"\nprofile = \"a\"\nlayer = \"own\"\n";
        let site = load_str("site.toml", site, home).unwrap();
        let store = planner.store();
        fs::create_dir_all(home.join("own/etc")).unwrap();
        fs::write(home.join("own/etc/motd"), own).unwrap();
        for (kind, name, from) in [(RefKind::Profile, "a", "root"), (RefKind::Machine, "m", "own")] {
            let mut stage = Stage::begin(store, |_| {}).unwrap();
            stage.directory(&home.join(from)).unwrap();
            let generation = stage.finish().unwrap().generation;
            let staged = Staged { generation, at: 1, how: How::Staged };
            store.stage_head(&Ref::new(kind, name).unwrap(), staged).unwrap();
        }
        let asked = Asked::by("52:54:00:00:00:0a".parse::<Mac>().unwrap());
        let catalogue = Catalogue::of(&site);
        let decision = decide(&catalogue, &asked).unwrap().into_profile().unwrap();
        let mut facts = Facts::of(&catalogue, &decision, &asked);
        facts.hardware.nic = nic.parse().ok();
        planner.stack(home, &decision, &facts).unwrap()
    }

    /// What lies in the initrd of a machine with this NIC.
    pub(super) fn initrd(&self, nic: &str) -> BTreeMap<String, Vec<u8>> {
        let stacked = self.plan(nic, "");
        let own = stacked.loaded.unwrap().own.unwrap();
        let [part] = own.parts.as_slice() else { panic!("{:?}", own.parts) };
        let object = stacked.view.object(stacked.view.follow(part.as_bytes()).unwrap()).unwrap();
        let mut found = BTreeMap::new();
        let file = self.planner.store().object(object).unwrap();
        initrd::files(file, &|name| name != "init", &mut |name, content| {
            found.insert(name.to_owned(), content.unwrap_or_default().to_vec());
        })
        .unwrap();
        found
    }

    /// Why there is none.
    pub(super) fn trouble(&self) -> String {
        self.plan("8086:15f3", "").loaded.unwrap_err().to_string()
    }
}

pub(super) fn planner(home: &Path) -> Planner {
    let store = Store::open(&home.join("store")).unwrap();
    let guest = guest::stage(&store, 0).unwrap();
    Planner::new(store, guest, Arc::new(Here))
}

/// The same kernel with all of that in itself, and what its drivers say.
pub(super) fn builtin(home: &Home, said: &[u8]) {
    let modules = format!("/usr/lib/modules/{VERSION}");
    let all: String = MODULES.iter().map(|(path, ..)| format!("{path}.ko\n")).collect();
    home.write(&format!("/boot/vmlinuz-{VERSION}"), "kernel");
    for (table, text) in [("dep", ""), ("alias", ""), ("builtin", &all)] {
        home.write(&format!("{modules}/modules.{table}"), text);
    }
    home.write(&format!("{modules}/modules.builtin.modinfo"), said);
    std::os::unix::fs::symlink("usr/lib", home.at("/lib")).unwrap();
}
