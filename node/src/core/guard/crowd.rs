//! A bounded number of places that many sources want. Whoever comes gets one: when all are taken, the oldest of the source
//! that holds most leaves. So a place is lost only to a newer one, a source that sends many loses its own, and one that
//! waits in silence keeps nobody out.

use std::collections::{BTreeMap, BTreeSet};

/// The places: who is in, by source. Ids grow: a lower one is older.
#[derive(Clone, Debug)]
pub struct Crowd<S, I> {
    places: usize,
    per_source: usize,
    inside: BTreeMap<S, BTreeSet<I>>,
    count: usize,
}

impl<S: Ord + Copy, I: Ord + Copy> Crowd<S, I> {
    /// `places` in all, of which one source has at most `per_source`.
    pub fn new(places: usize, per_source: usize) -> Crowd<S, I> {
        Crowd { places: places.max(1), per_source: per_source.max(1), inside: BTreeMap::new(), count: 0 }
    }

    /// `id` of `source` takes a place; the answer has to leave for it.
    pub fn enter(&mut self, source: S, id: I) -> Option<I> {
        let own = self.inside.get(&source).map_or(0, BTreeSet::len);
        let loser = if own >= self.per_source {
            Some(source)
        } else if self.count >= self.places {
            self.largest()
        } else {
            None
        };
        let leaves = loser.and_then(|loser| Some((loser, *self.inside.get(&loser)?.first()?)));
        if let Some((loser, oldest)) = leaves {
            self.leave(loser, oldest);
        }
        if self.inside.entry(source).or_default().insert(id) {
            self.count += 1;
        }
        leaves.map(|(_, id)| id)
    }

    /// `id` of `source` needs its place no longer.
    pub fn leave(&mut self, source: S, id: I) {
        let Some(ids) = self.inside.get_mut(&source) else { return };
        if ids.remove(&id) {
            self.count -= 1;
        }
        if ids.is_empty() {
            self.inside.remove(&source);
        }
    }

    /// How many are in.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Is nobody in?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Who holds most; of equals the one whose oldest is oldest.
    fn largest(&self) -> Option<S> {
        let rank = |ids: &BTreeSet<I>| (ids.len(), std::cmp::Reverse(ids.first().copied()));
        self.inside.iter().max_by_key(|(_, ids)| rank(ids)).map(|(&source, _)| source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_source_that_sends_many_loses_its_own() {
        let mut crowd = Crowd::new(8, 3);
        assert_eq!(crowd.enter("honest", 0), None);
        let left: Vec<_> = (1..6).map(|id| crowd.enter("hostile", id)).collect();
        assert_eq!(left, [None, None, None, Some(1), Some(2)]);
        assert_eq!(crowd.len(), 4);
    }

    #[test]
    fn when_all_places_are_taken_the_oldest_of_the_largest_source_leaves() {
        let mut crowd = Crowd::new(4, 3);
        for (source, id) in [("a", 1), ("b", 2), ("b", 3), ("c", 4)] {
            assert_eq!(crowd.enter(source, id), None);
        }
        assert_eq!(crowd.enter("d", 5), Some(2), "b holds most");
        assert_eq!(crowd.enter("e", 6), Some(1), "of equals the oldest");
        crowd.leave("c", 4);
        assert_eq!(crowd.enter("f", 7), None, "a place was free");
    }

    proptest! {
        #[test]
        fn the_places_are_never_more_than_there_are(steps in prop::collection::vec((0u8..6, any::<bool>()), 1..300)) {
            let (places, per_source) = (7, 3);
            let mut crowd = Crowd::new(places, per_source);
            let mut inside: BTreeSet<(u8, u32)> = BTreeSet::new();
            for (id, (source, enters)) in (0u32..).zip(steps) {
                if enters {
                    if let Some(gone) = crowd.enter(source, id) {
                        let before = inside.len();
                        inside.retain(|&(_, held)| held != gone);
                        prop_assert_eq!(inside.len() + 1, before, "only who is in can leave");
                    }
                    inside.insert((source, id));
                } else if let Some(&(source, id)) = inside.iter().next() {
                    crowd.leave(source, id);
                    inside.remove(&(source, id));
                }
                prop_assert_eq!(crowd.len(), inside.len());
                prop_assert!(inside.len() <= places);
                prop_assert!((0..6).all(|one| inside.iter().filter(|(source, _)| *source == one).count() <= per_source));
            }
        }
    }
}
