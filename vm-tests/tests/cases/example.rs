//! The sites of the how-to pages as they stand in `examples/`, but for what is this lab's.

use std::fs;
use std::path::Path;

use oneroot_testkit::{INTERFACE, Lab, SiteFiles};

use crate::dnsmasq::Dnsmasq;

/// A site of `examples/` whose network is the lab's in place of `network` (`10.7.0.`), and whose one source is a tree that is there already: what
/// `recipe` makes, with every package that the site asks for but those that are `left_out`.
pub fn site(name: &str, network: &str, tree: &Path, recipe: &str, left_out: &[&str]) -> SiteFiles {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    let mut site = SiteFiles::copied(&example).unwrap();
    let (source, rest) = site.text().split_once("source = { suite").unwrap();
    let (packages, rest) = rest.split_once('\n').unwrap();
    let made: Vec<&str> =
        recipe.split(|letter: char| letter.is_whitespace() || ",=".contains(letter)).collect();
    let packages: Vec<&str> = packages.split('"').skip(3).step_by(2).collect();
    assert!(packages.len() > 3, "{packages:?}");
    for package in packages.into_iter().filter(|package| !left_out.contains(package)) {
        assert!(made.contains(&package), "{package} is not in the tree that is tried");
    }
    let text = format!("{source}source = {{ tar = \"{}\" }}\n{rest}", tree.display());
    site.set_text(&changed(&changed(&text, network, "192.168.77."), "eth1", INTERFACE));
    for file in fs::read_dir(site.path().join("machines.d")).unwrap().map(|file| file.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap().replace(network, "192.168.77.");
        fs::write(&file, text).unwrap();
    }
    site.add("[group.lab]\nmachines = \"*\"\nargs = [\"console=ttyS0\", \"no_timer_check\"]\nlayers = [\"layers/lab\"]\n");
    // An emulated machine on a busy host finds its console later than in the 90 s that systemd gives it.
    let patient = "[Manager]\nDefaultDeviceTimeoutSec=30min\nDefaultTimeoutStartSec=30min\n";
    site.file("lab", "etc/systemd/system.conf.d/patient.conf", patient).unwrap();
    site
}

/// What a site says for one place is said for another.
pub fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from} in:\n{text}");
    text.replace(from, to)
}

/// A name server that knows these hosts of a domain.
pub fn names(lab: &Lab, domain: &str, hosts: &[(&str, String)]) -> Dnsmasq {
    let mut words = vec!["--no-resolv".to_owned(), "--no-hosts".to_owned(), format!("--local=/{domain}/")];
    words.extend(hosts.iter().map(|(name, at)| format!("--host-record={name}.{domain},{at}")));
    Dnsmasq::start(lab, &words.iter().map(String::as_str).collect::<Vec<_>>())
}
