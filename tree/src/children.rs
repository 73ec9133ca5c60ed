//! A directory's names while its tree is being built.
//!
//! A walk and most archives give names in byte order: those lie in one run, which costs a directory two allocations. The
//! first that comes out of order moves all to a B-tree, for an archive may bring a million names in any order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Names, in byte order, and what they stand for. Most nodes are files, which have none: so it is small when it is empty.
pub(crate) struct Children<T>(Option<Box<Named<T>>>);

struct Named<T> {
    run: Run<T>,
    /// All of them, once one has come out of order; the run is empty then.
    tree: Option<BTreeMap<Box<[u8]>, T>>,
}

/// Names one behind the other.
struct Run<T> {
    bytes: Vec<u8>,
    /// Where each name ends in `bytes`. It begins where the one before it ends.
    list: Vec<(usize, T)>,
}

impl<T> Default for Children<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for Run<T> {
    fn default() -> Self {
        Self { bytes: Vec::new(), list: Vec::new() }
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { run: Run::default(), tree: None }
    }
}

impl<T: Copy> Children<T> {
    pub(crate) fn get(&self, name: &[u8]) -> Option<T> {
        let named = self.0.as_ref()?;
        match &named.tree {
            Some(tree) => tree.get(name).copied(),
            None => named.run.list.get(named.run.find(name)?).map(|(_, node)| *node),
        }
    }

    /// Adds a name, or gives one that is there another node.
    pub(crate) fn insert(&mut self, name: &[u8], node: T) {
        let named = self.0.get_or_insert_default();
        if named.tree.is_some() || !named.run.insert(name, node) {
            named.tree().insert(name.into(), node);
        }
    }

    pub(crate) fn remove(&mut self, name: &[u8]) {
        if let (Some(_), Some(named)) = (self.get(name), &mut self.0) {
            named.tree().remove(name);
        }
    }

    /// All names with their nodes, in byte order, as an index has them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], T)> {
        self.0.iter().flat_map(|named| {
            let tree = named.tree.iter().flatten().map(|(name, node)| (&**name, *node));
            named.run.iter().chain(tree)
        })
    }
}

impl<T: Copy> Named<T> {
    fn tree(&mut self) -> &mut BTreeMap<Box<[u8]>, T> {
        let run = &mut self.run;
        self.tree.get_or_insert_with(|| {
            std::mem::take(run).iter().map(|(name, node)| (name.into(), node)).collect()
        })
    }
}

impl<T: Copy> Run<T> {
    fn name(&self, place: usize) -> Option<&[u8]> {
        let start = place.checked_sub(1).and_then(|before| self.list.get(before)).map_or(0, |(end, _)| *end);
        self.bytes.get(start..self.list.get(place)?.0)
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.list.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle)?.cmp(name) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// False where the name would have to stand between others.
    fn insert(&mut self, name: &[u8], node: T) -> bool {
        let last = self.list.len().checked_sub(1).and_then(|last| self.name(last));
        if last.is_none_or(|last| last < name) {
            self.bytes.extend_from_slice(name);
            self.list.push((self.bytes.len(), node));
            return true;
        }
        let there = self.find(name).and_then(|place| self.list.get_mut(place));
        there.map(|there| there.1 = node).is_some()
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], T)> {
        let names = (0..).map_while(|place| self.name(place));
        names.zip(self.list.iter().map(|(_, node)| *node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a B-tree alone would hold, after the same calls.
    #[test]
    fn in_order_or_not_it_is_the_same_directory() {
        let node = |number: usize| number;
        for order in
            [&["a", "b", "bb", "c"][..], &["b", "a", "c", "bb"], &["a", "c", "b", "c", "a"], &["c", "c"]]
        {
            let (mut children, mut oracle) = (Children::default(), BTreeMap::new());
            for (number, name) in order.iter().enumerate() {
                children.insert(name.as_bytes(), node(number));
                oracle.insert(name.as_bytes(), node(number));
                for name in ["", "a", "b", "bb", "c", "d"] {
                    assert_eq!(children.get(name.as_bytes()), oracle.get(name.as_bytes()).copied());
                }
                let listed: Vec<_> = children.iter().collect();
                assert_eq!(listed, oracle.iter().map(|(name, node)| (*name, *node)).collect::<Vec<_>>());
            }
            for name in ["b", "x"] {
                children.remove(name.as_bytes());
                oracle.remove(name.as_bytes());
            }
            children.insert(b"aa", node(9));
            oracle.insert(b"aa", node(9));
            assert!(children.iter().map(|(name, _)| name).eq(oracle.keys().copied()));
        }
    }
}
