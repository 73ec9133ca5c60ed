//! What must happen to a directory for it to be as an index says: a comparison of two indexes, and no file is touched.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::joined;
use crate::disk::is_described;
use crate::error::{Error, Result};
use crate::index::{Entry, Index, Inode, ROOT};
use crate::node::Kind;
use crate::objects::ObjectMap;

/// A name that goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Removed {
    pub path: Vec<u8>,
    pub is_directory: bool,
}

/// What is to be done, in the order of its fields.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What stands where something of another kind is to be, the deepest last.
    pub in_the_way: Vec<Removed>,
    /// New directories, each before what it holds.
    pub directories: Vec<Vec<u8>>,
    /// Nodes that are made, over what has their names: path and inode.
    pub make: Vec<(Vec<u8>, u32)>,
    /// More names of files: the name, and one that it is to be the same as.
    pub link: Vec<(Vec<u8>, Vec<u8>)>,
    /// Files whose bytes are right and whose owner, mode, time or attributes are not: path, inode as found and inode as wanted.
    pub describe: Vec<(Vec<u8>, u32, u32)>,
    /// By wanted inode, the other names that such a file has already and keeps.
    pub others: HashMap<u32, Vec<Vec<u8>>>,
    /// Names that nothing has any more, the deepest last.
    pub remove: Vec<Removed>,
    /// Directories that are to be described at the end, for what happens in them moves their times.
    pub settle: BTreeMap<Vec<u8>, u32>,
    /// By wanted inode less one: the inode as found that is the same in all, or 0.
    same: Vec<u32>,
}

/// How the file that a wanted inode stands for comes to be.
enum Owner {
    /// It is there: the inode as found.
    There(u32, Vec<u8>),
    /// It is made, at this path.
    Made(Vec<u8>),
}

struct Planner<'p> {
    found: &'p Index,
    wanted: &'p Index,
    kept: &'p BTreeSet<Vec<u8>>,
    plan: Plan,
    /// By wanted inode, of files that have several names.
    owners: HashMap<u32, Owner>,
    /// Inodes as found whose names are to be different files.
    torn: HashSet<u32>,
    /// Directories that are still to be compared: path, as found, as wanted.
    todo: Vec<(Vec<u8>, Option<u32>, Option<u32>)>,
}

impl Plan {
    /// The inode as found that is the same in all as a wanted one.
    pub(super) fn same(&self, inode: u32) -> Option<u32> {
        self.same.get((inode as usize).saturating_sub(1)).copied().filter(|same| *same != 0)
    }

    /// How a directory that was found to be this becomes what is wanted. `kept` are paths to which nothing happens.
    pub(super) fn of(found: &Index, wanted: &Index, kept: &BTreeSet<Vec<u8>>) -> Result<Self> {
        let plan = Self { same: vec![0; wanted.inodes() as usize], ..Self::default() };
        let torn = torn(found, wanted);
        let todo = vec![(Vec::new(), Some(ROOT), Some(ROOT))];
        let mut planner = Planner { found, wanted, kept, plan, owners: HashMap::new(), torn, todo };
        if let (Some(a), Some(b)) = (found.inode(ROOT), wanted.inode(ROOT))
            && !is_described(&a, &b)
        {
            planner.plan.settle.insert(Vec::new(), ROOT);
        }
        while let Some((path, found, wanted)) = planner.todo.pop() {
            planner.directory(&path, found, wanted)?;
        }
        Ok(planner.plan)
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.in_the_way.is_empty()
            && self.directories.is_empty()
            && self.make.is_empty()
            && self.link.is_empty()
            && self.describe.is_empty()
            && self.remove.is_empty()
            && self.settle.is_empty()
    }

    /// The objects that files are made of, with how many are made of each.
    pub(super) fn contents(&self, wanted: &Index) -> ObjectMap<u64> {
        let mut uses = ObjectMap::default();
        for object in self.make.iter().filter_map(|(_, inode)| wanted.inode(*inode)?.object()) {
            *uses.entry(object).or_insert(0) += 1;
        }
        uses
    }
}

