//! Archives of a seed: entries whose headers, records and data say the same thing, or do not.
//!
//! Half of them are *tame*: each field is one that some tar writes. The others have whatever can stand in a header.

use crate::random::Random;

/// An archive, and how it was made.
pub struct Made {
    pub bytes: Vec<u8>,
    pub tame: bool,
    /// A place has been spelled in two ways: GNU tar then gives a directory the metadata of the entry that came first.
    pub respelled: bool,
    /// Its entries in words, for whoever must look into a difference.
    pub story: String,
}

/// Few names, so that entries meet; each place is spelled in several ways.
const NAMES: [&[u8]; 14] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"d/",
    b"d/a",
    b"d/e",
    b"d/e/",
    b"d/e/f",
    b"./a",
    b"l",
    b"./d/e/../e/f",
    b"a/",
    b"f/g",
];
const WILD_NAMES: [&[u8]; 10] = [b"", b"./", b"/a", b"d//a", b"a/.", b"..", b"../a", b"l/a", b"a/b", b"."];
const TARGETS: [&[u8]; 8] = [b"a", b"./a", b"b", b"d/a", b"d/e/f", b"l", b"c", b"/a"];
const WILD_TARGETS: [&[u8]; 6] = [b"", b"a/", b"../a", b"d", b"missing", b"a/."];
const KINDS: &[u8] = b"0000000\x005555112234677SD";
const WILD_KINDS: &[u8] = b"0\x00123456677SVDMNgxXLKAZ9";

/// How a header says which tar has written it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Magic {
    Ustar,
    Gnu,
    Old,
}

/// One header under construction.
struct Block([u8; 512]);

impl Block {
    fn new(magic: Magic, kind: u8) -> Self {
        let mut block = Self([0; 512]);
        block.0[156] = kind;
        match magic {
            Magic::Ustar => block.0[257..265].copy_from_slice(b"ustar\x0000"),
            Magic::Gnu => block.0[257..265].copy_from_slice(b"ustar  \0"),
            Magic::Old => {}
        }
        block
    }

    fn text(&mut self, at: usize, length: usize, text: &[u8]) {
        let count = text.len().min(length);
        self.0[at..at + count].copy_from_slice(&text[..count]);
    }

    fn octal(&mut self, at: usize, length: usize, number: u64) {
        let text = format!("{number:0width$o}\0", width = length - 1);
        self.text(at, length, text.as_bytes());
    }

    fn sealed(mut self) -> [u8; 512] {
        self.0[148..156].copy_from_slice(b"        ");
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.octal(148, 7, sum);
        self.0[155] = b' ';
        self.0
    }
}

struct Maker<'r> {
    random: &'r mut Random,
    tame: bool,
    bytes: Vec<u8>,
    story: String,
    /// Whether there are records for all entries.
    global: bool,
    /// Files that there are, for links to them.
    files: Vec<Vec<u8>>,
    /// Whether names begin with `./`: a tar writes all so, or none.
    dotted: bool,
    spelled: Vec<Vec<u8>>,
}

/// The archive of this seed.
pub fn archive(random: &mut Random) -> Made {
    let tame = random.below(2) == 0;
    let mut maker = Maker {
        random,
        tame,
        bytes: Vec::new(),
        story: String::new(),
        global: false,
        files: Vec::new(),
        dotted: false,
        spelled: Vec::new(),
    };
    maker.dotted = maker.random.below(3) == 0;
    for _ in 0..=maker.random.below(6) {
        maker.entry();
    }
    maker.end();
    let respelled = respelled(&maker.spelled);
    Made { bytes: maker.bytes, tame, respelled, story: maker.story }
}

