//! Why a machine gets no boot, by cause, with what to do next.

/// Why a machine gets no boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// Its own table says nothing of a profile, and neither does a group.
    #[error(
        "nothing says what {0} boots; give it a `profile` in its [machine] table, or in that of a group that it is in"
    )]
    NoProfile(String),
    /// Its profile is not there: the site it was assigned in has changed since.
    #[error("this site has no profile {profile}, which is what {from} says; run `oneroot assign` again")]
    NoSuchProfile {
        /// The profile.
        profile: String,
        /// What says it.
        from: String,
    },
    /// Its menu is not there, likewise.
    #[error("this site has no menu {0:?}; run `oneroot assign` again")]
    NoSuchMenu(String),
    /// Its tree has no kernel.
    #[error(
        "profile {profile} has no kernel{wanted}; install one in the tree, or say `kernel =` in the profile"
    )]
    NoKernel {
        /// The profile.
        profile: String,
        /// What the site asked for, with a colon before it.
        wanted: String,
    },
    /// Its kernel has no initrd.
    #[error(
        "profile {profile} has no initrd for {kernel}, and no modules of which oneroot could make one; install the kernel's package in the tree, or say `initramfs = \"none\"`"
    )]
    NoInitrd {
        /// The profile.
        profile: String,
        /// The kernel.
        kernel: String,
    },
    /// Its kernel has no modules, so that no initrd can be made of them.
    #[error(
        "profile {profile} has no modules for {kernel} (`/usr/lib/modules/VERSION/modules.dep`), of which oneroot would make its initrd; install the kernel's package in the tree"
    )]
    NoModules {
        /// The profile.
        profile: String,
        /// The kernel.
        kernel: String,
    },
    /// No initrd can be made for it.
    #[error("profile {profile}: no initrd can be made for {kernel}: {cause}")]
    NotComposed {
        /// The profile.
        profile: String,
        /// The kernel.
        kernel: String,
        /// Why, and what to do.
        cause: String,
    },
}
