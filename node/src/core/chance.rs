//! Numbers that look random and are the same everywhere: what decides between equals without a generator's state.

/// Mixes all bits of `seed` (the last step of splitmix64, Steele, Lea and Flood 2014).
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_have_nothing_in_common() {
        // The first output of splitmix64 for the seed 0, as published with it.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert!((0..64).all(|n| (mix(n) ^ mix(n + 1)).count_ones() > 12));
    }
}
