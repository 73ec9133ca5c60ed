//! The first program that a machine runs where its initrd is oneroot's: loads drivers, brings its network up, mounts its root,
//! lays over it what can be written, puts in place what the server has written for it, and becomes the real init.
//!
//! It has no policy of its own: what it does is in [`oneroot_initrd::settings`], and it tells the server how it goes. The rooms, from
//! the ground up:
//!
//! * [`kernel`]: all that it asks of the kernel, as a trait; `kernel/host.rs` is the real one;
//! * [`trouble`], [`telling`], [`machine`]: what can go wrong, who hears of it, and what is done then;
//! * [`arguments`], [`modules`], [`devices`]: what it finds;
//! * [`nic`], [`address`], [`root`], [`overlay`], [`files`], [`hand_over`]: what it does, one after the other;
//! * [`boot`]: all of it; and [`tell`] with [`examine`], which a machine runs later, under every initramfs.

pub mod address;
pub mod arguments;
pub mod boot;
pub mod devices;
pub mod examine;
pub mod files;
pub mod hand_over;
pub mod kernel;
pub mod machine;
pub mod modules;
pub mod nic;
pub mod overlay;
pub mod root;
pub mod tell;
pub mod telling;
pub mod trouble;
