//! Files, no sockets: staging, object store, generations, layers merged into views.
//!
//! The way of a tree: a [source](stage) is read into objects and an [index], which is a generation; generations are
//! stacked; a stack is merged into a [view], and a view is what a machine sees. Nothing here changes once it has a name.

mod build;
mod children;
pub mod confine;
pub mod diff;
mod disk;
mod error;
pub mod export;
mod format;
pub mod index;
pub mod initrd;
mod lock;
mod newfile;
pub mod node;
pub mod objects;
pub mod packed;
mod parallel;
mod replaced;
pub mod replica;
pub mod stage;
pub mod store;
pub mod stream;
pub mod view;
pub mod wants;

pub use build::{IndexBuilder, NodeRef};
pub use error::{Error, Result};
pub use index::Index;
pub use newfile::NewFile;
pub use replaced::{Replaced, replaced};
pub use stage::Stage;
pub use store::{Ref, RefKind, Store, Views};
pub use view::View;
