//! Figures as people read them.

/// `12.3 s`, `4 min 5 s`.
pub fn seconds(ms: u64) -> String {
    let (tenths, whole) = (ms.saturating_add(50) / 100, ms.saturating_add(500) / 1000);
    match ms {
        0..100_000 => format!("{}.{} s", tenths / 10, tenths % 10),
        100_000..600_000 => format!("{whole} s"),
        _ => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// `98.3 %`.
pub fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// `13.48 GB`, decimal.
pub fn gb(bytes: u64) -> String {
    let hundredths = bytes / 10_000_000;
    format!("{}.{:02} GB", hundredths / 100, hundredths % 100)
}

/// `3.25`, of hundredths.
pub fn hundredths(n: u64) -> String {
    format!("{}.{:02}", n / 100, n % 100)
}

/// `a, b and c`.
pub fn list(words: &[String]) -> String {
    match words {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([seconds(0), seconds(12_345), seconds(115_999)], ["0.0 s", "12.3 s", "116 s"]);
        assert_eq!(seconds(605_000), "10 min 5 s");
        assert_eq!([percent(1000), percent(983), percent(5)], ["100.0 %", "98.3 %", "0.5 %"]);
        assert_eq!(gb(13_481_025_536), "13.48 GB");
        assert_eq!(hundredths(325), "3.25");
        let words = |n: usize| ["a", "b", "c"][..n].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!([list(&words(0)), list(&words(1)), list(&words(3))], ["none", "a", "a, b and c"]);
    }
}
