//! Command line of oneroot.
fn main() {}
