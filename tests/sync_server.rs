//! The server's side of `oneroot sync`, asked by those who may not, by lists that lie, and by many at once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;

use oneroot_testkit::{INTERFACE, Lab, SERVER, Server, SiteFiles, ip};

use crate::sync_kit::{Home, assert_same, done, noise_bytes, tell};

/// An answer: status, head and body.
fn ask(method: &str, path: &str, token: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    asked_over(TcpStream::connect((SERVER, 80)).unwrap(), method, path, token, body)
}

/// A connection from an address of its own.
fn client(number: usize) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let own: SocketAddr = format!("192.168.77.{}:0", 20 + number).parse().unwrap();
    socket.bind(&own.into()).unwrap();
    socket.connect(&format!("{SERVER}:80").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.into()
}

fn asked_over(
    mut server: TcpStream,
    method: &str,
    path: &str,
    token: &str,
    body: &[u8],
) -> (u16, String, Vec<u8>) {
    send(&mut server, method, path, token, body);
    let mut answer = Vec::new();
    let _ = server.read_to_end(&mut answer);
    split(&answer)
}

fn send(server: &mut TcpStream, method: &str, path: &str, token: &str, body: &[u8]) {
    let length = format!("Content-Length: {}\r\n", body.len());
    let bearer = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let length = if method == "POST" { length } else { String::new() };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {SERVER}\r\n{bearer}{length}Connection: close\r\n\r\n");
    server.write_all(&[head.as_bytes(), body].concat()).unwrap();
}

fn split(answer: &[u8]) -> (u16, String, Vec<u8>) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head, answer.get(end + 4..).unwrap_or_default().to_vec())
}

fn generation(home: &Home) -> String {
    let (status, head, _) = ask("GET", "/sync/1/debian/index", &home.token, b"");
    assert_eq!(status, 200, "{head}");
    let tag = head.lines().find(|line| line.to_ascii_lowercase().starts_with("etag:")).unwrap();
    tag.split('"').nth(1).unwrap().to_owned()
}

#[test]
fn lists_that_lie_and_words_that_are_none_are_refused() {
    let home = Home::new(|root| {
        for number in 0..11 {
            fs::write(root.join(format!("f{number}")), noise_bytes(number, 1000)).unwrap();
        }
    });
    let objects = format!("/sync/1/debian/objects/{}", generation(&home));
    // Twelve contents, with the motd: two bytes of bits.
    let list = |skip: u64, bits: [u8; 2]| [&skip.to_le_bytes()[..], &bits].concat();
    let (status, _, body) = ask("POST", &objects, &home.token, &list(0, [0xff, 0x0f]));
    assert_eq!((status, body.len()), (200, 11_006));
    for (what, list) in [
        ("no list", Vec::new()),
        ("too short", list(0, [0xff, 0x0f])[..9].to_vec()),
        ("too long", [list(0, [0xff, 0x0f]), vec![0]].concat()),
        ("a bit behind the last", list(0, [0xff, 0x1f])),
        ("skips more than there is", list(1001, [0xff, 0x0f])),
        ("skips all", list(u64::MAX, [0xff, 0x0f])),
        ("skips of nothing", list(1, [0, 0])),
    ] {
        assert_eq!(ask("POST", &objects, &home.token, &list).0, 400, "{what}");
    }
    assert_eq!(ask("POST", &objects, &home.token, &list(0, [0, 0])).2, b"");
    // A length that is another, none, or past all.
    for head in [
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 9999999999999\r\n",
        "",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let mut server = TcpStream::connect((SERVER, 80)).unwrap();
        let head = format!(
            "POST {objects} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{head}\r\n",
            home.token
        );
        server.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = server.read_to_end(&mut answer);
        assert!((400..500).contains(&split(&answer).0), "{head}: {}", split(&answer).1);
    }
    let other = "00".repeat(32);
    for (path, statuses) in [
        ("/sync/1/debian/objects/".to_owned() + &other, &[404, 409][..]),
        ("/sync/1/debian/objects/xyz".to_owned(), &[404]),
        ("/sync/1/../index".to_owned(), &[400, 403, 404]),
        ("/sync/1/%2e%2e/index".to_owned(), &[400, 403, 404]),
        ("/sync/1/a%00b/index".to_owned(), &[400, 403, 404]),
        (format!("/sync/1/{}/index", "a".repeat(400)), &[400, 404, 414, 431]),
        ("/sync/1/debian~99999999999999999999/index".to_owned(), &[400, 403, 404]),
        ("/sync/1/debian~7/index".to_owned(), &[404]),
        ("/sync/1/debian@zzzzzz/index".to_owned(), &[400, 403, 404]),
        ("/sync/1/@other/index".to_owned(), &[400, 403, 404]),
        ("/sync/1/@self/index".to_owned(), &[401, 403]),
        ("/sync/1//index".to_owned(), &[400, 403, 404]),
        ("/sync/2/debian/index".to_owned(), &[404]),
    ] {
        let method = if path.contains("objects") { "POST" } else { "GET" };
        let (status, head, _) = ask(method, &path, &home.token, &list(0, [0, 0]));
        assert!(statuses.contains(&status), "{path}: {head}");
    }
    // What nobody has, and what is no name, are as if nothing was said.
    for have in [other.as_str(), "xyz", "", "&have=1"] {
        let (status, head, body) = ask("GET", &format!("/sync/1/debian/index?have={have}"), &home.token, b"");
        assert_eq!((status, body.first()), (200, Some(&0)), "{have}: {head}");
    }
    for token in ["", "nonsense", "one.two", &home.token[1..], &home.token.to_uppercase()] {
        let (status, head, body) = ask("GET", "/sync/1/debian/index", token, b"");
        assert_eq!(status, 401, "{token}: {head}");
        assert!(body.len() < 300, "nothing of the tree");
        assert_eq!(ask("POST", &objects, token, &list(0, [0xff, 0x0f])).0, 401, "{token}");
    }
}

