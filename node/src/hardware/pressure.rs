//! Pressure on memory as Linux measures it (`/proc/pressure/memory`, and the same of the control groups this process is in): the
//! part of the time in which some program waited for memory. The parser is pure. Called by `driver` every two seconds.

use std::io::Read as _;
use std::path::Path;

use crate::core::limits;
use crate::core::residency::Stall;
use crate::hardware::memory;

/// All of the time, in hundredths of a percent.
const WHOLE: u32 = 10_000;

/// What the kernel says now, of the machine or of the container this process runs in, whichever waits more; `None` where it
/// does not measure that.
pub fn read() -> Option<Stall> {
    let machine = read_file(Path::new("/proc/pressure/memory"));
    let groups = memory::group_folders().into_iter().filter_map(|folder| read_file(&folder.join("memory.pressure")));
    groups.chain(machine).max_by_key(|stall| (stall.of_10_s.min(stall.of_60_s), stall.of_10_s))
}

fn read_file(path: &Path) -> Option<Stall> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(limits::PRESSURE_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    parse(&text)
}

/// `some avg10=1.23 avg60=0.00 avg300=0.00 total=123`, and a line of `full` that is not looked at.
fn parse(text: &str) -> Option<Stall> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let share = |name: &str| {
        let word = some.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        hundredths(word?)
    };
    Some(Stall { of_10_s: share("avg10")?, of_60_s: share("avg60")? })
}

/// `12.34` percent as 1234; at most all of the time, and nothing that is not a number with two decimals.
fn hundredths(text: &str) -> Option<u32> {
    let digits =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    let (whole, part) = text.split_once('.')?;
    let part = (part.len() == 2).then(|| digits(part)).flatten()?;
    digits(whole)?.checked_mul(100)?.checked_add(part).filter(|share| *share <= WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let text =
            "some avg10=12.34 avg60=5.00 avg300=0.01 total=15832\nfull avg10=99.00 avg60=99.00 avg300=0.00 total=1\n";
        assert_eq!(parse(text), Some(Stall { of_10_s: 1234, of_60_s: 500 }));
        assert_eq!(parse("full avg10=1.00\nsome avg60=100.00 avg10=0.00"), Some(Stall { of_10_s: 0, of_60_s: 10_000 }));
    }

    #[test]
    fn nonsense_is_no_pressure() {
        let bad = [
            "",
            "some",
            "some avg10=1.00",
            "some avg10=1.00 avg60=",
            "some avg10=-1.00 avg60=0.00",
            "some avg10=1.0 avg60=0.00",
            "some avg10=100.01 avg60=0.00",
            "some avg10=1.00 avg60=99999999999999999999.00",
            "some avg10=1.00 avg60=nan",
            "some avg10=+1.00 avg60=0.00",
            "some avg10=.00 avg60=0.00",
            "full avg10=1.00 avg60=1.00",
            "some avg10=1.000 avg60=0.00",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_more_of_a_file_is_read_than_the_kernel_ever_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        std::fs::write(&path, format!("{}\nsome avg10=1.00 avg60=1.00\n", "x".repeat(4096))).unwrap();
        assert_eq!(read_file(&path), None);
        std::fs::write(&path, "some avg10=1.00 avg60=2.00\n").unwrap();
        assert_eq!(read_file(&path), Some(Stall { of_10_s: 100, of_60_s: 200 }));
        assert_eq!(read_file(&folder.path().join("absent")), None);
    }
}
