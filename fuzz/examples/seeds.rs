//! Writes a few good inputs for each target into a directory, for fuzzers that begin anew:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds DIR`. The corpora in the tree have grown from these.

use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(dir) = env::args().nth(1) else { return Err(io::Error::other("usage: seeds DIR")) };
    for (target, inputs) in oneroot_fuzz::seeds() {
        let dir = format!("{dir}/{target}");
        fs::create_dir_all(&dir)?;
        for (at, input) in inputs.iter().enumerate() {
            fs::write(format!("{dir}/seed-{at:03}"), input)?;
        }
    }
    Ok(())
}
