//! One image by four ways: a layout's directory, an archive of it, and a registry that the test runs, by tag and by
//! digest. The registry speaks as much of distribution-spec v1.1 as a pull needs, tokens included.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// `user:secret`, and the token that is given for it.
const LOGIN: &str = "dXNlcjpzZWNyZXQ=";
const TOKEN: &str = "a-token-of-the-test";

fn oneroot(home: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oneroot"))
        .current_dir(home)
        .env("REGISTRY_AUTH_FILE", home.join("auth.json"))
        .env("NO_PROXY", "127.0.0.1")
        .args(words)
        .output()
        .unwrap()
}

fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Blobs by digest, with their media types, and what tags mean.
#[derive(Default)]
struct Image {
    blobs: BTreeMap<String, (String, Vec<u8>)>,
    top: Option<Value>,
}

impl Image {
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{hex}");
        let size = bytes.len();
        self.blobs.insert(digest.clone(), (media_type.to_owned(), bytes));
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    fn manifest(&mut self, architecture: &str, layers: &[Value]) -> Value {
        let ids = vec!["sha256:0"; layers.len()];
        let config = json!({ "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids } });
        let config = self.add(CONFIG, config.to_string().into_bytes());
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let mut manifest = self.add(MANIFEST, manifest.to_string().into_bytes());
        manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
        manifest
    }

    /// Two layers for this host, and another architecture's image whose layer is nowhere.
    fn sample(home: &Path) -> Self {
        let mut image = Self::default();
        let layer = |name: &str, files: &[(&str, &str)]| {
            let root = home.join(name);
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let packed = Command::new("tar").arg("-C").arg(&root).args(["-czf", "-", "."]).output().unwrap();
            assert!(packed.status.success());
            packed.stdout
        };
        // Of a kind that gzip can't make small, so that this layer is the largest blob.
        let mut chance = 1u32;
        let big: String = std::iter::repeat_with(|| {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'!' + chance.to_be_bytes()[0] % 90)
        })
        .take(300_000)
        .collect();
        let lower = layer("lower", &[("etc/motd", "old"), ("etc/gone", "gone"), ("big", &big)]);
        let upper = layer("upper", &[("etc/motd", "new"), ("etc/.wh.gone", "")]);
        let lower = image.add(LAYER, lower);
        let upper = image.add(LAYER, upper);
        let mine = image.manifest(host(), &[lower, upper]);
        let nowhere = image.add(LAYER, b"not pulled".to_vec());
        image.blobs.remove(nowhere["digest"].as_str().unwrap());
        let other = image.manifest("mips64le", &[nowhere]);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other, mine] });
        image.top = Some(image.add(INDEX, index.to_string().into_bytes()));
        image
    }

    fn digest(&self) -> String {
        self.top.as_ref().unwrap()["digest"].as_str().unwrap().to_owned()
    }

    fn write(&self, to: &Path) {
        fs::create_dir_all(to.join("blobs/sha256")).unwrap();
        fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": [self.top] });
        fs::write(to.join("index.json"), index.to_string()).unwrap();
        for (digest, (_, bytes)) in &self.blobs {
            fs::write(to.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
        }
    }
}

/// The registry: what it serves, what was asked of it, and its port.
struct Registry {
    image: Arc<Mutex<Image>>,
    asked: Arc<Mutex<Vec<String>>>,
    port: u16,
}

impl Registry {
    fn of(image: Image) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (image, asked) = (Arc::new(Mutex::new(image)), Arc::new(Mutex::new(Vec::new())));
        let (served, noted) = (image.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, noted) = (served.clone(), noted.clone());
                std::thread::spawn(move || answer(&stream, port, &served, &noted));
            }
        });
        Self { image, asked, port }
    }

    /// Serves other bytes under the name of the largest blob, and says what it did serve.
    fn spoil(&self, how: impl Fn(&mut Vec<u8>)) -> (String, Vec<u8>) {
        let mut image = self.image.lock().unwrap();
        let (digest, blob) = image.blobs.iter_mut().max_by_key(|(_, (_, bytes))| bytes.len()).unwrap();
        let before = blob.1.clone();
        how(&mut blob.1);
        (digest.clone(), before)
    }
}

/// One request, one connection.
fn answer(mut stream: &TcpStream, port: u16, image: &Mutex<Image>, asked: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let Some(request) = lines.next() else { return };
    let headers: Vec<String> = lines.map(|line| line.to_ascii_lowercase()).collect();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let has = |header: &str| headers.iter().any(|line| *line == header.to_ascii_lowercase());
    let mut reply = |status: &str, extra: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{extra}\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body);
    };
    asked.lock().unwrap().push(path.clone());
    if path.starts_with("/token") {
        if has(&format!("authorization: Basic {LOGIN}")) {
            let token = json!({ "token": TOKEN }).to_string();
            reply("200 OK", "Content-Type: application/json\r\n", token.as_bytes());
        } else {
            reply("401 Unauthorized", "", b"{}");
        }
        return;
    }
    if !has(&format!("authorization: Bearer {TOKEN}")) {
        let realm = format!(
            "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"test\",scope=\"repository:lab/root:pull\"\r\n"
        );
        return reply("401 Unauthorized", &realm, b"{}");
    }
    let image = image.lock().unwrap();
    let name = path.strip_prefix("/v2/lab/root/manifests/").or(path.strip_prefix("/v2/lab/root/blobs/"));
    let digest = match name {
        Some("one") => image.digest(),
        Some(name) => name.to_owned(),
        None => return reply("404 Not Found", "", b"{}"),
    };
    match image.blobs.get(&digest) {
        Some((media_type, bytes)) => reply("200 OK", &format!("Content-Type: {media_type}\r\n"), bytes),
        None => reply("404 Not Found", "", b"{}"),
    }
}

