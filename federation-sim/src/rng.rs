//! Randomness from a seed: SplitMix64, and the few draws the simulator needs, in integers only. Each purpose has a stream
//! of its own, so that one more draw in one place changes nothing in another.

/// SplitMix64 (Steele, Lea, Flood 2014): 64 bits of state, passes BigCrush.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// ln 2 in Q32.
const LN_2_Q32: u128 = 2_977_044_472;

impl Rng {
    /// The stream of `seed` that serves `purpose`.
    pub fn new(seed: u64, purpose: &str) -> Rng {
        let hash = blake3::hash(purpose.as_bytes());
        let mut word = [0u8; 8];
        word.copy_from_slice(&hash.as_bytes()[..8]);
        let mut rng = Rng(seed ^ u64::from_le_bytes(word));
        rng.bits();
        rng
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        fednode::core::chance::next(&mut self.0)
    }

    /// 0 to `n` − 1, or 0 when `n` is 0. The bias of multiplying is below 2⁻³² for every `n` used here.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `ppm` times in a million.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }

    /// Which of `weights` was drawn, each in proportion; 0 when they are all 0.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        0
    }

    /// A pause of a Poisson process: −mean · ln U, with the logarithm in fixed point so that every machine draws the same.
    pub fn pause(&mut self, mean: u64) -> u64 {
        let ln = (u128::from(minus_log2_q32(self.bits() | 1)) * LN_2_Q32) >> 32;
        ((u128::from(mean) * ln) >> 32) as u64
    }
}

/// −log₂(u / 2⁶⁴) in Q32 for u > 0: the exponent by counting zeros, 32 bits of the mantissa's logarithm by squaring.
fn minus_log2_q32(u: u64) -> u64 {
    let zeros = u.leading_zeros();
    let mut mantissa = (u << zeros) >> 32; // Q31, from 1 up to 2
    let mut fraction = 0u64;
    for bit in (0..32).rev() {
        mantissa = (mantissa * mantissa) >> 31;
        if mantissa >= 1 << 32 {
            mantissa >>= 1;
            fraction |= 1 << bit;
        }
    }
    ((u64::from(zeros) + 1) << 32) - fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let first = |purpose| Rng::new(7, purpose).bits();
        assert_eq!(first("links"), first("links"));
        assert_ne!(first("links"), first("faults"));
    }

    #[test]
    fn the_fixed_point_logarithm_is_the_logarithm() {
        for u in [1u64, 2, 3, 1 << 31, 12_345_678_901_234_567, u64::MAX / 3, u64::MAX] {
            let exact = 64.0 - (u as f64).log2();
            let ours = minus_log2_q32(u) as f64 / f64::from(1u32 << 31) / 2.0;
            assert!((exact - ours).abs() < 1e-7, "{u}: {exact} {ours}");
        }
    }

    #[test]
    fn pauses_have_the_mean_they_were_asked_for() {
        let mut rng = Rng::new(1, "pauses");
        let sum: u64 = (0..100_000).map(|_| rng.pause(1_000_000)).sum();
        assert!((990_000..1_010_000).contains(&(sum / 100_000)), "{}", sum / 100_000);
    }
}
