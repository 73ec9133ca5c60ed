//! Read-only TFTP: bytes in, bytes out.