/// Inodes as found that have names which are to be different files: they can't become any of those.
fn torn(found: &Index, wanted: &Index) -> HashSet<u32> {
    let (mut becomes, mut torn) = (HashMap::new(), HashSet::new());
    let is_linked = |inode: &Inode<'_>| inode.nlink() > 1 && !inode.kind().is_directory();
    // Few trees have many such files, and some have none.
    if !(1..=found.inodes()).filter_map(|number| found.inode(number)).any(|inode| is_linked(&inode)) {
        return torn;
    }
    let mut todo = vec![(ROOT, ROOT)];
    while let Some((a, b)) = todo.pop() {
        let mut right = entries(wanted, Some(b)).peekable();
        for entry in entries(found, Some(a)) {
            while right.next_if(|other| other.name < entry.name).is_some() {}
            let Some(other) = right.next_if(|other| other.name == entry.name) else { continue };
            let (Some(there), Some(wanted)) = (found.inode(entry.inode), wanted.inode(other.inode)) else {
                continue;
            };
            if there.kind().is_directory() {
                if wanted.kind().is_directory() {
                    todo.push((entry.inode, other.inode));
                }
            } else if is_linked(&there) && *becomes.entry(entry.inode).or_insert(other.inode) != other.inode {
                torn.insert(entry.inode);
            }
        }
    }
    torn
}

fn entries(index: &Index, directory: Option<u32>) -> impl Iterator<Item = Entry<'_>> {
    let run = directory.and_then(|number| index.inode(number)).map_or((0, 0), |inode| inode.run());
    (run.0..run.0.saturating_add(run.1)).filter_map(|place| index.entry(place))
}

/// Whether two nodes that are no directories hold the same.
fn holds(found: &Inode<'_>, wanted: &Inode<'_>) -> bool {
    found.kind() == wanted.kind()
        && match wanted.kind() {
            Kind::Regular => (found.size(), found.object()) == (wanted.size(), wanted.object()),
            _ => found.content() == wanted.content(),
        }
}