fn site(home: &Path, sources: &[(&str, String)]) {
    let mut text =
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"store\"\nstate = \"state\"\n"
            .to_owned();
    for (name, source) in sources {
        text.push_str(&format!("[profile.{name}]\nsource = {{ {source} }}\n"));
    }
    fs::write(home.join("site.toml"), text).unwrap();
}

fn log_in(home: &Path, port: u16) {
    let auths = json!({ "auths": { format!("127.0.0.1:{port}"): { "auth": LOGIN } } });
    fs::write(home.join("auth.json"), auths.to_string()).unwrap();
}

#[test]
fn an_image_is_the_same_generation_from_a_directory_an_archive_and_a_registry() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let image = Image::sample(home);
    let layout = home.join("image");
    image.write(&layout);
    let packed =
        Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(home.join("image.tar")).arg(".").status();
    assert!(packed.unwrap().success());
    let digest = image.digest();
    let registry = Registry::of(image);
    log_in(home, registry.port);
    let at = format!("docker://127.0.0.1:{}/lab/root", registry.port);
    site(
        home,
        &[
            ("directory", "oci = \"image\"".to_owned()),
            ("archive", "oci = \"image.tar\"".to_owned()),
            ("tag", format!("oci = \"{at}:one\", insecure = true")),
            ("digest", format!("oci = \"{at}@{digest}\", insecure = true")),
        ],
    );
    let mut generations = Vec::new();
    for _ in 0..2 {
        let done = oneroot(home, &["stage", "--json"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        let outcomes = told["staged"].as_array().unwrap();
        assert_eq!(outcomes.len(), 4);
        generations.extend(outcomes.iter().map(|outcome| outcome["generation"].as_str().unwrap().to_owned()));
    }
    generations.dedup();
    assert_eq!(generations.len(), 1, "{generations:?}");
    let said = |path: &str| oneroot(home, &["cat", "tag", path]);
    assert_eq!(said("/etc/motd").stdout, b"new");
    assert!(!said("/etc/gone").status.success());
    assert_eq!(fs::read_dir(home.join("store/staging")).unwrap().count(), 0, "what was pulled is not kept");
    assert!(registry.asked.lock().unwrap().iter().any(|path| path.starts_with("/token")));
}

#[test]
fn a_registry_that_serves_another_blob_than_it_names_stages_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let registry = Registry::of(Image::sample(home));
    log_in(home, registry.port);
    site(
        home,
        &[("tag", format!("oci = \"docker://127.0.0.1:{}/lab/root:one\", insecure = true", registry.port))],
    );
    type Spoil = fn(&mut Vec<u8>);
    let ways: [(&str, Spoil); 3] = [
        ("one bit", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("longer", |bytes| bytes.extend_from_slice(&[0; 100_000])),
        ("shorter", |bytes| bytes.truncate(10)),
    ];
    for (way, how) in ways {
        let (digest, good) = registry.spoil(how);
        let done = oneroot(home, &["stage"]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success(), "{way}");
        assert!(said.contains(&format!("blob {digest}")), "{way}: {said}");
        assert_eq!(fs::read_dir(home.join("store/generations")).unwrap().count(), 0, "{way}");
        registry.image.lock().unwrap().blobs.get_mut(&digest).unwrap().1 = good;
    }
    assert!(oneroot(home, &["stage"]).status.success(), "and the right one it stages");
}

#[test]
fn without_a_login_or_without_the_tag_the_registrys_no_is_told() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let registry = Registry::of(Image::sample(home));
    fs::write(home.join("auth.json"), "{}").unwrap();
    let at = format!("127.0.0.1:{}/lab/root", registry.port);
    site(home, &[("tag", format!("oci = \"docker://{at}:two\", insecure = true"))]);
    for logged_in in [false, true] {
        let done = oneroot(home, &["stage"]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("cannot pull {at}:two")), "{said}");
        let how = if logged_in { "with the login for" } else { "without a login: there is none" };
        assert!(said.contains(how) && said.contains("auth.json"), "{said}");
        log_in(home, registry.port);
    }
}

#[test]
fn plain_http_is_only_spoken_where_the_site_says_insecure() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let registry = Registry::of(Image::sample(home));
    log_in(home, registry.port);
    site(home, &[("tag", format!("oci = \"docker://127.0.0.1:{}/lab/root:one\"", registry.port))]);
    assert!(!oneroot(home, &["stage"]).status.success());
    assert!(
        registry.asked.lock().unwrap().iter().all(|path| !path.starts_with('/')),
        "no request was readable"
    );
}
