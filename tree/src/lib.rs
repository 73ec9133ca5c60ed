//! Files, no sockets: staging, object store, generations, layers merged into views.