impl Planner<'_> {
    fn directory(&mut self, path: &[u8], a: Option<u32>, b: Option<u32>) -> Result<()> {
        let (found, wanted) = (self.found, self.wanted);
        let (mut left, mut right) = (entries(found, a).peekable(), entries(wanted, b).peekable());
        loop {
            let name = match (left.peek(), right.peek()) {
                (None, None) => return Ok(()),
                (Some(one), None) | (None, Some(one)) => one.name,
                (Some(a), Some(b)) => a.name.min(b.name),
            };
            let there = left.next_if(|entry| entry.name == name).map(|entry| entry.inode);
            let is_to_be = right.next_if(|entry| entry.name == name).map(|entry| entry.inode);
            // Most names stay as they are, and no path is needed for that.
            if self.kept.is_empty()
                && let (Some(there), Some(is_to_be)) = (there, is_to_be)
                && self.stays(there, is_to_be)
            {
                continue;
            }
            let here = joined(path, name);
            if self.kept.contains(&here) {
                continue;
            }
            if self.name(&here, there, is_to_be)?
                && let Some(directory) = b
            {
                self.plan.settle.insert(path.to_vec(), directory);
            }
        }
    }

    /// Whether a file of one name is to stay the one of one name that it is.
    fn stays(&mut self, there: u32, is_to_be: u32) -> bool {
        let (Some(found), Some(wanted)) = (self.found.inode(there), self.wanted.inode(is_to_be)) else {
            return false;
        };
        let stays = !wanted.kind().is_directory()
            && wanted.nlink() == 1
            && holds(&found, &wanted)
            && is_described(&found, &wanted)
            && !self.torn.contains(&there);
        if let (true, Some(same)) = (stays, self.plan.same.get_mut((is_to_be as usize).saturating_sub(1))) {
            *same = there;
        }
        stays
    }

    /// What becomes of a name, and whether its directory changes by that.
    fn name(&mut self, path: &[u8], there: Option<u32>, is_to_be: Option<u32>) -> Result<bool> {
        let is_directory = |index: &Index, inode: Option<u32>| {
            inode.and_then(|inode| index.inode(inode)).is_some_and(|inode| inode.kind().is_directory())
        };
        let (was, is) = (is_directory(self.found, there), is_directory(self.wanted, is_to_be));
        match (there, is_to_be) {
            (Some(a), Some(b)) if was && is => {
                if let (Some(x), Some(y)) = (self.found.inode(a), self.wanted.inode(b))
                    && !is_described(&x, &y)
                {
                    self.plan.settle.insert(path.to_vec(), b);
                }
                self.todo.push((path.to_vec(), there, is_to_be));
                Ok(false)
            }
            (Some(a), Some(b)) if !was && !is => Ok(self.file(path, Some(a), b)),
            (_, Some(b)) => {
                if let Some(a) = there {
                    let mut gone = Vec::new();
                    if self.gather(path, a, was, &mut gone) {
                        let what =
                            "it is to be something else than a directory, and what is in it is to be kept";
                        return Err(Error::entry(path, what));
                    }
                    self.plan.in_the_way.append(&mut gone);
                }
                if is {
                    self.plan.directories.push(path.to_vec());
                    self.plan.settle.insert(path.to_vec(), b);
                    self.todo.push((path.to_vec(), None, is_to_be));
                } else {
                    self.file(path, None, b);
                }
                Ok(true)
            }
            (Some(a), None) => {
                let mut gone = Vec::new();
                let stays = self.gather(path, a, was, &mut gone);
                let goes = !gone.is_empty();
                self.plan.remove.append(&mut gone);
                Ok(goes && !stays)
            }
            (None, None) => Ok(false),
        }
    }

    /// All that goes with a name, but for what is kept; whether something of it is, so that the name stays.
    fn gather(&self, path: &[u8], inode: u32, is_directory: bool, gone: &mut Vec<Removed>) -> bool {
        let mut todo = vec![(path.to_vec(), inode, is_directory)];
        let holds_kept = |path: &[u8]| {
            let below = [path, b"/"].concat();
            self.kept.range(below.clone()..).next().is_some_and(|kept| kept.starts_with(&below))
        };
        let mut stays = false;
        while let Some((path, inode, is_directory)) = todo.pop() {
            if self.kept.contains(&path) {
                continue;
            }
            if is_directory {
                for entry in entries(self.found, Some(inode)) {
                    let directory =
                        self.found.inode(entry.inode).is_some_and(|inode| inode.kind().is_directory());
                    todo.push((joined(&path, entry.name), entry.inode, directory));
                }
                if holds_kept(&path) {
                    stays = true;
                    continue;
                }
            }
            gone.push(Removed { path, is_directory });
        }
        stays
    }

    /// A name that is to be no directory; whether anything is done in its directory.
    fn file(&mut self, path: &[u8], there: Option<u32>, inode: u32) -> bool {
        let Some(wanted) = self.wanted.inode(inode) else { return false };
        let found = there.and_then(|there| Some((there, self.found.inode(there)?)));
        let linked = wanted.nlink() > 1;
        match self.owners.get(&inode) {
            Some(Owner::There(owner, _)) if there == Some(*owner) => {
                self.plan.others.entry(inode).or_default().push(path.to_vec());
                return self.plan.same(inode).is_none();
            }
            Some(Owner::There(_, first) | Owner::Made(first)) => {
                self.plan.link.push((path.to_vec(), first.clone()));
                return true;
            }
            None => {}
        }
        // What can't be opened is made anew and never described in its place: a name may lead elsewhere by then.
        let usable = found.filter(|(there, found)| {
            holds(found, &wanted)
                && !self.torn.contains(there)
                && (wanted.kind() == Kind::Regular || is_described(found, &wanted))
        });
        let Some((there, found)) = usable else {
            if linked {
                self.owners.insert(inode, Owner::Made(path.to_vec()));
            }
            self.plan.make.push((path.to_vec(), inode));
            return true;
        };
        if linked {
            self.owners.insert(inode, Owner::There(there, path.to_vec()));
        }
        let same = is_described(&found, &wanted);
        if same {
            if let Some(same) = self.plan.same.get_mut((inode as usize).saturating_sub(1)) {
                *same = there;
            }
        } else {
            self.plan.describe.push((path.to_vec(), there, inode));
        }
        // Where a file of somebody else's has to stay as it is, the name gets another one.
        !same
    }
}
