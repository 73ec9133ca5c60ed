//! The words of machines' secrets.

use clap::{Args, Subcommand};

use crate::cli::Output;

/// What to do with secrets.
#[derive(Subcommand)]
pub enum SecretCommand {
    /// Set a machine's secret to what comes from standard input
    #[command(after_help = "Examples:\n\
\x20 oneroot secret set alpha keytab <alpha.keytab                   what its site calls a secret of kind \"set\"\n\
\x20 openssl rand -hex 32 | oneroot secret set alpha disk            nobody on this host sees it pass by")]
    Set(Named),
    /// Have one that the server makes made anew; the machine has it from its next boot on
    Rotate(Named),
    /// Remove one; one that the server makes is made anew at the machine's next boot
    Remove(Named),
    /// List them: whose, how each came about, and the public half of SSH keys
    List {
        /// A machine's name [default: all]
        machine: Option<String>,
        #[command(flatten)]
        output: Output,
    },
}

/// A machine and its secret.
#[derive(Args)]
pub struct Named {
    /// The machine's name
    pub machine: String,
    /// The secret's
    pub name: String,
    #[command(flatten)]
    pub output: Output,
}
