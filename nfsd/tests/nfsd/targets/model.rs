//! What a message must lead to before any file is looked at, from RFC 5531, RFC 1833 and RFC 1813 alone. It shares no
//! parser with the crate, and is allowed to be slow.

use oneroot_nfsd::{MAX_PATH, Transport};

use super::verdict::Door;
use crate::wire::{opaque, u32s};

const PORTMAP: u32 = 100_000;
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
const NFSACL: u32 = 100_227;

/// Whom a credential speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) gids: Vec<u32>,
}

impl Who {
    fn nobody() -> Self {
        Who { uid: 65_534, gid: 65_534, gids: Vec::new() }
    }
}

/// One argument of a procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arg {
    Opaque(Vec<u8>),
    Number(u64),
}

#[derive(Debug)]
pub(crate) enum Due {
    Silence,
    Close,
    /// This reply, without its record mark.
    Reply(Vec<u8>),
    /// The shell is asked about this path.
    Mount {
        path: Vec<u8>,
        who: Who,
    },
    /// Success, and results that depend on the tree: of NFS or, if `acl`, of its side protocol.
    Files {
        acl: bool,
        procedure: u32,
        args: Vec<Arg>,
        who: Who,
    },
}

/// Reads XDR where the sender may lie about every length.
struct Items<'a>(&'a [u8]);

impl Items<'_> {
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let taken = self.0.get(..len)?.to_vec();
        self.0 = &self.0[len..];
        Some(taken)
    }

    fn word(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
    }

    fn body(&mut self, len: u32) -> Option<Vec<u8>> {
        let len = len as usize;
        let mut padded = self.take(len.checked_next_multiple_of(4)?)?;
        padded.truncate(len);
        Some(padded)
    }

    /// `o` is an opaque, `w` a word, `h` a hyper; `.` says that nothing may follow.
    fn args(&mut self, shape: &str) -> Option<Vec<Arg>> {
        let mut found = Vec::new();
        for item in shape.chars() {
            match item {
                'o' => {
                    let len = self.word()?;
                    found.push(Arg::Opaque(self.body(len)?));
                }
                'w' => found.push(Arg::Number(self.word()?.into())),
                'h' => found.push(Arg::Number(u64::from(self.word()?) << 32 | u64::from(self.word()?))),
                _ if self.0.is_empty() => {}
                _ => return None,
            }
        }
        Some(found)
    }
}

/// The head of an accepted reply, and results.
fn accepted(xid: u32, stat: u32, results: &[u8]) -> Due {
    Due::Reply([u32s(&[xid, 1, 0, 0, 0, stat]), results.to_vec()].concat())
}

fn denied(xid: u32, auth_stat: u32) -> Due {
    Due::Reply(u32s(&[xid, 1, 1, 1, auth_stat]))
}

pub(crate) fn due(door: &Door, message: &[u8]) -> Due {
    header(door, Items(message)).unwrap_or(Due::Close)
}

/// `None` where the message ends inside its header.
fn header(door: &Door, mut message: Items<'_>) -> Option<Due> {
    let xid = message.word()?;
    if message.word()? != 0 {
        return Some(Due::Silence);
    }
    if message.word()? != 2 {
        return Some(Due::Reply(u32s(&[xid, 1, 1, 0, 2, 2])));
    }
    let (program, version, procedure) = (message.word()?, message.word()?, message.word()?);
    let (flavour, len) = (message.word()?, message.word()?);
    if len > 400 {
        return Some(denied(xid, 1));
    }
    let credential = message.body(len)?;
    let (_, len) = (message.word()?, message.word()?);
    if len > 400 {
        return Some(denied(xid, 3));
    }
    message.body(len)?;
    let tcp = door.transport == Transport::Tcp;
    let served = match program {
        PORTMAP => 2,
        NFS | MOUNT | NFSACL if tcp => 3,
        _ => return Some(accepted(xid, 1, &[])),
    };
    if version != served {
        return Some(accepted(xid, 2, &u32s(&[served, served])));
    }
    Some(match program {
        PORTMAP => portmap(xid, procedure, message),
        _ if procedure == 0 => accepted(xid, 0, &[]),
        _ => match caller(flavour, &credential) {
            Err(auth_stat) => denied(xid, auth_stat),
            Ok(who) if program == MOUNT => mount(door, xid, procedure, message, who),
            Ok(_) if !door.privileged() => denied(xid, 5),
            Ok(who) => files(program == NFSACL, xid, procedure, message, who),
        },
    })
}

