//! What these tests have in common: the site of a text, in a directory that is not there.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::path::Path;

use oneroot_bootconf::{Site, load_str};

/// It, or all that is wrong with it.
pub fn load(text: &str) -> Result<Site, String> {
    load_str("site.toml", text, Path::new("/site")).map_err(|told| told.to_string())
}

/// It, which is good.
pub fn site(text: &str) -> Site {
    load(text).unwrap()
}
