//! What a profile's tree is made of: a directory, an archive, an image, packages, or what an admin's program makes. Each kind is
//! a driver behind [`Source`]. A new kind is a variant and its keys in `bootconf/src/site/sources.rs`, and a driver here.
//!
//! A driver may run programs and ask registries, for that is what these sources are; it prints nothing, and takes the clock,
//! the environment and whoever is shown its progress as arguments.

mod archive;
mod command;
mod directory;
mod error;
mod image;
mod packages;
pub mod program;
mod registry;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use oneroot_bootconf::Source as Spec;
use oneroot_tree::Stage;

pub use error::{Error, Lack, Result};

/// Where a tree comes from.
pub trait Source {
    /// What the host lacks to stage it, as far as that is seen without running anything: `check` says so.
    fn lacks(&self, host: &Host<'_>) -> Option<Lack>;

    /// Puts the tree into a stage. Blocks, perhaps for minutes.
    ///
    /// # Errors
    /// [`Error`]: the stage is then to be dropped.
    fn stage(&self, stage: &mut Stage<'_>, run: &Run<'_>) -> Result<()>;
}

/// The driver of what a site says.
#[must_use]
pub fn driver(spec: &Spec) -> Box<dyn Source + '_> {
    match spec {
        Spec::Directory { path, one_file_system } => {
            Box::new(directory::Directory { path, one_file_system: *one_file_system })
        }
        Spec::Tar(path) => Box::new(archive::Archive { path }),
        Spec::Image(path) => Box::new(image::Image { path }),
        Spec::Registry(registry) => Box::new(registry::Remote(registry)),
        Spec::Packages(packages) => Box::new(packages::Installed(packages)),
        Spec::Command(words) => Box::new(command::Made { words }),
    }
}

/// The host that sources are staged on.
pub struct Host<'h> {
    /// The site's directory: where an admin's programs run, and what their paths are taken from.
    pub home: &'h Path,
    /// The environment.
    pub variable: &'h dyn Fn(&str) -> Option<OsString>,
    /// Who stages.
    pub uid: u32,
}

/// How one source is staged.
pub struct Run<'r> {
    /// The host.
    pub host: &'r Host<'r>,
    /// A directory that is in no tree: the server's own state.
    pub left_out: &'r Path,
    /// The time since 1970.
    pub now: Duration,
    /// Whether everything is read, though it looks as it was.
    pub afresh: bool,
    /// Who is shown how far it is.
    pub progress: &'r dyn Progress,
}

/// Whoever is shown how far a source is that takes minutes. What a stage reads it tells by itself.
pub trait Progress: Sync {
    /// Whether anybody looks at all.
    fn is_shown(&self) -> bool;

    /// The last line that the source's program has said: anything may be in it.
    fn said(&self, line: &str);

    /// Bytes that were pulled, of how many.
    fn pulled(&self, done: u64, all: u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_bootconf::{Installer, Packages};

    #[test]
    fn what_a_host_lacks_is_seen_without_running_anything() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        std::fs::create_dir(at("bin")).unwrap();
        for program in ["bin/mmdebstrap", "bin/made"] {
            std::fs::write(at(program), "#!/bin/sh\ntouch \"$0.ran\"\n").unwrap();
            rustix::fs::chmod(at(program), rustix::fs::Mode::RWXU).unwrap();
        }
        let variable = |name: &str| (name == "PATH").then(|| at("bin").into_os_string());
        let host = Host { home: home.path(), variable: &variable, uid: 0 };
        let packages = |with| {
            let (mirrors, include, options) = (Vec::new(), Vec::new(), Vec::new());
            let release = "41".to_owned();
            Spec::Packages(Packages {
                with,
                release,
                mirrors,
                keyring: None,
                insecure: false,
                include,
                options,
            })
        };
        let command = |program: &str| Spec::Command(vec![program.to_owned()]);
        let directory = |path: &str| Spec::Directory { path: at(path), one_file_system: true };
        for (spec, lacks) in [
            (directory("bin"), None),
            (directory("none"), Some("none is not there, so it cannot be staged")),
            (Spec::Tar(at("none.tar")), Some("none.tar is not there")),
            (Spec::Image(at("layout")), Some("layout is not there")),
            (packages(Installer::Mmdebstrap), None),
            (
                packages(Installer::Dnf),
                Some("there is no unshare here; install the packages util-linux, dnf and tar"),
            ),
            (command("made"), None),
            (command("./bin/made"), None),
            (command("bin/none"), Some("there is no program bin/none: ")),
            (command("none"), Some("there is no program none: ")),
        ] {
            let told = driver(&spec).lacks(&host).map(|lack| lack.to_string());
            match lacks {
                None => assert_eq!(told, None),
                Some(words) => assert!(told.as_ref().is_some_and(|told| told.contains(words)), "{told:?}"),
            }
        }
        assert_eq!(std::fs::read_dir(at("bin")).unwrap().count(), 2, "nothing was run");
    }
}
