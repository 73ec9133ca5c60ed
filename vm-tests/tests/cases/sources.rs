//! Profiles that oneroot makes itself, from nothing prepared by hand.

use std::fs;
use std::path::Path;
use std::process::Command;

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, artifacts};
use serde_json::json;

use crate::{POOL, assert_no_io_error};

/// Nobody has a password in a fresh Debian.
const AUTOLOGIN: &str =
    "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I $TERM\n";

#[test]
fn a_profile_of_packages_and_layers_alone_boots() {
    let Some(_tools) = artifacts::here(artifacts::debian) else { return };
    let source = "suite = \"bookworm\", packages = [\"linux-image-cloud-amd64\", \"file\"]";
    let mut site = SiteFiles::with_source(source, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    site.file("common", "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf", AUTOLOGIN).unwrap();
    // The packages come from the mirror, which is not in the lab.
    let mut server = Server::new(site).unwrap();
    let staged = server.stage().unwrap();
    let lab = Lab::new().unwrap();
    server.restart().unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.wait_for_shell().unwrap();
    assert_eq!(alpha.ok("hostname").unwrap(), "alpha", "staged: {staged}");
    assert!(alpha.ok("file -b /bin/dash").unwrap().contains("ELF"), "the package that the site asks for");
    alpha.wait_until_settled();
    assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");
    assert_no_io_error(&mut alpha);
}

/// An image as a layout: Debian as it is, and over it a layer that takes its kernels and modules away and brings a file.
fn image(home: &Path, debian: &Path) {
    let blobs = home.join("image/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |path: &Path| {
        let told = Command::new("sha256sum").arg(path).output().unwrap();
        let digest: String = String::from_utf8(told.stdout).unwrap().chars().take(64).collect();
        fs::copy(path, blobs.join(&digest)).unwrap();
        (digest, fs::metadata(path).unwrap().len())
    };
    let top = home.join("top");
    for (path, text) in
        [("boot/.wh..wh..opq", ""), ("usr/lib/modules/.wh..wh..opq", ""), ("etc/app", "the app\n")]
    {
        let path = top.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let layer = home.join("top.tar.gz");
    let packed = Command::new("tar")
        .args(["--owner=0", "--group=0", "-czf"])
        .arg(&layer)
        .arg("-C")
        .arg(&top)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    let json = |value: serde_json::Value| {
        let path = home.join("document.json");
        fs::write(&path, value.to_string()).unwrap();
        blob(&path)
    };
    let described = |(digest, size): (String, u64), kind: &str| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": size});
    let layers = [(blob(debian), "layer.v1.tar"), (blob(&layer), "layer.v1.tar+gzip")];
    let diff_ids: Vec<String> = layers.iter().map(|((digest, _), _)| format!("sha256:{digest}")).collect();
    let config = json(
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}),
    );
    let layers = layers.map(|(blob, kind)| described(blob, kind));
    let manifest =
        json(json!({"schemaVersion": 2, "config": described(config, "config.v1+json"), "layers": layers}));
    let index = json!({"schemaVersion": 2, "manifests": [described(manifest, "manifest.v1+json")]});
    fs::write(home.join("image/index.json"), index.to_string()).unwrap();
    fs::write(home.join("image/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn an_image_without_a_kernel_boots_with_another_profiles_and_an_edit_is_there_at_the_next_boot() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.add(
        "[profile.app]\nsource = { oci = \"image\" }\nkernel_from = \"debian\"\nargs = [\"console=ttyS0\"]\n",
    );
    site.file("alpha", "etc/hostname", "alpha\n").unwrap();
    site.add("[machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nprofile = \"app\"\nlayer = \"layers/alpha\"\n");
    image(site.path(), &debian);
    let server = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    alpha.wait_until_settled();
    assert_eq!(alpha.ok("cat /etc/app").unwrap(), "the app");
    assert_eq!(
        alpha.ok("ls /usr/lib/modules").unwrap(),
        alpha.ok("uname -r").unwrap(),
        "modules and kernel match"
    );
    // A module that the initrd did not bring: depmod's tables came along.
    alpha.ok("modprobe dummy && ip link add d0 type dummy").unwrap();
    assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");

    // A second boot of the same machine: what `edit` makes of a tree is held by tests/edit.rs, too.
    if std::env::var_os("ONEROOT_LONG").is_none() {
        println!("the edit and its boot are left to `make test-vm-all`");
    } else if rustix::process::geteuid().is_root()
        && fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
    {
        let script = "useradd --system edited && echo edited >>/etc/app && rm /etc/debian_version";
        let said = server.run(&["edit", "app", "--", "sh", "-ec", script]).unwrap();
        assert!(said.contains("1 removed"), "{said}");
        assert_eq!(alpha.ok("cat /etc/app; ls /etc/debian_version").unwrap(), "the app\n/etc/debian_version");
        alpha.type_line("reboot").unwrap();
        alpha.wait_for_login().unwrap();
        alpha.log_in_at_prompt().unwrap();
        assert_eq!(alpha.ok("cat /etc/app").unwrap(), "the app\nedited");
        alpha.ok("id edited").unwrap();
        alpha.fails("test -e /etc/debian_version").unwrap();
    } else {
        println!("skipped: `oneroot edit` needs real root, for the owners");
    }
    assert_no_io_error(&mut alpha);
}
