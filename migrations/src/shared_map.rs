//! An ordered map whose copy costs next to nothing: a copy shares its parts with the original until
//! one of the two changes them. So a snapshot of a large state is taken without a stall.
//!
//! The entries lie in parts of up to 128, in order. A change copies one part, if it is shared.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Bound, Index, RangeBounds};

/// Entries in one part at the most.
const PART: usize = 128;

type Part<K, V> = Arc<Vec<(K, V)>>;

/// The map. No part is empty.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    parts: Vec<Part<K, V>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        SharedMap { parts: Vec::new(), len: 0 }
    }
}

impl<K, V> SharedMap<K, V> {
    /// A map without entries.
    pub fn new() -> SharedMap<K, V> {
        SharedMap::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.parts.iter().flat_map(|part| part.iter()).map(|(key, value)| (key, value))
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// The entry with the least key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The part in which a key is, or would be, and its place there.
    fn find(&self, key: &K) -> (usize, Result<usize, usize>) {
        let begins_at_or_before = |part: &Part<K, V>| part.first().is_some_and(|(k, _)| k <= key);
        let part = self.parts.partition_point(begins_at_or_before).saturating_sub(1);
        let found = self.parts.get(part).map(|part| part.binary_search_by(|(k, _)| k.cmp(key)));
        (part, found.unwrap_or(Err(0)))
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let (part, at) = self.find(key);
        Some(&self.parts.get(part)?.get(at.ok()?)?.1)
    }

    /// Whether there is an entry with this key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.find(key).1.is_ok()
    }

    /// The entries whose keys lie in a range, in order.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        let (part, at) = match range.start_bound() {
            Bound::Unbounded => (0, 0),
            Bound::Included(key) => {
                let (part, at) = self.find(key);
                (part, at.unwrap_or_else(|at| at))
            }
            Bound::Excluded(key) => {
                let (part, at) = self.find(key);
                (part, at.map_or_else(|at| at, |at| at + 1))
            }
        };
        let parts = self.parts.iter().skip(part);
        let entries = parts.flat_map(|part| part.iter()).skip(at).map(|(key, value)| (key, value));
        entries.take_while(move |(key, _)| match range.end_bound() {
            Bound::Unbounded => true,
            Bound::Included(end) => *key <= end,
            Bound::Excluded(end) => *key < end,
        })
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// The value of a key, to be changed in place.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (part, at) = self.find(key);
        let at = at.ok()?;
        Some(&mut Arc::make_mut(self.parts.get_mut(part)?).get_mut(at)?.1)
    }

    /// Puts an entry in; the value that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (part, at) = self.find(&key);
        let at = match at {
            Ok(at) => {
                let (_, there) = Arc::make_mut(&mut self.parts[part]).get_mut(at)?;
                return Some(core::mem::replace(there, value));
            }
            Err(at) => at,
        };
        self.len += 1;
        let Some(found) = self.parts.get_mut(part) else {
            self.parts.push(Arc::new(alloc::vec![(key, value)]));
            return None;
        };
        if found.len() < PART {
            Arc::make_mut(found).insert(at, (key, value));
        } else if at == PART {
            // Mostly keys come in order: then all parts are full.
            self.parts.insert(part + 1, Arc::new(alloc::vec![(key, value)]));
        } else {
            let lower = Arc::make_mut(found);
            let mut upper = lower.split_off(PART / 2);
            match at.checked_sub(PART / 2) {
                Some(at) => upper.insert(at, (key, value)),
                None => lower.insert(at, (key, value)),
            }
            self.parts.insert(part + 1, Arc::new(upper));
        }
        None
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (part, at) = self.find(key);
        let (at, found) = (at.ok()?, self.parts.get_mut(part)?);
        let entries = Arc::make_mut(found);
        let (_, value) = entries.remove(at);
        self.len -= 1;
        let left = entries.len();
        if left == 0 {
            self.parts.remove(part);
        } else if left < PART / 4
            && self.parts.get(part + 1).is_some_and(|next| left + next.len() <= PART)
        {
            let next = self.parts.remove(part + 1);
            Arc::make_mut(&mut self.parts[part]).extend(next.iter().cloned());
        }
        Some(value)
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &SharedMap<K, V>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> Index<&K> for SharedMap<K, V> {
    type Output = V;

    /// # Panics
    ///
    /// There is no such entry.
    fn index(&self, key: &K) -> &V {
        self.get(key).expect("whoever indexes knows that it is there")
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> SharedMap<K, V> {
        let mut map = SharedMap::new();
        entries.into_iter().for_each(|(key, value)| drop(map.insert(key, value)));
        map
    }
}

impl<K: Ord + Clone, V: Clone> From<BTreeMap<K, V>> for SharedMap<K, V> {
    fn from(entries: BTreeMap<K, V>) -> SharedMap<K, V> {
        entries.into_iter().collect()
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = alloc::boxed::Box<dyn Iterator<Item = (&'a K, &'a V)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        alloc::boxed::Box::new(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_same(map: &SharedMap<u16, u32>, model: &BTreeMap<u16, u32>) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().eq(model.iter()) && map.iter().rev().eq(model.iter().rev()));
        assert!(map.parts.iter().all(|part| !part.is_empty() && part.len() <= PART));
    }

    proptest! {
        /// It is what a map of the standard library is, and a copy stays as it was.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..4, 0u16..600), 0..3_000)) {
            let (mut map, mut model) = (SharedMap::new(), BTreeMap::new());
            let mut copies = Vec::new();
            for (at, (kind, key)) in steps.into_iter().enumerate() {
                let value = at as u32;
                match kind {
                    0 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    1 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    2 => {
                        prop_assert_eq!(map.get_mut(&key).map(|v| *v = value).is_some(),
                            model.get_mut(&key).map(|v| *v = value).is_some());
                    }
                    _ => {
                        // In order, as numbers are made.
                        let next = model.keys().next_back().map_or(0, |last| last + 1);
                        prop_assert_eq!(map.insert(next, value), model.insert(next, value));
                    }
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert!(map.range(key..).eq(model.range(key..)));
                let between = (Bound::Excluded(key), Bound::Included(key.saturating_add(50)));
                prop_assert!(map.range(between).eq(model.range(between)));
                if at % 500 == 0 {
                    copies.push((map.clone(), model.clone()));
                }
            }
            assert_same(&map, &model);
            copies.iter().for_each(|(map, model)| assert_same(map, model));
        }
    }
}
