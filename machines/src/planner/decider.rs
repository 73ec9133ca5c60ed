//! Who runs a program of the site's: the one that decides, or the one that makes secrets. A server has that done by a process that may start programs; how is not this crate's
//! to know (docs/decisions/0014-decide.md).

use std::future::Future;
use std::pin::Pin;

/// A run that is under way: what the program has printed, or a sentence about the program that says why that is no answer,
/// without its subject.
pub type Running = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// Runs it.
pub trait Decider: Send + Sync {
    /// Gives it a question. It ends within a time that the site says, and so many run at once; `is_named` says that a machine waits for it
    /// which the site names, so that no run of a stranger's, nor one that somebody at a command line can ask for again, keeps it from its own.
    fn run(&self, question: Vec<u8>, is_named: bool) -> Running;
}
