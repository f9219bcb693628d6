//! A set of chunk numbers that is searched word by word, and how many partial holders have each chunk. Every chunk that
//! comes leads to a search: sixty-four chunks are looked at in one step, so that a model of 4,000 chunks costs some sixty.

use crate::core::artifact::Bitmap;

const WORD: u32 = u64::BITS;

/// Some of the chunks `0..len`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct ChunkSet {
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl ChunkSet {
    pub(super) fn empty(len: u32) -> ChunkSet {
        ChunkSet { words: vec![0; len.div_ceil(WORD) as usize], len, count: 0 }
    }

    /// Those of `map`; beyond its end none.
    pub(super) fn of(map: &Bitmap, len: u32) -> ChunkSet {
        let mut set = ChunkSet::empty(len);
        for (word, bytes) in set.words.iter_mut().zip(map.as_bytes().chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(eight);
        }
        if let Some(last) = set.words.last_mut().filter(|_| !len.is_multiple_of(WORD)) {
            *last &= (1 << (len % WORD)) - 1;
        }
        set.count = set.words.iter().map(|word| word.count_ones()).sum();
        set
    }

    /// All that `self` has not.
    pub(super) fn complement(&self) -> ChunkSet {
        let mut set = ChunkSet { words: self.words.iter().map(|word| !word).collect(), ..*self };
        if let Some(last) = set.words.last_mut().filter(|_| !self.len.is_multiple_of(WORD)) {
            *last &= (1 << (self.len % WORD)) - 1;
        }
        set.count = self.len - self.count;
        set
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn has(&self, chunk: u32) -> bool {
        chunk < self.len && self.words[(chunk / WORD) as usize] & bit(chunk) != 0
    }

    /// True if it was not in the set before.
    pub(super) fn insert(&mut self, chunk: u32) -> bool {
        let new = chunk < self.len && !self.has(chunk);
        if new {
            self.words[(chunk / WORD) as usize] |= bit(chunk);
            self.count += 1;
        }
        new
    }

    /// True if it was in the set.
    pub(super) fn remove(&mut self, chunk: u32) -> bool {
        let had = self.has(chunk);
        if had {
            self.words[(chunk / WORD) as usize] &= !bit(chunk);
            self.count -= 1;
        }
        had
    }

    /// The chunks that are here and not in `other`.
    pub(super) fn without<'a>(&'a self, other: &'a ChunkSet) -> impl Iterator<Item = u32> + 'a {
        let words = (0u32..).zip(self.words.iter().zip(other.words.iter().chain(std::iter::repeat(&0))));
        words.flat_map(|(index, (&here, &there))| Bits(here & !there).map(move |bit| index * WORD + bit))
    }

    fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }
}

fn bit(chunk: u32) -> u64 {
    1 << (chunk % WORD)
}

struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;
    fn next(&mut self) -> Option<u32> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros())?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

/// What a search looks for: chunks in all of `within` and not in `without`.
pub(super) struct Search<'a> {
    pub(super) within: &'a [&'a ChunkSet],
    pub(super) without: Option<&'a ChunkSet>,
}

impl Search<'_> {
    fn word(&self, index: usize) -> u64 {
        let all = self.within.iter().fold(u64::MAX, |word, set| word & set.word(index));
        all & !self.without.map_or(0, |set| set.word(index))
    }

    /// The first such chunk from `start` upwards, then from the beginning.
    pub(super) fn upwards(&self, start: u32) -> Option<u32> {
        let words = self.within.first()?.words.len();
        let (first, above) = ((start / WORD) as usize, u64::MAX << (start % WORD));
        // The word of the start comes twice: first its upper part, in the end its lower.
        (0..=words).find_map(|step| {
            let index = if first + step < words { first + step } else { first + step - words };
            let mask = if step == 0 {
                above
            } else if step == words {
                !above
            } else {
                u64::MAX
            };
            let word = if index < words { self.word(index) & mask } else { 0 };
            (word != 0).then(|| index as u32 * WORD + word.trailing_zeros())
        })
    }

    /// The first such chunk from `start` downwards, then from the end.
    pub(super) fn downwards(&self, start: u32) -> Option<u32> {
        let words = self.within.first()?.words.len();
        let (first, below) = ((start / WORD) as usize, u64::MAX >> (WORD - 1 - start % WORD));
        (0..=words).find_map(|step| {
            let index = if step <= first { first - step } else { words + first - step };
            let mask = if step == 0 {
                below
            } else if step == words {
                !below
            } else {
                u64::MAX
            };
            let word = if index < words { self.word(index) & mask } else { 0 };
            (word != 0).then(|| index as u32 * WORD + WORD - 1 - word.leading_zeros())
        })
    }
}

