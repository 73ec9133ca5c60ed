//! Logins for registries, where docker and podman keep them (containers-auth.json(5), docker's `config.json`).
//!
//! | where | when |
//! |---|---|
//! | `$REGISTRY_AUTH_FILE` | alone, where it is set; then it has to be there |
//! | `$XDG_RUNTIME_DIR/containers/auth.json`, or `/run/containers/UID/auth.json` | else, in this order, |
//! | `$XDG_CONFIG_HOME/containers/auth.json`, or `~/.config/containers/auth.json` | the first |
//! | `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json` | that has one |
//!
//! A login's key is a registry, or a path in it: `HOST`, `HOST/team`, `HOST/team/image`. It counts for the images at and below that
//! path and for no others; of several the longest. Helper programs for secrets are not asked.
//!
//! It is our own, for the crate `docker_credential` takes whole registries alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use oci_client::secrets::RegistryAuth;
use oneroot_tree::confine::read_file;
use serde::Deserialize;

use crate::Host;
use crate::error::{Error, Result};

/// A login, or none, and how it came to that.
#[derive(Debug, PartialEq, Eq)]
pub struct Login {
    pub auth: RegistryAuth,
    /// For whoever is refused: `with the login for KEY in FILE`.
    pub told: String,
}

#[derive(Deserialize)]
struct Logins {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
}

/// The login for an image: its registry and its name there.
pub fn login(registry: &str, repository: &str, host: &Host<'_>) -> Result<Login> {
    let image = format!("{registry}/{repository}");
    let (places, is_named) = places(host.variable, host.uid);
    let mut looked = Vec::new();
    for path in &places {
        let bytes = match read_file(path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && !is_named => {
                looked.push(format!("{} (not there)", path.display()));
                continue;
            }
            Err(cause) => return Err(Error::Logins { path: path.clone(), cause }),
        };
        let found = in_file(&bytes, &image).map_err(|fault| fault.of(path))?;
        if let Some((key, auth)) = found {
            return Ok(Login { auth, told: format!("with the login for {key} in {}", path.display()) });
        }
        looked.push(path.display().to_string());
    }
    let told = format!("without a login: there is none for {image} in {}", looked.join(", "));
    Ok(Login { auth: RegistryAuth::Anonymous, told })
}

/// Where logins may be, and whether that is where somebody says that they are.
fn places(variable: &dyn Fn(&str) -> Option<OsString>, uid: u32) -> (Vec<PathBuf>, bool) {
    let directory = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = directory("REGISTRY_AUTH_FILE") {
        return (vec![named], true);
    }
    let home = directory("HOME");
    let below = |path: &str| home.as_ref().map(|home| home.join(path));
    let podman = Path::new("containers/auth.json");
    let run = directory("XDG_RUNTIME_DIR").map(|run| run.join(podman));
    let run = run.unwrap_or_else(|| PathBuf::from(format!("/run/containers/{uid}/auth.json")));
    let config = directory("XDG_CONFIG_HOME").or_else(|| below(".config")).map(|config| config.join(podman));
    let docker =
        directory("DOCKER_CONFIG").or_else(|| below(".docker")).map(|docker| docker.join("config.json"));
    ([Some(run), config, docker].into_iter().flatten().collect(), false)
}

/// What is wrong with a file of logins.
enum Fault {
    Json(serde_json::Error),
    Malformed(String),
}

impl Fault {
    fn of(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Json(cause) => Error::LoginsFormat { path, cause },
            Self::Malformed(key) => Error::Login { path, key },
        }
    }
}

/// The longest key that is the image's, with its login.
fn in_file(file: &[u8], image: &str) -> Result<Option<(String, RegistryAuth)>, Fault> {
    let logins: Logins = serde_json::from_slice(file).map_err(Fault::Json)?;
    // Without `auth` the secret is with a helper program, which is not asked: then it is as if there were none.
    let mine = logins.auths.iter().filter_map(|(key, entry)| {
        let place = place(key);
        let auth = entry.auth.as_ref().filter(|auth| !auth.is_empty())?;
        let is_mine = image.strip_prefix(&place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        is_mine.then_some((place.len(), key, auth))
    });
    let Some((_, key, auth)) = mine.max_by_key(|(length, ..)| *length) else { return Ok(None) };
    let plain = base64::engine::general_purpose::STANDARD.decode(auth).ok();
    let plain = plain.and_then(|bytes| String::from_utf8(bytes).ok());
    match plain.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, secret)) => {
            Ok(Some((key.clone(), RegistryAuth::Basic(user.to_owned(), secret.to_owned()))))
        }
        None => Err(Fault::Malformed(key.clone())),
    }
}

