//! Names of stored things. Each is a hash, so a name means the same on every server that has the store
//! (docs/decisions/0004): [`ObjectId`] of a file's content, [`GenerationId`] of a logical index, [`ViewId`] of a stack.

use crate::text::id;

id! {
    /// A regular file's content: its BLAKE3 hash.
    ObjectId([u8; 32]), "an object id of 64 hexadecimal digits"
}

id! {
    /// A staged tree: the BLAKE3 hash of its logical index and format version.
    GenerationId([u8; 32]), "a generation id of 64 hexadecimal digits"
}

id! {
    /// A merged tree: the first 16 bytes of the BLAKE3 hash of its stack object.
    ViewId([u8; 16]), "a view id of 32 hexadecimal digits"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_printed() {
        let id = ViewId([0, 1, 2, 3, 4, 5, 6, 7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]);
        assert_eq!(id.to_string(), "0001020304050607f8f9fafbfcfdfeff");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn an_id_in_any_other_spelling_is_refused() {
        for text in ["", "00", "0001020304050607F8F9FAFBFCFDFEFF", "0001020304050607f8f9fafbfcfdfef/", "é"] {
            assert!(text.parse::<ViewId>().is_err(), "{text:?}");
        }
    }
}
