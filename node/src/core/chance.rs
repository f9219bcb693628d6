//! Numbers that look random and are the same everywhere: what decides between equals without a generator's state.

/// What splitmix64 (Steele, Lea and Flood 2014) adds to its state for each number.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Splitmix64: the next number, and the next state.
#[inline]
pub fn next(state: &mut u64) -> u64 {
    let number = mix(*state);
    *state = state.wrapping_add(GAMMA);
    number
}

/// Mixes all bits of `seed`: the first number of splitmix64 from it.
#[inline]
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_have_nothing_in_common() {
        // The first outputs of splitmix64 for the seed 0, as published with it.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        let mut state = 0;
        assert_eq!([next(&mut state), next(&mut state)], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        assert!((0..64).all(|n| (mix(n) ^ mix(n + 1)).count_ones() > 12));
    }
}
