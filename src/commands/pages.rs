//! `oneroot init`, `completions` and `man`: files that are printed as they are.

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;
use oneroot_bootconf::EXAMPLE;

use crate::cli::{Cli, Exit};
use crate::print;

const MAN: &str = include_str!("../../packaging/man/oneroot.8");

/// `oneroot init`.
pub fn example() -> Result<Exit> {
    print::text(EXAMPLE)?;
    Ok(Exit::Done)
}

/// `oneroot completions SHELL`.
pub fn completions(shell: Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "oneroot", &mut script);
    print::text(String::from_utf8(script).context("the script is not text")?)?;
    Ok(Exit::Done)
}

/// `oneroot man`.
pub fn man() -> Result<Exit> {
    print::text(MAN.replace("@VERSION@", env!("CARGO_PKG_VERSION")))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let is_told = MAN.lines().any(|line| line.split_whitespace().any(|word| word == name));
            assert!(is_told && MAN.contains(&format!(".It Cm {name}")), "{name}");
        }
    }
}