impl Maker<'_> {
    fn wild(&mut self, one_in: u64) -> bool {
        !self.tame && self.random.below(one_in) == 0
    }

    fn say(&mut self, what: &str) {
        self.story.push_str(what);
        self.story.push_str("; ");
    }

    fn name(&mut self) -> Vec<u8> {
        let mut name = self.any_name();
        let is_plain = name.first().is_some_and(u8::is_ascii_alphabetic);
        if self.dotted && is_plain {
            name.splice(..0, *b"./");
        } else if !self.dotted && name.starts_with(b"./") && name.len() > 2 {
            name.drain(..2);
        }
        self.spelled.push(name.clone());
        name
    }

    fn any_name(&mut self) -> Vec<u8> {
        // Most names are new: where entries meet, one in two is in the other's way.
        if self.random.below(3) != 0 {
            let number = self.random.below(40);
            let below = *self.random.one(&["", "d/", "p/q/", "./"]);
            return format!("{below}n{number}").into_bytes();
        }
        let names: &[&[u8]] = if self.wild(6) { &WILD_NAMES } else { &NAMES };
        let name = *self.random.one(names);
        // The one with `..` in it is no tame one's.
        if self.tame && name.contains(&b'.') && name.len() > 3 { b"d/e/f".to_vec() } else { name.to_vec() }
    }

    fn target(&mut self) -> Vec<u8> {
        if !self.files.is_empty() && self.random.below(3) != 0 {
            let count = self.files.len() as u64;
            return self.files[usize::try_from(self.random.below(count)).unwrap()].clone();
        }
        let targets: &[&[u8]] = if self.wild(4) { &WILD_TARGETS } else { &TARGETS };
        self.random.one(targets).to_vec()
    }

    fn data(&mut self, size: usize) {
        let first = self.random.mode(256) as u8;
        self.bytes.extend((0..size).map(|at| first.wrapping_add((at / 7) as u8)));
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    fn size(&mut self) -> u64 {
        *self.random.one(&[0, 0, 1, 5, 511, 512, 513, 1000, 1024])
    }

    fn entry(&mut self) {
        let kinds = if self.wild(2) { WILD_KINDS } else { KINDS };
        let kind = *self.random.one(kinds);
        let magic = *self.random.one(&[Magic::Ustar, Magic::Ustar, Magic::Gnu, Magic::Gnu, Magic::Old]);
        // A sparse file and a dump's directory are GNU's, and only newer headers have a device's numbers.
        let magic = if self.tame && b"SD34".contains(&kind) { Magic::Gnu } else { magic };
        let mut size = None;
        for _ in 0..self.random.below(3) {
            if self.random.below(4) == 0
                && let Some(said) = self.described(kind)
            {
                size = said;
            }
        }
        let mut name = self.name();
        if self.tame {
            name = tidied(kind, name);
        }
        if b"0\x0036".contains(&kind) {
            self.files.push(name.clone());
        }
        self.say(&format!(
            "{} {magic:?} {:?}",
            char::from(kind).escape_default(),
            name.escape_ascii().to_string()
        ));
        let mut block = Block::new(magic, kind);
        if magic == Magic::Ustar && name.len() > 4 && self.random.below(2) == 0 && name.starts_with(b"d/e/") {
            block.text(0, 100, &name[4..]);
            block.text(345, 155, b"d/e");
        } else {
            block.text(0, 100, &name);
        }
        block.octal(100, 8, *self.random.one(&[0o644u64, 0o755, 0o4751, 0o600, 0o1777]));
        block.octal(108, 8, self.random.below(3) * 1000);
        block.octal(116, 8, self.random.below(3) * 50);
        block.octal(136, 12, self.random.below(1_700_000_000));
        if b"12".contains(&kind) || self.wild(8) {
            let target = self.target();
            self.say(&format!("-> {:?}", target.escape_ascii().to_string()));
            block.text(157, 100, &target);
        }
        if magic != Magic::Old {
            // Nobody's: these numbers are for local use.
            block.octal(329, 8, 240 + self.random.below(9));
            block.octal(337, 8, self.random.below(300));
        }
        if kind == b'S' {
            self.sparse(block);
            return;
        }
        // Directories of old tars, and hard links of some, say a size and have no data.
        let has_data = b"0\x007DVMN9AZ".contains(&kind);
        let said = match size {
            Some(said) => said,
            None if has_data || self.random.below(5) == 0 => self.size(),
            None => 0,
        };
        let plain = size.is_none() || self.random.below(2) == 0;
        block.octal(124, 12, if plain { said } else { 0 });
        let slash = name.ends_with(b"/") && b"0\x007".contains(&kind);
        let has_data = if self.wild(10) { !has_data } else { has_data && !slash };
        if said > 0 {
            self.say(&format!("size {said}, data {has_data}"));
        }
        self.odd(&mut block);
        self.bytes.extend(block.sealed());
        if has_data {
            self.data(usize::try_from(said).unwrap());
        }
    }

    /// What stands before an entry and is about it: records, a long name, a long target. Of records, the size that they say:
    /// later ones take the place of earlier ones.
    fn described(&mut self, kind: u8) -> Option<Option<u64>> {
        match self.random.below(8) {
            0 => {
                let name = if self.tame { tidied(kind, self.name()) } else { self.name() };
                self.long(b'L', &name);
            }
            1 if b"12".contains(&kind) || !self.tame => {
                let target = self.target();
                self.long(b'K', &target);
            }
            2 if !self.tame || !std::mem::replace(&mut self.global, true) => {
                let records = self.records(kind, true);
                self.extended(b'g', &records);
            }
            3 if !self.tame || !std::mem::replace(&mut self.global, true) => {
                // A global one between the two does not make a local one void.
                let records = self.records(kind, false);
                self.extended(b'x', &records);
                self.extended(b'g', b"13 comment=x\n");
                return Some(size_in(&records));
            }
            _ => {
                let records = self.records(kind, false);
                let mark = if self.wild(10) { b'X' } else { b'x' };
                self.extended(mark, &records);
                return Some(size_in(&records));
            }
        }
        None
    }

    fn long(&mut self, kind: u8, text: &[u8]) {
        let mut text = text.to_vec();
        if !self.wild(4) {
            text.push(0);
        }
        self.say(&format!("{} {:?}", char::from(kind), text.escape_ascii().to_string()));
        let mut block = Block::new(Magic::Gnu, kind);
        block.text(0, 100, b"././@LongLink");
        block.octal(100, 8, 0o644);
        block.octal(108, 8, 0);
        block.octal(116, 8, 0);
        block.octal(124, 12, text.len() as u64);
        block.octal(136, 12, 0);
        self.bytes.extend(block.sealed());
        self.bytes.extend(text);
        self.pad();
    }

    fn extended(&mut self, kind: u8, records: &[u8]) {
        self.say(&format!("{} {:?}", char::from(kind), records.escape_ascii().to_string()));
        let mut block = Block::new(Magic::Ustar, kind);
        block.text(0, 100, b"PaxHeaders/a");
        block.octal(100, 8, 0o644);
        block.octal(108, 8, 0);
        block.octal(116, 8, 0);
        block.octal(124, 12, records.len() as u64);
        block.octal(136, 12, 0);
        self.bytes.extend(block.sealed());
        self.bytes.extend(records);
        self.pad();
    }

    fn records(&mut self, kind: u8, global: bool) -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..=self.random.below(3) {
            let (key, value): (&[u8], Vec<u8>) = match self.random.below(if self.tame { 7 } else { 11 }) {
                0 => (b"uid", self.random.below(70_000).to_string().into()),
                1 => (b"gid", self.random.below(70_000).to_string().into()),
                2 => {
                    (b"mtime", self.random.one(&[b"7".as_slice(), b"1.5", b"-1.5", b"99.123456789"]).to_vec())
                }
                3 => (b"comment", b"of\nno use".to_vec()),
                4 if !global => (b"path", if self.tame { tidied(kind, self.name()) } else { self.name() }),
                5 if !global && b"12".contains(&kind) => (b"linkpath", self.target()),
                6 if !global && b"0\x007".contains(&kind) => (b"size", self.size().to_string().into()),
                7 => (b"path", self.name()),
                8 => (b"linkpath", self.target()),
                9 => (b"size", self.size().to_string().into()),
                10 => {
                    let odd: [(&[u8], &[u8]); 10] = [
                        (b"path", b""),
                        (b"uid", b""),
                        (b"uid", b"x"),
                        (b"gid", b"-1"),
                        (b"mtime", b"x"),
                        (b"mtime", b"1.5.5"),
                        (b"size", b"x"),
                        (b"GNU.sparse.major", b"1"),
                        (b"GNU.dumpdir", b"Na\0\0"),
                        (b"path", b"a\0b"),
                    ];
                    let (key, value) = *self.random.one(&odd);
                    (key, value.to_vec())
                }
                _ => (b"ctime", b"8.25".to_vec()),
            };
            // What is said twice for all entries, tars do not agree on.
            let again = all.windows(key.len() + 2).any(|window| window == [b" ", key, b"="].concat());
            if !(self.tame && global && again) {
                record(&mut all, key, &value);
            }
        }
        if self.wild(12) {
            let cut = self.random.below(all.len() as u64);
            all.truncate(usize::try_from(cut).unwrap());
        }
        all
    }

    /// A sparse file as GNU's own format has it.
    fn sparse(&mut self, mut block: Block) {
        let mut places = Vec::new();
        let mut at = 0u64;
        for _ in 0..self.random.below(8) {
            at += self.random.below(3) * 512;
            let size = if self.wild(8) { self.random.below(600) } else { 512 * (1 + self.random.below(2)) };
            places.push((at, size));
            at += size;
            at = if self.wild(8) { self.random.below(2000) } else { at + 512 };
        }
        let held: u64 = places.iter().map(|(_, size)| size).sum();
        let held = if self.wild(8) { held + 512 } else { held };
        let real = if self.wild(8) { self.random.below(3000) } else { at };
        places.push((real, 0));
        self.say(&format!("holes {places:?}, {held} of {real}"));
        block.octal(124, 12, held);
        block.octal(483, 12, real);
        for (number, (at, size)) in places.iter().take(4).enumerate() {
            block.octal(386 + number * 24, 12, *at);
            block.octal(398 + number * 24, 12, *size);
        }
        block.0[482] = u8::from(places.len() > 4);
        self.odd(&mut block);
        self.bytes.extend(block.sealed());
        if places.len() > 4 {
            let mut more = Block([0; 512]);
            for (number, (at, size)) in places.iter().skip(4).enumerate() {
                more.octal(number * 24, 12, *at);
                more.octal(12 + number * 24, 12, *size);
            }
            self.bytes.extend(more.0);
        }
        self.data(usize::try_from(held).unwrap());
    }

    /// Fields as other tars write them, and as none does.
    fn odd(&mut self, block: &mut Block) {
        const FIELDS: [(usize, usize); 7] =
            [(100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8)];
        if self.tame || self.random.below(3) != 0 {
            return;
        }
        let (at, length) = *self.random.one(&FIELDS);
        let field = &mut block.0[at..at + length];
        let what = match self.random.below(8) {
            0 => {
                field.fill(0);
                "no bytes"
            }
            1 => {
                field.fill(b' ');
                "blanks"
            }
            2 => {
                field.fill(0);
                field[length - 1] = 7;
                field[0] = 0x80;
                "base-256"
            }
            3 => {
                field.fill(0xff);
                "-1 in base-256"
            }
            4 => {
                field[0] = b'9';
                "no octal digit"
            }
            5 => {
                field[length - 1] = b' ';
                field[0] = b' ';
                "blanks around"
            }
            6 => {
                field[0] = b'-';
                "a sign"
            }
            _ => {
                field[length - 1] = b'1';
                "no end"
            }
        };
        self.say(&format!("{what} at {at}"));
    }

    fn end(&mut self) {
        match if self.tame { self.random.below(3) } else { self.random.below(10) } {
            0 => self.bytes.resize(self.bytes.len().next_multiple_of(10_240) + 10_240, 0),
            1 => self.bytes.resize(self.bytes.len() + 1024, 0),
            2 => self.say("without an end"),
            3 => self.bytes.resize(self.bytes.len() + 512, 0),
            4 => {
                self.bytes.resize(self.bytes.len() + 1024, 0);
                self.bytes.extend([b'x'; 700]);
                self.say("rubbish behind the end");
            }
            5 => {
                let blocks = 1 + self.random.below(2);
                self.say(&format!("{blocks} empty blocks in between"));
                self.bytes.resize(self.bytes.len() + usize::try_from(blocks).unwrap() * 512, 0);
                self.entry();
            }
            6 => {
                let cut = 1 + self.random.below(1023);
                self.bytes.truncate(self.bytes.len().saturating_sub(usize::try_from(cut).unwrap()));
                self.say(&format!("{cut} bytes cut off"));
            }
            7 => {
                let at = usize::try_from(self.random.below(self.bytes.len() as u64)).unwrap();
                self.bytes[at] ^= 1;
                self.bytes.resize(self.bytes.len() + 1024, 0);
                self.say(&format!("a bit flipped in byte {at}"));
            }
            _ => self.bytes.resize(self.bytes.len() + 1024, 0),
        }
    }
}

/// Whether two of these are one place in two spellings; a slash at the end makes none.
fn respelled(names: &[Vec<u8>]) -> bool {
    let plain = |name: &[u8]| -> Vec<u8> {
        let steps = name.split(|byte| *byte == b'/').filter(|step| !step.is_empty() && *step != b".");
        steps.collect::<Vec<_>>().join(&b'/')
    };
    let cut = |name: &[u8]| name.strip_suffix(b"/").unwrap_or(name).to_vec();
    names.iter().any(|one| names.iter().any(|other| plain(one) == plain(other) && cut(one) != cut(other)))
}

/// A directory's name may end in a slash, and a file's that does is a directory's: a tame archive has no others.
fn tidied(kind: u8, mut name: Vec<u8>) -> Vec<u8> {
    if !b"05D\x00".contains(&kind) {
        while name.ends_with(b"/") {
            name.pop();
        }
    }
    name
}

fn record(all: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length += 1;
    }
    all.extend(format!("{length} ").as_bytes());
    all.extend(key);
    all.push(b'=');
    all.extend(value);
    all.push(b'\n');
}

/// The last size that records say.
fn size_in(records: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(records);
    text.lines().filter_map(|line| line.split_once(" size=")?.1.parse().ok()).next_back()
}
