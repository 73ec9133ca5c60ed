//! A machine without firmware or kernel: the calls that one makes to lease, boot, mount and read, and nothing else.
//!
//! DHCP goes through a relay's socket (RFC 2131 §4.1), so that one host can stand for many machines, each with an address
//! of its own there. MOUNT and NFS calls are RFC 1813's, in the records of RFC 5531 §11.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::dial::dial;
use crate::lab::{INTERFACE, Lab, SERVER, ip};
use crate::rpc::{self, Answer, opaque, words};

const PATIENCE: Duration = Duration::from_secs(30);
/// NFS3ERR_NOENT.
const NOENT: u32 = 2;
/// NFS3ERR_JUKEBOX: ask again later.
const JUKEBOX: u32 = 10_008;

/// A host on which many machines can be: it has the relay's address, and takes each machine's.
pub struct Host {
    nic: String,
    relay: UdpSocket,
    own: Ipv4Addr,
}

/// A machine that has an address.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Of its NIC: `52:54:00:00:00:LAST`.
    pub last: u8,
    /// What it was given.
    pub address: Ipv4Addr,
}

/// What a boot script said.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The boot's id.
    pub id: String,
    /// The path to mount.
    pub export: String,
}

impl Lab {
    /// Does something on a host of machines, whose relay has this address.
    pub fn on_machines<T: Send>(&self, relay: Ipv4Addr, act: impl FnOnce(&Host) -> T + Send) -> Result<T> {
        self.plug(INTERFACE, |nic| {
            ip(&format!("addr add {relay}/24 dev {nic}"))?;
            let socket = UdpSocket::bind((relay, 67))?;
            let host = Host { nic: nic.to_owned(), relay: socket, own: relay };
            Ok(act(&host))
        })?
    }
}

impl Host {
    /// Its NIC, for more addresses on it.
    #[must_use]
    pub fn nic(&self) -> &str {
        &self.nic
    }

    /// The relay's address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.own
    }

    /// Leases an address as a booting machine does, and takes it; `None` when it was not acknowledged within `limit`.
    pub fn lease(&self, last: u8, limit: Duration) -> Result<Option<Machine>> {
        self.lease_telling(last, &[], limit)
    }

    /// The same with more options, as they lie in a message.
    pub fn lease_telling(&self, last: u8, more: &[u8], limit: Duration) -> Result<Option<Machine>> {
        let begun = Instant::now();
        let Some(offer) = self.ask(last, 1, more, limit)? else { return Ok(None) };
        let address = offered(&offer)?;
        let server: Ipv4Addr = SERVER.parse()?;
        let options = [&[50, 4], address.octets().as_slice(), &[54, 4], &server.octets(), more].concat();
        let left = limit.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        let Some(ack) = self.ask(last, 3, &options, left)? else { return Ok(None) };
        ensure!(offered(&ack)? == address, "another address was acknowledged than offered");
        // It may have had it before.
        let _ = ip(&format!("addr add {address}/24 dev {}", self.nic));
        Ok(Some(Machine { last, address }))
    }

    /// One DHCP message and its answer: the first to this machine.
    fn ask(&self, last: u8, kind: u8, options: &[u8], limit: Duration) -> Result<Option<Vec<u8>>> {
        let mut packet = vec![1, 1, 6, 0, 7, kind, 0, last];
        packet.resize(24, 0);
        packet.extend(self.own.octets());
        packet.extend([0x52, 0x54, 0, 0, 0, last]);
        packet.resize(236, 0);
        packet.extend([99, 130, 83, 99, 53, 1, kind]);
        packet.extend(options);
        packet.push(255);
        self.relay.send_to(&packet, (SERVER, 67))?;
        let begun = Instant::now();
        let mut answer = vec![0; 1500];
        while let Some(left) = limit.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            self.relay.set_read_timeout(Some(left))?;
            let Ok((count, _)) = self.relay.recv_from(&mut answer) else { continue };
            let heard = answer.get(..count).unwrap_or_default();
            if heard.first() == Some(&2) && heard.get(4..8) == packet.get(4..8) {
                return Ok(Some(heard.to_vec()));
            }
        }
        Ok(None)
    }
}

/// The address that an answer gives (yiaddr).
fn offered(answer: &[u8]) -> Result<Ipv4Addr> {
    let four: [u8; 4] = answer.get(16..20).context("a short answer")?.try_into()?;
    ensure!(four != [0; 4], "an answer that gives no address");
    Ok(four.into())
}

impl Machine {
    /// One that has taken an address by itself, as another server's DHCP tells it.
    #[must_use]
    pub fn at(last: u8, address: Ipv4Addr) -> Self {
        Self { last, address }
    }

    /// Connects from its own address to a port of the server's; `from` is the source port, 0 for any.
    pub fn connect(&self, to: u16, from: u16) -> Result<TcpStream> {
        Ok(dial((self.address, from).into(), (SERVER.parse::<Ipv4Addr>()?, to).into(), None)?)
    }

    /// Fetches something by HTTP; status and body.
    pub fn get(&self, path: &str) -> Result<(u16, Vec<u8>)> {
        let mut stream = self.connect(80, 0)?;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no HTTP head")?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8(answer)?;
        let status = head.split(' ').nth(1).context("no HTTP status")?.parse()?;
        Ok((status, body))
    }

    /// Fetches its boot script, and with it makes a plan and a pin. It tells nothing of its hardware.
    pub fn boot(&self) -> Result<Boot> {
        self.boot_telling("")
    }

