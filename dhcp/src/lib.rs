//! DHCPv4: bytes in, bytes out; lease rules.
