//! A machine whose disk forgets what was not synced, and fails when it is told to.
//!
//! What it takes for granted is what a Linux file system promises: a sector of 512 bytes is old or new, and nothing
//! more. A power cut keeps any of the unsynced sectors and lengths; a rename that was not synced holds or does not. A
//! failed write has taken a part; a failed sync has written a part and forgets the rest, which reads go on to show
//! ("fsyncgate").

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::store::Medium;

pub(super) const SECTOR: usize = 512;

/// splitmix64: enough chance for a test, the same for the same seed.
#[derive(Debug, Default)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// A number from 0 up to and without `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

/// What goes wrong when an operation is due to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `ENOSPC`, of writes, syncs and names.
    Full,
    /// `EIO`, of reads too.
    Broken,
    /// The power goes: this and all further operations fail, until the restart.
    Cut,
    /// Nothing fails, but somebody removes the file.
    Removed,
    /// Nothing fails, but somebody puts another state in the file's place.
    Replaced,
}

#[derive(Debug)]
struct Due {
    /// Operations that still go well.
    after: usize,
    fault: Fault,
    /// Not only one operation but all from there on, until [`Machine::mend`].
    lasting: bool,
}

#[derive(Debug, Clone)]
enum Write {
    /// Never across a border of sectors.
    At(usize, Vec<u8>),
    Length(usize),
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Write::Length(length) => bytes.resize(*length, 0),
            Write::At(offset, data) => {
                let end = offset + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

#[derive(Debug, Default)]
struct File {
    /// On the platter.
    durable: Vec<u8>,
    /// What reads show.
    seen: Vec<u8>,
    /// Written since the last sync, in order.
    unsynced: Vec<Write>,
}

impl File {
    /// Some of what was not synced reaches the platter, as the writeback had come to it; the rest never does.
    fn write_back_some(&mut self, chance: &mut Chance) {
        // All likelihoods from nothing to everything, for a half of each write is not what goes wrong most often.
        let likely = chance.below(5);
        for write in self.unsynced.drain(..) {
            if chance.below(4) < likely {
                write.apply(&mut self.durable);
            }
        }
    }
}

/// Whom names mean: the file's, and the logs'.
#[derive(Debug, Default, Clone)]
struct Names {
    current: Option<usize>,
    logs: BTreeMap<u64, usize>,
}

/// What a platter has: the file, and its logs by their numbers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) file: Vec<u8>,
    pub(super) logs: BTreeMap<u64, Vec<u8>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// All that were ever made; a name is an index.
    files: Vec<File>,
    /// How many of them were made to be the file.
    made: usize,
    /// The files that have names, as seen; and the one that is being made.
    seen: Names,
    /// The file that was opened or named last, if this machine did it.
    held: Option<usize>,
    fresh: Option<usize>,
    /// Whom the names meant on the platter, then after each change of a name since.
    names: Vec<Names>,
    due: Vec<Due>,
    off: bool,
    chance: Chance,
}

impl Inner {
    /// Counts an operation, and fails it when that is due.
    fn operate(&mut self, reads: bool) -> io::Result<()> {
        if self.off {
            return Err(io::Error::from_raw_os_error(5));
        }
        let Some(next) = self.due.first_mut().filter(|due| !reads || due.fault == Fault::Broken) else {
            return Ok(());
        };
        if next.after > 0 {
            next.after -= 1;
            return Ok(());
        }
        let fault = next.fault;
        if !next.lasting {
            self.due.remove(0);
        }
        if let Fault::Removed | Fault::Replaced = fault {
            self.seen.current = None;
            if fault == Fault::Replaced {
                self.files.push(File::default());
                self.seen.current = Some(self.files.len() - 1);
            }
            self.names = vec![self.seen.clone()];
            return Ok(());
        }
        self.off |= fault == Fault::Cut;
        Err(io::Error::from_raw_os_error(if fault == Fault::Full { 28 } else { 5 }))
    }
}

/// A machine with one state directory; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Machine(Arc<Mutex<Inner>>);

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            names: vec![Names::default()],
            chance: Chance(seed),
            ..Inner::default()
        })))
    }

    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }

    /// Lets something go wrong after so many more operations, and after what is already due.
    pub(super) fn fail(&self, after: usize, fault: Fault, lasting: bool) {
        self.with(|inner| inner.due.push(Due { after, fault, lasting }));
    }

    /// Nothing goes wrong any more; whether everything that was due has.
    pub(super) fn mend(&self) -> bool {
        self.with(|inner| {
            let left = std::mem::take(&mut inner.due);
            left.iter().all(|due| due.lasting && due.after == 0)
        })
    }

    /// Power off now, if it is not already; then on again, with what the platter has.
    pub(super) fn restart(&self) {
        self.with(|inner| {
            for file in &mut inner.files {
                file.write_back_some(&mut inner.chance);
                file.seen = file.durable.clone();
            }
            let kept = inner.chance.below(inner.names.len());
            inner.seen = inner.names[kept].clone();
            inner.names = vec![inner.seen.clone()];
            inner.held = None;
            inner.due.clear();
            inner.off = false;
        });
    }

    /// What the file that counts and its logs hold.
    pub(super) fn image(&self) -> Image {
        self.with(|inner| {
            let durable = |file: usize| inner.files[file].durable.clone();
            let logs = inner.seen.logs.iter().map(|(number, file)| (*number, durable(*file))).collect();
            Image { file: durable(inner.seen.current.unwrap()), logs }
        })
    }

    /// A machine whose disk holds this.
    pub(super) fn holding(image: &Image) -> Self {
        let machine = Self::new(0);
        machine.with(|inner| {
            let mut put = |bytes: &Vec<u8>| {
                inner.files.push(File { durable: bytes.clone(), seen: bytes.clone(), unsynced: Vec::new() });
                inner.files.len() - 1
            };
            let current = Some(put(&image.file));
            let logs = image.logs.iter().map(|(number, bytes)| (*number, put(bytes))).collect();
            inner.seen = Names { current, logs };
            inner.names = vec![inner.seen.clone()];
        });
        machine
    }

    /// How many files were ever made, logs apart.
    pub(super) fn made(&self) -> usize {
        self.with(|inner| inner.made)
    }
}

