//! Mains or battery, as the system states it: a machine on battery is asked last to coordinate. Called by `hardware`.

use std::fs;
use std::path::Path;

/// Does this machine run on its battery now? False where the system does not say.
#[cfg(target_os = "linux")]
pub fn on_battery() -> bool {
    read(Path::new("/sys/class/power_supply"))
}

/// Does this machine run on its battery now? False where the system does not say.
#[cfg(target_os = "macos")]
pub fn on_battery() -> bool {
    let output = std::process::Command::new("/usr/bin/pmset").args(["-g", "batt"]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("'Battery Power'"))
}

/// Does this machine run on its battery now? This system does not say.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub fn on_battery() -> bool {
    false
}

/// A battery of the machine itself gives power, and no supply does.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn read(root: &Path) -> bool {
    let Ok(entries) = fs::read_dir(root) else { return false };
    let (mut discharging, mut supplied) = (false, false);
    for entry in entries.flatten() {
        let field = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default().trim().to_owned();
        match field("type").as_str() {
            // Scope "Device" is the battery of a mouse or a headset.
            "Battery" => discharging |= field("status") == "Discharging" && field("scope") != "Device",
            "Mains" | "USB" | "Wireless" => supplied |= field("online") == "1",
            _ => {}
        }
    }
    discharging && !supplied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(supplies: &[&[(&str, &str)]], expected: bool) {
        let root = tempfile::tempdir().unwrap();
        for (number, fields) in supplies.iter().enumerate() {
            let folder = root.path().join(format!("supply{number}"));
            fs::create_dir(&folder).unwrap();
            fields.iter().for_each(|(name, value)| fs::write(folder.join(name), format!("{value}\n")).unwrap());
        }
        assert_eq!(read(root.path()), expected, "{supplies:?}");
    }

    #[test]
    fn only_the_machines_own_battery_counts_and_only_without_a_supply() {
        let battery: &[_] = &[("type", "Battery"), ("status", "Discharging")];
        check(&[], false);
        check(&[battery], true);
        check(&[battery, &[("type", "Mains"), ("online", "0")]], true);
        check(&[battery, &[("type", "Mains"), ("online", "1")]], false);
        check(&[&[("type", "Battery"), ("status", "Charging")]], false);
        check(&[&[("type", "Battery"), ("status", "Discharging"), ("scope", "Device")]], false);
    }
}