    /// The same, with a query that tells of its hardware.
    pub fn boot_telling(&self, query: &str) -> Result<Boot> {
        let (status, script) = self.get(&format!("/boot/52-54-00-00-00-{:02x}.ipxe?{query}", self.last))?;
        let script = String::from_utf8(script)?;
        let between = |from: &str, to: &str| {
            let (_, rest) = script.split_once(from)?;
            Some(rest.split_once(to)?.0.to_owned())
        };
        let found = (|| Some((between("/b/", "/kernel")?, between("nfsroot=", " ")?)))();
        let (id, root) = found.with_context(|| format!("no boot in the answer: {status} {script}"))?;
        let path = root.split_once(':').map_or(root.as_str(), |(_, path)| path);
        Ok(Boot { id, export: path.split(',').next().unwrap_or_default().to_owned() })
    }

    /// Mounts a path, from a port that only root has.
    pub fn mount(&self, export: &str) -> Result<Root> {
        Root::mount(self.connect_as_root()?, export)
    }

    /// Goes on with a root that was mounted before, by its handle: what a client does after the server was away.
    pub fn resume(&self, handle: Vec<u8>) -> Result<Root> {
        Ok(Root { stream: self.connect_as_root()?, call: 0, handle })
    }

    fn connect_as_root(&self) -> Result<TcpStream> {
        let mut refused = None;
        for port in (600 + u16::from(self.last % 50) * 8..).take(8) {
            match self.connect(2049, port) {
                Ok(stream) => return Ok(stream),
                Err(cause) => refused = Some(cause),
            }
        }
        Err(refused.context("no port")?.context("no reserved port is free"))
    }
}

/// A mounted root.
pub struct Root {
    stream: TcpStream,
    call: u32,
    handle: Vec<u8>,
}

impl Root {
    fn mount(stream: TcpStream, export: &str) -> Result<Self> {
        let mut root = Self { stream, call: 0, handle: Vec::new() };
        let mut answer = root.call(100_005, 1, &opaque(export.as_bytes()))?;
        let status = answer.word()?;
        ensure!(status == 0, "MNT {export} is answered {status}");
        root.handle = answer.opaque()?;
        Ok(root)
    }

    /// Every regular file below the root, by path, read to its end.
    pub fn read_all(&mut self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let mut todo = vec![(String::new(), self.handle.clone())];
        while let Some((path, handle)) = todo.pop() {
            for (name, kind, handle) in self.list(&handle).with_context(|| format!("in {path}/"))? {
                let path = format!("{path}/{name}");
                match kind {
                    1 => drop(files.insert(path.clone(), self.read(&handle).with_context(|| path)?)),
                    2 => todo.push((path, handle)),
                    _ => {}
                }
            }
        }
        Ok(files)
    }

    /// READDIRPLUS to the end: name, type and handle.
    fn list(&mut self, directory: &[u8]) -> Result<Vec<(String, u32, Vec<u8>)>> {
        let (mut found, mut cookie, mut verifier) = (Vec::new(), vec![0; 8], vec![0; 8]);
        loop {
            let arguments = [opaque(directory), cookie, verifier, words(&[8192]), words(&[32_768])].concat();
            let mut answer = self.nfs(17, &arguments)?;
            answer.attributes()?;
            verifier = answer.bytes(8)?;
            cookie = vec![0; 8];
            while answer.word()? == 1 {
                answer.bytes(8)?;
                let name = String::from_utf8(answer.opaque()?)?;
                cookie = answer.bytes(8)?;
                let kind = answer.attributes()?.context("an entry without attributes")?;
                ensure!(answer.word()? == 1, "an entry without a handle");
                let handle = answer.opaque()?;
                if name != "." && name != ".." {
                    found.push((name, kind, handle));
                }
            }
            if answer.word()? == 1 {
                return Ok(found);
            }
        }
    }

    fn read(&mut self, file: &[u8]) -> Result<Vec<u8>> {
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let place = u64::try_from(bytes.len())?.to_be_bytes().to_vec();
            let mut answer = self.nfs(6, &[opaque(file), place, words(&[65_536])].concat())?;
            answer.attributes()?;
            answer.word()?;
            let end = answer.word()? == 1;
            bytes.extend(answer.opaque()?);
            if end {
                return Ok(bytes);
            }
        }
    }

    /// An NFS call that must be answered with NFS3_OK, sooner or later.
    pub fn nfs(&mut self, procedure: u32, arguments: &[u8]) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            let mut answer = self.call(100_003, procedure, arguments)?;
            match answer.word()? {
                0 => return Ok(answer),
                JUKEBOX if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
                status => bail!("procedure {procedure} is answered {status}"),
            }
        }
    }

    /// The handle that MNT gave.
    #[must_use]
    pub fn handle(&self) -> &[u8] {
        &self.handle
    }

    /// The handle of a path below the root, by LOOKUP.
    pub fn lookup(&mut self, path: &str) -> Result<Vec<u8>> {
        let mut handle = self.handle.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let arguments = [opaque(&handle), opaque(name.as_bytes())].concat();
            handle = self.nfs(3, &arguments).with_context(|| format!("{name} of {path}"))?.opaque()?;
        }
        Ok(handle)
    }

    /// Looks up `BOOT.WORD` where machines say how far they are; it is never there.
    pub fn say(&mut self, saying: &str) -> Result<()> {
        let say = self.lookup(".oneroot/say")?;
        let status = self.call(100_003, 3, &[opaque(&say), opaque(saying.as_bytes())].concat())?.word()?;
        ensure!(status == NOENT, "the look-up of {saying} is answered {status}");
        Ok(())
    }

    fn call(&mut self, program: u32, procedure: u32, arguments: &[u8]) -> Result<Answer> {
        self.call += 1;
        self.stream.write_all(&rpc::call(self.call, [program, 3, procedure], arguments))?;
        Answer::accepted(rpc::record(&mut self.stream)?, self.call)
    }
}
