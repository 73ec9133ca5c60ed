//! What holds for every command before it does anything, and what is said when it could not.

use rustix::fs::Mode;
use rustix::process::umask;

/// What to do where the system has refused: store and state are root's, so whoever is not root is told so once, here.
pub fn remedy(cause: &anyhow::Error) -> &'static str {
    let is_refused = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().or_else(|| match cause.downcast_ref() {
            Some(oneroot_tree::Error::Io { cause, .. }) => Some(cause),
            _ => None,
        });
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied)
    };
    let is_root = rustix::process::geteuid().is_root();
    if !is_root && cause.chain().any(is_refused) { "; run it as root" } else { "" }
}

/// What a server makes is for nobody else, whatever it was started with. What a command makes is as its user wants it; but
/// without the owner's own part, a server with fewer privileges could not enter what it made. Before any other thread runs.
pub fn private(serves: bool) {
    let ours = Mode::RWXG | Mode::RWXO;
    let told = umask(ours);
    if !serves {
        umask(told & ours);
    }
}