#[test]
fn a_hundred_at_once_who_read_slowly_take_the_memory_that_they_are_said_to() {
    const MANY: usize = 100;
    let mut home = Home::new(|root| {
        for number in 0..400 {
            fs::write(root.join(format!("f{number}")), noise_bytes(number, 20_000)).unwrap();
        }
        fs::write(root.join("large"), noise_bytes(1, 3 << 20)).unwrap();
    });
    for number in 0..MANY {
        ip(&format!("addr add 192.168.77.{}/24 dev {INTERFACE}", 20 + number)).unwrap();
    }
    let generation = generation(&home);
    let objects = 402usize;
    let mut bits = vec![0xff; objects.div_ceil(8)];
    *bits.last_mut().unwrap() = (1 << (objects % 8)) - 1;
    let list = [vec![0; 8], bits].concat();
    let total = 400 * 20_000 + (3 << 20) + 6;
    // One before, so that what is made for the tree is made.
    let path = format!("/sync/1/debian/objects/{generation}");
    assert_eq!(ask("POST", &path, &home.token, &list).2.len(), total);
    let before = home.server.most_resident().unwrap();
    let all_begun = Barrier::new(MANY);
    let token = &home.token;
    let hashes: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..MANY)
            .map(|number| {
                let (path, list, all_begun) = (&path, &list, &all_begun);
                scope.spawn(move || {
                    let mut server = client(number);
                    send(&mut server, "POST", path, token, list);
                    let mut begin = vec![0; 1000];
                    server.read_exact(&mut begin).unwrap();
                    // Nobody reads on before everybody has had his beginning.
                    all_begun.wait();
                    let mut rest = Vec::new();
                    server.read_to_end(&mut rest).unwrap();
                    begin.extend_from_slice(&rest);
                    let (status, head, body) = split(&begin);
                    assert_eq!((status, body.len()), (200, total), "{head}");
                    blake3::hash(&body)
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    let after = home.server.most_resident().unwrap();
    // Two pieces each, of up to 512 KiB, and what an allocator keeps.
    let bound = (MANY as u64) * 1024 + 65_536;
    println!("{before} KiB before, {after} after");
    assert!(after - before < bound, "{before} KiB before, {after} after");
}

#[test]
fn whoever_may_have_nothing_hears_that_and_puts_off_nobody() {
    let home = Home::new(|root| fs::write(root.join("large"), noise_bytes(1, 8 << 20)).unwrap());
    let generation = generation(&home);
    let path = format!("/sync/1/debian/objects/{generation}");
    let list = [vec![0; 8], vec![0b11]].concat();
    let view = format!("debian@{}", &generation[..12]);
    let of_one = home.server.run(&["token", "new", "of-one", "--view", &view]).unwrap().trim().to_owned();
    // All places of this address are taken.
    let held: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut server = TcpStream::connect((SERVER, 80)).unwrap();
            send(&mut server, "POST", &path, &home.token, &list);
            server.read_exact(&mut [0; 100]).unwrap();
            server
        })
        .collect();
    for token in ["", "nonsense"] {
        for _ in 0..100 {
            assert_eq!(ask("POST", &path, token, &list).0, 401, "{token}");
        }
    }
    // Who has a token, and may not have this by it, either.
    for what in ["debian", "debian@000000", "other", "other~1"] {
        let path = format!("/sync/1/{what}/objects/{generation}");
        assert_eq!(ask("POST", &path, &of_one, &list).0, 403, "{what}");
    }
    let own = format!("/sync/1/{view}/objects/{generation}");
    assert_eq!(ask("POST", &own, &of_one, &list).0, 503);
    let (status, head, _) = ask("POST", &path, &home.token, &list);
    assert_eq!(status, 503, "{head}");
    assert!(head.to_ascii_lowercase().contains("retry-after: 5"), "as if nobody else had asked: {head}");
    drop(held);
}

#[test]
fn a_hundred_machines_with_layers_of_their_own_all_have_their_trees_told_at_once() {
    const MANY: usize = 100;
    let _lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    for number in 0..300 {
        fs::write(site.path().join(format!("root/f{number}")), noise_bytes(number, 100)).unwrap();
    }
    for number in 0..MANY {
        site.machine(&format!("m{number}"), &format!("{:02x}", 0x10 + number), "").unwrap();
        site.file(&format!("m{number}"), "etc/own", &format!("{number}\n")).unwrap();
    }
    let server = Server::start(site).unwrap();
    for number in 0..MANY {
        ip(&format!("addr add 192.168.77.{}/24 dev {INTERFACE}", 20 + number)).unwrap();
    }
    let token = |half: usize| {
        let name = format!("half{half}");
        let views = (0..MANY).filter(|number| number % 2 == half).map(|number| format!("m{number}"));
        let views: Vec<String> = views.flat_map(|view| ["--view".to_owned(), view]).collect();
        let words = ["token", "new", &name].into_iter().chain(views.iter().map(String::as_str));
        server.run(&words.collect::<Vec<_>>()).unwrap().trim().to_owned()
    };
    let tokens = [token(0), token(1)];
    let told = |number: usize, have: Option<&str>| loop {
        let query = have.map(|have| format!("?have={have}")).unwrap_or_default();
        let path = format!("/sync/1/m{number}/index{query}");
        let (status, head, _) = asked_over(client(number), "GET", &path, &tokens[number % 2], b"");
        if status == 503 {
            assert!(head.to_ascii_lowercase().contains("retry-after: "), "{head}");
            continue;
        }
        let tag = head.lines().find(|line| line.to_ascii_lowercase().starts_with("etag:"));
        return (status, tag.unwrap_or_else(|| panic!("{head}")).split('"').nth(1).unwrap().to_owned());
    };
    let all_begun = Barrier::new(MANY);
    let tags: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..MANY)
            .map(|number| {
                let (told, all_begun) = (&told, &all_begun);
                scope.spawn(move || {
                    all_begun.wait();
                    let (status, tag) = told(number, None);
                    assert_eq!(status, 200, "{number}");
                    // And who has it hears so.
                    assert_eq!(told(number, Some(&tag)), (304, tag.clone()), "{number}");
                    tag
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let different: std::collections::BTreeSet<&String> = tags.iter().collect();
    assert_eq!(different.len(), MANY);
}

#[test]
fn a_head_that_moves_while_it_is_synced_ends_in_one_of_the_trees() {
    let home = Home::new(|root| {
        for number in 0..100 {
            fs::write(root.join(format!("f{number}")), noise_bytes(number, 20_000)).unwrap();
        }
    });
    let mut trees = vec![home.exported()];
    let root = home.root();
    for round in 0..3u64 {
        let slow = home.command(&["--limit", "3M"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        for number in 0..10 {
            fs::write(root.join(format!("f{number}")), noise_bytes(1000 * round + number, 20_000)).unwrap();
        }
        home.server.stage().unwrap();
        trees.push(home.exported());
        done(&slow.wait_with_output().unwrap(), "moving");
        let is = tell(&home.dir());
        assert!(trees.contains(&is), "round {round}: it is none of the trees that there were");
    }
    home.syncs(&[], "afterwards");
    assert_same(&tell(&home.dir()), trees.last().unwrap(), "afterwards");
}
