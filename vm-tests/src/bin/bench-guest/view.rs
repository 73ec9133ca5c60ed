//! The view that is walked through: Debian, and over it two layers of many small files whose directories are merged.
//!
//! Contents are nobody's business here, for nothing is read: a few words, so that staging is quick.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use oneroot_testkit::SiteFiles;

/// Below the view's root: as many files as in the measurement that others have published, nine in a directory.
pub const PUBLISHED: &str = "/srv/published";
const PUBLISHED_FILES: usize = 9_721;
const PUBLISHED_EACH: usize = 9;
/// Directories of 20 files each, four of five from the lower layer: each is merged.
const MANY: usize = 2_000;
const MANY_EACH: usize = 20;
/// Files in one directory, which is told in many pages.
const FLAT: usize = 2_000;
/// All of them.
pub const FILES: usize = PUBLISHED_FILES + MANY * MANY_EACH + FLAT;

/// A site with one machine, alpha, whose view this is.
pub fn site(debian: &Path) -> Result<SiteFiles> {
    let mut site = SiteFiles::new(debian, "192.168.77.100-192.168.77.199", "1h")?;
    site.add("[workload.files]\nlayers = [\"layers/lower\", \"layers/upper\"]\n");
    site.machine("alpha", "0a", "workloads = [\"files\"]")?;
    let layers = site.path().join("layers");
    let (lower, upper) = (layers.join("lower/srv"), layers.join("upper/srv"));
    for directory in 0..MANY {
        let place = format!("many/{:02}/directory-{directory:04}", directory / 50);
        for number in 0..MANY_EACH {
            let layer = if number % 5 == 4 { &upper } else { &lower };
            file(&layer.join(&place), &format!("some-file-{number:02}.conf"), number)?;
        }
    }
    for number in 0..PUBLISHED_FILES {
        let directory = number / PUBLISHED_EACH;
        let place = format!("published/{:02}/{directory:04}", directory / 40);
        file(&lower.join(place), &format!("a-file-{number:05}.txt"), number)?;
    }
    for number in 0..FLAT {
        file(&upper.join("flat"), &format!("message-{number:05}.eml"), number)?;
    }
    Ok(site)
}

fn file(directory: &Path, name: &str, number: usize) -> Result<()> {
    fs::create_dir_all(directory)?;
    let path = directory.join(name);
    fs::write(&path, "0123456789".repeat(1 + number % 50))
        .with_context(|| format!("cannot make {}", path.display()))
}