/// What a key stands for. docker writes addresses of whole registries, with the version of their interface.
fn place(key: &str) -> String {
    let Some((_, address)) = key.split_once("://") else { return docker_io(key.trim_end_matches('/')) };
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let path = path.trim_matches('/');
    docker_io(&if matches!(path, "" | "v1" | "v2") { host.to_owned() } else { format!("{host}/{path}") })
}

/// Docker's own registry has another name in its file than in an image's.
fn docker_io(place: &str) -> String {
    match place.strip_prefix("index.docker.io") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            format!("docker.io{}", rest.trim_end_matches("/v1"))
        }
        _ => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn basic(user: &str, secret: &str) -> RegistryAuth {
        RegistryAuth::Basic(user.to_owned(), secret.to_owned())
    }

    fn found(file: &str, image: &str) -> Option<RegistryAuth> {
        in_file(file.as_bytes(), image).ok().unwrap().map(|(_, auth)| auth)
    }

    #[test]
    fn a_login_is_used_for_its_own_registry_and_no_other() {
        let file = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"r.example:5000":{"auth":"dXNlcjpwYTpzcw=="},"helper.example":{}},"credsStore":"x"}"#;
        assert_eq!(found(file, "r.example:5000/x"), Some(basic("user", "pa:ss")));
        assert_eq!(found(file, "docker.io/library/x"), Some(basic("a", "b")));
        for other in ["r.example/x", "helper.example/x", "evil.example/x", "r.example:50001/x"] {
            assert_eq!(found(file, other), None, "{other}");
        }
        assert!(in_file(br#"{"auths":{"a":{"auth":"%"}}}"#, "a/x").is_err());
    }

    #[test]
    fn of_logins_for_paths_the_longest_counts_and_never_anothers() {
        // a:1, b:2, h:3
        let file = r#"{"auths":{"r.example/a/a":{"auth":"YToxCg=="},"r.example/a/b":{"auth":"Yjoy"},"r.example/a":{"auth":"aDoz"}}}"#;
        assert_eq!(found(file, "r.example/a/b"), Some(basic("b", "2")));
        assert_eq!(found(file, "r.example/a/b/c"), Some(basic("b", "2")));
        assert_eq!(found(file, "r.example/a/bc"), Some(basic("h", "3")), "a name that only begins so");
        assert_eq!(found(file, "r.example/x"), None, "another team's is not mine");
    }

    #[test]
    fn podmans_and_dockers_places_are_looked_into_and_a_refusal_says_which() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        let write = |path: &str, key: &str| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), format!(r#"{{"auths":{{"{key}":{{"auth":"Yjoy"}}}}}}"#)).unwrap();
        };
        let variable = |name: &str| match name {
            "HOME" => Some(at("home").into_os_string()),
            "XDG_RUNTIME_DIR" => Some(at("run").into_os_string()),
            _ => None,
        };
        let of = |variable: &dyn Fn(&str) -> Option<OsString>, uid: u32| {
            login("r.example", "x", &Host { home: home.path(), variable, uid })
        };
        let told = || of(&variable, 0).unwrap();
        let none = told();
        assert_eq!(none.auth, RegistryAuth::Anonymous);
        for place in
            ["run/containers/auth.json", "home/.config/containers/auth.json", "home/.docker/config.json"]
        {
            assert!(none.told.contains(&at(place).display().to_string()), "{}", none.told);
        }
        // The last of them first, so that each comes before those that are there already.
        for place in
            ["home/.docker/config.json", "home/.config/containers/auth.json", "run/containers/auth.json"]
        {
            write(place, "r.example");
            assert_eq!(told().told, format!("with the login for r.example in {}", at(place).display()));
        }
        write("run/containers/auth.json", "other.example");
        assert!(told().told.contains(".config/containers"), "the first that has one");
        let named = |name: &str| (name == "REGISTRY_AUTH_FILE").then(|| at("gone").into_os_string());
        assert!(of(&named, 0).is_err());
        let nobody = of(&|_| None, 7).unwrap();
        assert!(nobody.told.contains("/run/containers/7/auth.json"), "{}", nobody.told);
    }
}