/// How many partial holders have each chunk; whole ones have all, and do not change the order.
#[derive(Clone, Debug, Default)]
pub(super) struct Rarity {
    holders: Vec<u8>,
    /// Level `n`: the chunks that `n` partial holders have.
    levels: Vec<ChunkSet>,
}

impl Rarity {
    /// No partial holder yet, and never more than `sources_max`.
    pub(super) fn new(chunks: u32, sources_max: usize) -> Rarity {
        let mut levels = vec![ChunkSet::empty(chunks); sources_max + 1];
        levels[0] = ChunkSet::empty(chunks).complement();
        Rarity { holders: vec![0; chunks as usize], levels }
    }

    /// Rarest first.
    pub(super) fn levels(&self) -> impl Iterator<Item = &ChunkSet> {
        self.levels.iter().filter(|level| !level.is_empty())
    }

    /// One holder more, or one fewer, has `chunk`.
    pub(super) fn count(&mut self, chunk: u32, more: bool) {
        let Some(holders) = self.holders.get_mut(chunk as usize) else { return };
        let now = if more { holders.saturating_add(1) } else { holders.saturating_sub(1) };
        let now = now.min(self.levels.len().saturating_sub(1) as u8);
        self.levels[*holders as usize].remove(chunk);
        self.levels[now as usize].insert(chunk);
        *holders = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(len: u32, chunks: &[u32]) -> ChunkSet {
        let mut set = ChunkSet::empty(len);
        chunks.iter().for_each(|&chunk| {
            set.insert(chunk);
        });
        set
    }

    proptest! {
        #[test]
        fn searches_find_what_a_walk_over_all_chunks_finds(
            len in 1u32..300, start in 0u32..300,
            a in proptest::collection::vec(0u32..300, 0..40), b in proptest::collection::vec(0u32..300, 0..300),
            not in proptest::collection::vec(0u32..300, 0..40),
        ) {
            let start = start % len;
            let (a, b, not) = (set(len, &a), set(len, &b), set(len, &not));
            let found = |chunk: &u32| a.has(*chunk) && b.has(*chunk) && !not.has(*chunk);
            let search = Search { within: &[&a, &b], without: Some(&not) };
            let up = (start..len).chain(0..start).find(found);
            let down = (0..=start).rev().chain((start + 1..len).rev()).find(found);
            prop_assert_eq!(search.upwards(start), up);
            prop_assert_eq!(search.downwards(start), down);
            let listed: Vec<u32> = a.without(&not).collect();
            prop_assert_eq!(listed, (0..len).filter(|&c| a.has(c) && !not.has(c)).collect::<Vec<_>>());
            prop_assert_eq!(a.complement().count() + a.count(), len);
            prop_assert!((0..len).all(|chunk| a.has(chunk) != a.complement().has(chunk)));
        }

        #[test]
        fn a_map_of_bits_becomes_the_same_set(len in 1u32..200, chunks in proptest::collection::vec(0u32..200, 0..60)) {
            let mut map = Bitmap::empty(len);
            chunks.iter().for_each(|&chunk| map.set(chunk));
            let of = ChunkSet::of(&map, len);
            prop_assert_eq!(&of, &set(len, &chunks));
            prop_assert_eq!(ChunkSet::of(&map, len.min(50)), set(len.min(50), &chunks));
        }

        #[test]
        fn rarity_counts_holders(changes in proptest::collection::vec((0u32..70, any::<bool>()), 0..200)) {
            let mut rarity = Rarity::new(70, 3);
            let mut holders = [0u8; 70];
            for (chunk, more) in changes {
                let known = &mut holders[chunk as usize];
                if (more && *known == 3) || (!more && *known == 0) { continue }
                *known = if more { *known + 1 } else { *known - 1 };
                rarity.count(chunk, more);
            }
            for (level, chunks) in rarity.levels.iter().enumerate() {
                prop_assert!((0..70).all(|chunk| chunks.has(chunk) == (holders[chunk as usize] as usize == level)));
            }
        }
    }
}