fn caller(flavour: u32, body: &[u8]) -> Result<Who, u32> {
    match flavour {
        0 => Ok(Who::nobody()),
        1 => auth_sys(Items(body)).ok_or(1),
        _ => Err(2),
    }
}

fn auth_sys(mut body: Items<'_>) -> Option<Who> {
    body.word()?;
    let len = body.word()?;
    let name = body.body(len)?;
    let (uid, gid, count) = (body.word()?, body.word()?, body.word()?);
    if name.len() > 255 || count > 16 {
        return None;
    }
    let gids = (0..count).map(|_| body.word()).collect::<Option<_>>()?;
    body.0.is_empty().then_some(Who { uid, gid, gids })
}

/// The world's ports: portmapper on 111 over both, MOUNT on 20048, NFS and its ACLs on 2049.
fn portmap(xid: u32, procedure: u32, mut args: Items<'_>) -> Due {
    let table = [
        [PORTMAP, 2, 6, 111],
        [PORTMAP, 2, 17, 111],
        [MOUNT, 3, 6, 20_048],
        [NFS, 3, 6, 2049],
        [NFSACL, 3, 6, 2049],
    ];
    match procedure {
        0 => accepted(xid, 0, &[]),
        1 | 2 => accepted(xid, 0, &u32s(&[0])),
        3 => {
            let Some(asked) = args.args("wwww.") else { return accepted(xid, 4, &[]) };
            let same = |row: &&[u32; 4]| {
                row.iter().zip(&asked).take(3).all(|(word, asked)| Arg::Number((*word).into()) == *asked)
            };
            accepted(xid, 0, &u32s(&[table.iter().find(same).map_or(0, |row| row[3])]))
        }
        4 => {
            let rows: Vec<u8> = table.iter().flat_map(|row| [u32s(&[1]), u32s(row)].concat()).collect();
            accepted(xid, 0, &[rows, u32s(&[0])].concat())
        }
        _ => accepted(xid, 3, &[]),
    }
}

fn mount(door: &Door, xid: u32, procedure: u32, mut args: Items<'_>, who: Who) -> Due {
    let host = opaque(door.ip().to_string().as_bytes());
    // A peer hears of its own paths alone.
    let own: Vec<Vec<u8>> =
        if door.is_own() { vec![opaque(b"/v/own"), opaque(b"/v/old")] } else { Vec::new() };
    let list = |element: &dyn Fn(&Vec<u8>) -> Vec<u8>| {
        let elements: Vec<u8> = own.iter().flat_map(|path| [u32s(&[1]), element(path)].concat()).collect();
        accepted(xid, 0, &[elements, u32s(&[0])].concat())
    };
    match procedure {
        1 => match args.args("o.").as_deref() {
            Some([Arg::Opaque(_)]) if !door.privileged() => accepted(xid, 0, &u32s(&[13])),
            Some([Arg::Opaque(path)]) if path.len() > MAX_PATH => accepted(xid, 0, &u32s(&[63])),
            Some([Arg::Opaque(path)]) => Due::Mount { path: path.clone(), who },
            _ => accepted(xid, 4, &[]),
        },
        2 => list(&|path| [host.clone(), path.clone()].concat()),
        3 | 4 => accepted(xid, 0, &[]),
        5 => list(&|path| [path.clone(), u32s(&[1]), host.clone(), u32s(&[0])].concat()),
        _ => accepted(xid, 3, &[]),
    }
}

fn files(acl: bool, xid: u32, procedure: u32, mut args: Items<'_>, who: Who) -> Due {
    let shape = match (acl, procedure) {
        (true, 1) => "ow.",
        (true, 2) => "o",
        (false, 1 | 5 | 18..=20) => "o.",
        // What would write: the handles alone are read.
        (false, 2 | 7 | 8..=13 | 21) => "o",
        (false, 14) => "ooo",
        (false, 15) => "oo",
        (false, 3) => "oo.",
        (false, 4) => "ow.",
        (false, 6) => "ohw.",
        (false, 16) => "ohhw.",
        (false, 17) => "ohhww.",
        _ => return accepted(xid, 3, &[]),
    };
    match args.args(shape) {
        Some(args) => Due::Files { acl, procedure, args, who },
        None => accepted(xid, 4, &[]),
    }
}
