//! What a machine is given so that it asks for its secrets: a list with where it asks, their names, and where each goes. The
//! secrets themselves are in no file of its tree (docs/decisions/0025).

use std::net::IpAddr;

use crate::site::secrets::{PUBLIC, Secret, SecretKind, Secrets};

/// The list, below `/.oneroot`. Its first line is the server's port and addresses; in each other one stand a number, a name, mode,
/// owner and group of the file, `required`, `wanted` or `maybe`, and a place or `-`.
pub const LIST: &str = "secrets.list";
/// Mode of what everybody may know.
const OPEN: u16 = 0o644;

/// Which secret a machine calls by this number when it tells that it can't be had.
#[must_use]
pub fn numbered(secrets: &Secrets, number: usize) -> Option<(&str, &Secret)> {
    let (name, secret) = secrets.iter().nth(number.checked_sub(1)?)?;
    Some((name, secret))
}

/// The list.
pub(super) fn list(secrets: &Secrets, servers: &[IpAddr], port: u16) -> String {
    let mut list = port.to_string();
    list.extend(servers.iter().map(|server| format!(" {server}")));
    list.push('\n');
    for ((name, secret), number) in secrets.iter().zip(1_usize..) {
        let Secret { kind, at, mode, user, group, required } = secret;
        let how = if *required { "required" } else { "wanted" };
        let at = at.as_deref().unwrap_or("-");
        list += &format!("{number} {name} {mode:04o} {user} {group} {how} {at}\n");
        if *kind == SecretKind::SshKey {
            list += &format!("{number} {name}{PUBLIC} {OPEN:04o} {user} {group} maybe {at}{PUBLIC}\n");
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_str;

    #[test]
    fn a_machine_is_told_where_each_of_its_secrets_goes_and_nothing_else_of_them() {
        let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"/s\"\nstate = \"/t\"\n\
            [[network]]\nsubnet = \"10.0.0.0/24\"\n[profile.a]\nsource = { directory = \"/x\" }\n\
            [profile.a.secrets]\nssh_host_ed25519_key = \"ssh-key\"\n\
            keytab = { kind = \"set\", at = \"/etc/krb5.keytab\", mode = \"0640\", group = 42, required = true }\ntoken = \"random\"\n";
        let site = load_str("site.toml", site, std::path::Path::new("/")).unwrap();
        let secrets = &site.profiles["a"].secrets;
        assert_eq!(
            list(secrets, &["10.0.0.1", "10.0.0.2"].map(|server| server.parse().unwrap()), 2049)
                .lines()
                .collect::<Vec<_>>(),
            [
                "2049 10.0.0.1 10.0.0.2",
                "1 keytab 0640 0 42 required /etc/krb5.keytab",
                "2 ssh_host_ed25519_key 0600 0 0 wanted /etc/ssh/ssh_host_ed25519_key",
                "2 ssh_host_ed25519_key.pub 0644 0 0 maybe /etc/ssh/ssh_host_ed25519_key.pub",
                "3 token 0600 0 0 wanted -",
            ]
        );
        assert_eq!(numbered(secrets, 3).map(|(name, _)| name), Some("token"));
        assert!(numbered(secrets, 0).is_none() && numbered(secrets, 4).is_none());
    }
}
