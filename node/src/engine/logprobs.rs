//! Log-probabilities from logits: natural logarithms of the softmax over the whole vocabulary, summed in double precision.

use super::batching::Token;

/// The logarithm of the sum of the exponentials; what is subtracted from a logit to make it a log-probability.
pub(super) fn log_sum(logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    f64::from(most) + sum.ln()
}

/// The log-probability of a token; negative infinity for one that is not in the vocabulary.
pub(super) fn of(logits: &[f32], log_sum: f64, token: Token) -> f32 {
    logits.get(token.0 as usize).map_or(f32::NEG_INFINITY, |&logit| (f64::from(logit) - log_sum) as f32)
}

/// The `count` likeliest tokens, the likeliest first; of equals the lower one.
pub(super) fn likeliest(logits: &[f32], count: usize) -> Vec<Token> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let count = count.min(ids.len());
    if count == 0 {
        return Vec::new();
    }
    ids.select_nth_unstable_by(count - 1, order);
    ids.truncate(count);
    ids.sort_unstable_by(order);
    ids.into_iter().map(Token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_however_large_the_logits_are() {
        for shift in [0.0f32, 500.0, -500.0] {
            let logits: Vec<f32> = [1.0f32, 2.0, 3.0, -4.0].iter().map(|logit| logit + shift).collect();
            let log_sum = log_sum(&logits);
            let sum: f64 = (0..4).map(|id| f64::from(of(&logits, log_sum, Token(id))).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-4, "{sum} with {shift}");
        }
        assert_eq!(of(&[0.0], 0.0, Token(1)), f32::NEG_INFINITY);
    }

    #[test]
    fn the_likeliest_come_in_order() {
        let logits = [1.0, 5.0, 5.0, -1.0, 7.0];
        assert_eq!(likeliest(&logits, 3), [Token(4), Token(1), Token(2)]);
        assert_eq!(likeliest(&logits, 9).len(), 5);
        assert!(likeliest(&logits, 0).is_empty() && likeliest(&[], 3).is_empty());
    }
}
