//! The words of access tokens: who else than machines may have a tree.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::Output;
use crate::cli::mapping::lasts;

/// What to do with tokens.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make one, and print its secret, this once
    #[command(after_help = "Examples:\n\
\x20 umask 077; oneroot token new mirror --view debian >mirror.token    a profile, whatever becomes of it\n\
\x20 oneroot token new visit --view debian@3f2a9c17d0e4 --expires 30d   one generation of it, for a month\n\
\x20 oneroot token new backup --view alpha --view beta                  what two machines boot")]
    New(NewToken),
    /// List them: what each is good for, until when, and who has made it
    List(Output),
    /// Make one good for nothing, at once
    Revoke {
        /// Its name
        name: String,
        #[command(flatten)]
        output: Output,
    },
}

/// `oneroot token new`.
#[derive(Args)]
pub struct NewToken {
    /// Its name, by which it is listed and revoked
    pub name: String,
    /// A profile, PROFILE@GENERATION, or a machine's name; may be said again
    #[arg(long = "view", value_name = "WHAT", required = true)]
    pub views: Vec<String>,
    /// For how long it is good: 12h, 30d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = lasts)]
    pub expires: Option<Duration>,
    #[command(flatten)]
    pub output: Output,
}
