//! ONC RPC, portmap v2, MOUNT v3 and NFS v3: bytes in, bytes out, over a view.
