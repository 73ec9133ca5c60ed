//! Files, no sockets: staging, object store, generations, layers merged into views.
//!
//! The way of a tree: a [source](stage) is read into objects and an index, which is a generation; generations are
//! stacked; a stack is merged into a view, and a view is what a machine sees. Nothing here changes once it has a name.

pub mod id;

pub use id::{BadId, GenerationId, ObjectId, ViewId};
