//! Any documents as an OCI layout in an archive (image-spec v1): index, manifests, configs.
//!
//! Input: documents, each with its length in two bytes before it; the first is `index.json`, the others are blobs. In all of them
//! `@N` stands for digest and size of the N-th blob (no fuzzer would find those), and `@z` for a blob that is not there. What
//! must hold: some layers that are named as blobs are, or an error of bounded length; a blob that is given out is what its
//! descriptor says.

use std::io::{Read as _, Write as _};

use oneroot_testkit::Tape;
use oneroot_tree::stage::oci::{Descriptor, Digest, Layout, Platform, is_manifest, layers};
use sha2::{Digest as _, Sha256};

/// Documents of one layout at most.
const MOST: usize = 8;
const LAYERS: usize = 1024;

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let mut documents: Vec<Vec<u8>> = Vec::new();
    while documents.len() < MOST && (!tape.is_empty() || documents.is_empty()) {
        let length = usize::from(tape.byte()) << 8 | usize::from(tape.byte());
        documents.push(tape.take(length).to_vec());
    }
    let archive = archive(documents);
    let layout = match Layout::archive(archive) {
        Ok(layout) => layout,
        Err(cause) => return short(&cause.to_string()),
    };
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned() };
    match layers(&layout, &platform) {
        Ok(found) => {
            assert!((1..=LAYERS).contains(&found.len()), "{} layers", found.len());
            found.iter().for_each(|descriptor| blob(&layout, descriptor));
        }
        Err(cause) => short(&cause.to_string()),
    }
}

/// What is read of a blob is what its descriptor says, or an error.
fn blob(layout: &Layout, descriptor: &Descriptor) {
    assert!(!is_manifest(&descriptor.media_type));
    let mut bytes = Vec::new();
    match layout.blob(descriptor) {
        Ok(mut slice) => {
            slice.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, descriptor.size);
            assert_eq!(Digest::parse(&descriptor.digest).unwrap().hex(), sha256(&bytes));
        }
        Err(cause) => short(&cause.to_string()),
    }
}

/// A registry's words may be in it, and it is still something to show.
fn short(told: &str) {
    assert!(told.len() <= 8 * 1024, "{} bytes of an error", told.len());
    assert!(!told.contains(|char: char| char.is_control() && char != '\n'), "{told:?}");
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The layout: blobs from the last to the first, so that each may name those behind it.
fn archive(mut documents: Vec<Vec<u8>>) -> std::fs::File {
    let mut archive = tar::Builder::new(tempfile::tempfile_in(memory()).unwrap());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let mut named: Vec<Option<String>> = vec![None; documents.len()];
    while let Some(document) = documents.pop() {
        let bytes = filled(&document, &named);
        if documents.is_empty() {
            put("index.json", &bytes);
        } else {
            let digest = sha256(&bytes);
            named[documents.len()] = Some(format!(r#""digest":"sha256:{digest}","size":{}"#, bytes.len()));
            put(&format!("blobs/sha256/{digest}"), &bytes);
        }
    }
    let mut file = archive.into_inner().unwrap();
    file.flush().unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

fn memory() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

fn filled(document: &[u8], named: &[Option<String>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = document;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'@', [digit @ b'0'..=b'9', more @ ..]) => {
                let name = named.get(usize::from(digit - b'0')).and_then(Option::as_ref);
                bytes.extend(name.map_or(b"@".as_slice(), |name| name.as_bytes()));
                rest = more;
            }
            (b'@', [b'z', more @ ..]) => {
                bytes.extend(format!(r#""digest":"sha256:{}","size":9"#, "0f".repeat(32)).bytes());
                rest = more;
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

/// Documents with their lengths.
fn input(documents: &[&str]) -> Vec<u8> {
    let each = documents.iter().flat_map(|document| {
        let length = u16::try_from(document.len()).unwrap().to_be_bytes();
        [&length, document.as_bytes()].concat()
    });
    each.collect()
}

/// Images as docker, buildx and podman write them, with signatures and whatever else lies beside them; and broken ones.
pub fn seeds() -> Vec<Vec<u8>> {
    let manifest = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",@2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",@3}]}"#;
    let config =
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:00"]}}"#;
    let of = |more: &str| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",@1{more}}}]}}"#
        )
    };
    let nested = r#"{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json",@4}]}"#;
    let around = r#"{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json",@1}]}"#;
    let two = r#"{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",@1,"annotations":{"org.opencontainers.image.ref.name":"a"}},{"mediaType":"application/vnd.docker.distribution.manifest.v2+json",@1,"platform":{"os":"linux","architecture":"amd64","variant":"v3"},"annotations":{"io.containerd.image.name":"b","vnd.docker.reference.type":"x"}}]}"#;
    let mut found = vec![
        input(&[&of(""), manifest, config, "layer"]),
        input(&[&of(r#","platform":{"os":"linux","architecture":"amd64"}"#), manifest, config, "layer"]),
        input(&[
            &of(r#","platform":{"os":"linux","architecture":"arm64","variant":"v8"}"#),
            manifest,
            config,
            "layer",
        ]),
        input(&[two, manifest, config, "layer"]),
        input(&[around, nested, config, "layer", &of("")]),
        input(&[&of(""), manifest, r#"{"os":"linux","architecture":"amd64"}"#, "layer"]),
        input(&[&of(""), &manifest.replace("@3", "@z"), config, "layer"]),
        input(&[&of(""), &manifest.replace("@2", "@z"), config, "layer"]),
        input(&[&of(""), &manifest.replace("[{", "null,\"x\":[{"), config, "layer"]),
        input(&[&of(""), &manifest.replace("tar\"", "tar+gzip\""), config, "layer"]),
        input(&["{}", manifest]),
        input(&["[", manifest]),
        input(&[r#"{"manifests":"\u001b[2J"}"#]),
        input(&[&of("").replace("@1", r#""digest":"sha256:../../etc/passwd","size":1"#), manifest]),
        input(&[&of("").replace("@1", r#""digest":5,"size":-1"#), manifest]),
    ];
    found.push(Vec::new());
    found
}