/// One of the machine's files, as redb has it open.
#[derive(Debug)]
pub(super) struct Storage {
    machine: Machine,
    file: usize,
}

impl Storage {
    fn take(&self, writes: Vec<Write>) -> io::Result<()> {
        self.machine.with(|inner| {
            let dark = inner.off;
            let went = inner.operate(false);
            let taken = match went {
                Ok(()) => writes.len(),
                Err(_) if dark => 0,
                Err(_) => inner.chance.below(writes.len() + 1),
            };
            let file = &mut inner.files[self.file];
            for write in writes.into_iter().take(taken) {
                write.apply(&mut file.seen);
                file.unsynced.push(write);
            }
            went
        })
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        self.machine.with(|inner| {
            inner.operate(true)?;
            Ok(inner.files[self.file].seen.len() as u64)
        })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.machine.with(|inner| {
            inner.operate(true)?;
            let bytes = inner.files[self.file].seen.get(offset..offset + out.len());
            out.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.take(vec![Write::Length(usize::try_from(len).unwrap())])
    }

    fn sync_data(&self) -> io::Result<()> {
        self.machine.with(|inner| {
            let went = inner.operate(false);
            let file = &mut inner.files[self.file];
            match went {
                Ok(()) => file.unsynced.drain(..).for_each(|write| write.apply(&mut file.durable)),
                Err(_) if inner.off => {}
                Err(_) => file.write_back_some(&mut inner.chance),
            }
            went
        })
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut offset = usize::try_from(offset).unwrap();
        let mut writes = Vec::new();
        while !data.is_empty() {
            let (sector, rest) = data.split_at(data.len().min(SECTOR - offset % SECTOR));
            writes.push(Write::At(offset, sector.to_vec()));
            offset += sector.len();
            data = rest;
        }
        self.take(writes)
    }
}

impl Medium for Machine {
    type Storage = Storage;

    fn current(&mut self) -> io::Result<Option<Storage>> {
        self.abandon();
        let file = self.with(|inner| {
            inner.operate(true)?;
            inner.held = inner.seen.current;
            io::Result::Ok(inner.held)
        })?;
        Ok(file.map(|file| Storage { machine: self.clone(), file }))
    }

    fn in_place(&mut self) -> io::Result<()> {
        self.with(|inner| {
            inner.operate(true)?;
            let found = inner.seen.current.is_some() && inner.seen.current == inner.held;
            if found { Ok(()) } else { Err(io::Error::other("another file has the name")) }
        })
    }

    fn fresh(&mut self) -> io::Result<Storage> {
        self.abandon();
        let file = self.with(|inner| {
            inner.operate(false)?;
            if inner.seen.current.is_some() && inner.seen.current != inner.held {
                return Err(io::Error::other("there is a state that is not ours"));
            }
            if inner.fresh.is_some() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            inner.files.push(File::default());
            inner.made += 1;
            inner.fresh = Some(inner.files.len() - 1);
            Ok(inner.files.len() - 1)
        })?;
        Ok(Storage { machine: self.clone(), file })
    }

    fn adopt(&mut self) -> io::Result<()> {
        self.with(|inner| {
            inner.operate(false)?;
            inner.seen.current = inner.fresh.take();
            inner.held = inner.seen.current;
            inner.names.push(inner.seen.clone());
            Ok(())
        })
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.with(|inner| {
            inner.operate(false)?;
            inner.names = vec![inner.seen.clone()];
            Ok(())
        })
    }

    fn abandon(&mut self) {
        self.with(|inner| {
            if inner.fresh.is_some() && inner.operate(false).is_ok() {
                inner.fresh = None;
            }
        });
    }

    fn logs(&mut self) -> io::Result<Vec<u64>> {
        self.with(|inner| {
            inner.operate(true)?;
            Ok(inner.seen.logs.keys().copied().collect())
        })
    }

    fn log(&mut self, number: u64) -> io::Result<Storage> {
        let file = self.with(|inner| {
            inner.operate(true)?;
            inner.seen.logs.get(&number).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        })?;
        Ok(Storage { machine: self.clone(), file })
    }

    fn make_log(&mut self, number: u64) -> io::Result<Storage> {
        let file = self.with(|inner| {
            inner.operate(false)?;
            inner.files.push(File::default());
            let file = inner.files.len() - 1;
            if inner.seen.logs.insert(number, file).is_some() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            inner.names.push(inner.seen.clone());
            Ok(file)
        })?;
        Ok(Storage { machine: self.clone(), file })
    }

    fn keep_log(&mut self, number: Option<u64>) {
        self.with(|inner| {
            if inner.operate(false).is_ok() {
                inner.seen.logs.retain(|known, _| Some(*known) == number);
                inner.names.push(inner.seen.clone());
            }
        });
    }

    fn rest(&mut self) {}

    fn wrote(&mut self) {}

    fn secret(&mut self) -> io::Result<[u8; 32]> {
        self.with(|inner| Ok([0; 32].map(|_: u8| u8::try_from(inner.chance.below(256)).unwrap())))
    }

    const FOLDS_ASIDE: bool = false;
}
