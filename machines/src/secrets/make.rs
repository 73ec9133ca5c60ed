//! Secrets that the server makes. An SSH key is written as OpenSSH keeps one without a passphrase (its PROTOCOL.key), with the
//! public half as a line (RFC 8709).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oneroot_bootconf::secrets::SecretKind;
use oneroot_ids::hex;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// Random bytes of which one is made.
pub(crate) const SEED: usize = 36;
const KIND: &[u8] = b"ssh-ed25519";
/// Letters of a line between the first and the last.
const LINE: usize = 70;
/// What is behind the head is a multiple of this.
const BLOCK: usize = 8;

/// A secret, and what of it everybody may know.
pub(crate) struct Made {
    pub secret: Vec<u8>,
    pub public: Option<String>,
}

/// One of this kind for a machine; none where the server makes none of it.
pub(crate) fn make(kind: SecretKind, machine: &str, random: &[u8; SEED]) -> Option<Made> {
    let (seed, check) = random.split_first_chunk::<32>()?;
    match kind {
        SecretKind::SshKey => ssh_key(machine, seed, check.first_chunk()?),
        SecretKind::Random => Some(Made { secret: format!("{}\n", hex(seed)).into_bytes(), public: None }),
        // Somebody else makes those.
        SecretKind::Set | SecretKind::Made | SecretKind::None => None,
    }
}

fn ssh_key(machine: &str, seed: &[u8; 32], check: &[u8; 4]) -> Option<Made> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    let public = pair.public_key().as_ref();
    let comment = format!("root@{machine}");
    let blob = [string(KIND), string(public)].concat();
    // Twice the same number: who has decrypted it sees by that whether it was the right key.
    let mut private = [&check[..], &check[..], &string(KIND), &string(public)].concat();
    private.extend(string(&[&seed[..], public].concat()));
    private.extend(string(comment.as_bytes()));
    let padding = (1..).take((BLOCK - private.len() % BLOCK) % BLOCK);
    private.extend(padding);
    let mut whole = b"openssh-key-v1\0".to_vec();
    for part in [&b"none"[..], b"none", b""] {
        whole.extend(string(part));
    }
    whole.extend(1_u32.to_be_bytes());
    whole.extend(string(&blob));
    whole.extend(string(&private));
    let text = STANDARD.encode(whole);
    let lines = text.as_bytes().chunks(LINE).flat_map(|line| [line, b"\n"]).flatten().copied();
    let secret = b"-----BEGIN OPENSSH PRIVATE KEY-----\n".iter().copied();
    let secret = secret.chain(lines).chain(b"-----END OPENSSH PRIVATE KEY-----\n".iter().copied()).collect();
    let public = format!("ssh-ed25519 {} {comment}", STANDARD.encode(blob));
    Some(Made { secret, public: Some(public) })
}

/// Bytes behind their number, as SSH has them (RFC 4251 §5).
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    [&length.to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    /// The oracle: ssh-keygen(1) reads what was made, and says the same public key.
    #[test]
    fn openssh_reads_the_keys_that_are_made_and_finds_the_public_half_that_is_told() {
        let home = tempfile::tempdir().unwrap();
        for number in 0..8 {
            let random: Vec<u8> = (0..36).map(|at| at * 7 + number).collect();
            let name = "alpha-with-a-long-name".get(..usize::from(number) + 3).unwrap();
            let made = make(SecretKind::SshKey, name, random.as_slice().try_into().unwrap()).unwrap();
            let path = home.path().join("key");
            std::fs::write(&path, &made.secret).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let read = Command::new("ssh-keygen").arg("-y").arg("-P").arg("").arg("-f").arg(&path).output();
            let read = read.expect("ssh-keygen is in openssh-client");
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            assert_eq!(String::from_utf8(read.stdout).unwrap().trim_end(), made.public.unwrap());
        }
    }

    #[test]
    fn what_is_random_is_a_line_of_64_digits_and_what_an_admin_says_is_not_made() {
        let made = make(SecretKind::Random, "alpha", &[0xab; SEED]).unwrap();
        assert_eq!(made.secret, format!("{}\n", "ab".repeat(32)).as_bytes());
        assert!(make(SecretKind::Set, "alpha", &[0; SEED]).is_none());
    }
}
