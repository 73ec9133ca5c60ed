//! Directories too large for one page: complete, each name once, every page within bounds (N10, N11).

use std::collections::HashSet;
use std::sync::Arc;

use oneroot_nfsd::{FileKind, MAX_LISTING, Policy, Replies, Transport, Tree};
use proptest::prelude::*;

use crate::wire::{self, Cred, opaque, u32s};
use crate::world::{self, OWN, World};

/// Takes XDR off a reply that is known to be good.
struct Taker<'a>(&'a [u8]);

impl<'a> Taker<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        head
    }
    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }
    fn opaque(&mut self) -> &'a [u8] {
        let len = self.u32() as usize;
        &self.take(len.next_multiple_of(4))[..len]
    }
}

/// A directory whose names have every length, in no order, some equal but for case.
fn wide(count: usize) -> Arc<World> {
    let mut world = World::empty();
    world.add("/wide", FileKind::Directory, 0o755, (0, 0));
    for i in 0..count {
        let stem = if i % 2 == 0 { format!("Name{}", i / 2) } else { format!("name{}", i / 2) };
        let tail = if i % 1000 == 0 { 255 - stem.len() } else { (i * 7) % 20 };
        world.file(&format!("/wide/{stem}{}", "\n".repeat(tail)), 0o644, (0, 0), 1);
    }
    Arc::new(world)
}

/// Reads `/wide` from end to end; returns names and fileids in order, and the number of pages.
fn walk(world: &Arc<World>, plus: bool, count: u32) -> (Vec<(Vec<u8>, u64)>, usize) {
    let service = world::service(world, Policy::default());
    let handle = opaque(&world::handle(OWN, world.find("/wide")));
    let (mut cookie, mut found, mut pages) = (0_u64, Vec::new(), 0);
    loop {
        let place = [cookie.to_be_bytes(), 0_u64.to_be_bytes()].concat();
        let sizes = if plus { u32s(&[count, count]) } else { u32s(&[count]) };
        let args = [&handle[..], &place, &sizes].concat();
        let call = wire::call(7, [100_003, 3, if plus { 17 } else { 16 }], &Cred::sys(0, 0, &[]), &args);
        let mut out = Replies::new();
        service.call("10.0.0.7:700".parse().unwrap(), Transport::Tcp, &call, &mut out);
        assert!(out.len() <= 64 * 1024, "one page is {} bytes", out.len());
        let reply = wire::unmarked(out.bytes()).pop().unwrap();
        assert!(reply.len() - 28 <= count.min(MAX_LISTING) as usize, "the client's bound holds");
        let mut reply = Taker(&reply);
        reply.take(24);
        assert_eq!(reply.u32(), 0, "status");
        reply.take(4 + 84 + 8);
        let before = found.len();
        while reply.u32() == 1 {
            let fileid = reply.u64();
            let name = reply.opaque().to_vec();
            let next = reply.u64();
            assert!(next > cookie, "cookies go up");
            cookie = next;
            if plus {
                assert_eq!(reply.u32(), 1);
                let attr = reply.take(84);
                assert_eq!(
                    attr[52..60],
                    fileid.to_be_bytes(),
                    "the entry's fileid is its attributes' fileid"
                );
                assert_eq!(reply.u32(), 1);
                assert_eq!(reply.opaque().len(), 44);
            }
            found.push((name, fileid));
        }
        pages += 1;
        let eof = reply.u32() == 1;
        assert!(reply.0.is_empty());
        if eof {
            return (found, pages);
        }
        assert!(found.len() > before, "no empty page before the end");
    }
}

#[test]
fn a_hundred_thousand_names_are_told_once_each_in_both_shapes() {
    let world = wide(100_000);
    for (plus, count) in [(false, u32::MAX), (true, 65_536)] {
        let (found, pages) = walk(&world, plus, count);
        assert_eq!(found.len(), 100_002);
        let names: HashSet<_> = found.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), found.len(), "no name twice");
        for (index, (name, fileid)) in found[2..].iter().enumerate() {
            let (real, node) = world.entry(world.find("/wide"), index as u64).unwrap();
            assert_eq!((&name[..], *fileid), (real, world.attr(node).unwrap().fileid));
        }
        assert!(pages > 10);
    }
}

#[test]
fn every_page_size_tells_the_same_names() {
    let world = wide(40);
    let (all, _) = walk(&world, false, 65_536);
    for count in 400..700 {
        assert_eq!(walk(&world, false, count).0, all, "count {count}");
    }
    for count in 600..900 {
        assert_eq!(walk(&world, true, count).0, all, "maxcount {count}");
    }
}

/// The results of a READDIRPLUS of `/wide`, put together name by name; nothing when not even one has room.
fn page(world: &World, cookie: u64, [dircount, maxcount]: [u32; 2]) -> Option<Vec<u8>> {
    let dir = world.find("/wide");
    let attributes = |node| [u32s(&[1]), wire::fattr(world, &world.attr(node).unwrap())].concat();
    let mut page = [attributes(dir), vec![0; 8]].concat();
    let (mut place, mut bare) = (cookie, 0);
    let eof = loop {
        let (name, node) = match place {
            0 => (&b"."[..], dir),
            1 => (&b".."[..], world.parent(dir).unwrap()),
            _ => match world.entry(dir, place - 2) {
                Some(entry) => entry,
                None => break true,
            },
        };
        let fileid = world.attr(node).unwrap().fileid.to_be_bytes();
        let front = [&fileid[..], &opaque(name), &(place + 1).to_be_bytes()].concat();
        let handle = opaque(&world::handle(OWN, node));
        let entry = [u32s(&[1]), front.clone(), attributes(node), u32s(&[1]), handle].concat();
        bare += front.len();
        let names_fit = bare <= dircount as usize || place == cookie;
        if page.len() + entry.len() + 8 > maxcount as usize || !names_fit {
            break false;
        }
        page.extend(entry);
        place += 1;
    };
    (place > cookie || eof).then(|| [u32s(&[0]), page, u32s(&[0, u32::from(eof)])].concat())
}

proptest! {
    /// Handles are sealed several at once, and names are read ahead for it; neither may show.
    #[test]
    fn a_page_is_what_its_names_are_one_by_one(
        names in 0..60_usize,
        cookie in 0..70_u64,
        sizes in prop::array::uniform2(200..9000_u32),
    ) {
        let world = wide(names);
        let handle = opaque(&world::handle(OWN, world.find("/wide")));
        let args = [&handle[..], &cookie.to_be_bytes(), &[0; 8], &u32s(&sizes)].concat();
        let call = wire::call(7, [100_003, 3, 17], &Cred::sys(0, 0, &[]), &args);
        let mut out = Replies::new();
        let service = world::service(&world, Policy::default());
        service.call("10.0.0.7:700".parse().unwrap(), Transport::Tcp, &call, &mut out);
        let reply = wire::unmarked(out.bytes()).pop().unwrap();
        match page(&world, cookie, sizes) {
            Some(page) => prop_assert_eq!(&reply[24..], &page[..]),
            None => prop_assert_eq!(&reply[24..28], &u32s(&[10_005])[..]),
        }
    }
}
