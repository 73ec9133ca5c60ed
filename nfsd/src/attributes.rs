//! Extended attributes, of which NFSv3 carries none (RFC 1813 has no procedure for them): what a client does without.

/// What a client does not see of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// Capabilities: `ping` and its like lose what they are allowed.
    Capabilities,
    /// Who else may read it, or may not (docs/decisions/0005).
    Acl,
    /// Any other extended attribute: programs that keep notes there find none.
    Attribute,
}

/// What is lost with an attribute of this name: the kernel's, or as archives have it.
#[must_use]
pub fn unseen(name: &[u8]) -> Unseen {
    match name {
        b"security.capability" => Unseen::Capabilities,
        // A directory's default ACL counts for what is made in it, and nothing is made here.
        b"system.posix_acl_access" | b"SCHILY.acl.access" => Unseen::Acl,
        _ => Unseen::Attribute,
    }
}
