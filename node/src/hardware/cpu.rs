//! The processor: what it is called, its cores, the instructions that help to multiply matrices, and parts of memory that are near to
//! different cores. What a system does not say is unknown. Called by `fednode assess`.

use std::collections::BTreeSet;
use std::path::Path;

/// The processor of this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cpu {
    /// As its maker calls it; empty if the system does not say.
    pub name: String,
    /// Cores; `None` if the system does not say.
    pub physical_cores: Option<u32>,
    /// Such as `avx2`, those that it has.
    pub vector_extensions: Vec<String>,
    /// NUMA nodes; `None` if the system does not say.
    pub numa_nodes: Option<u32>,
}

/// Reads it.
pub fn read() -> Cpu {
    Cpu { vector_extensions: extensions(), ..of_system() }
}

#[cfg(target_os = "linux")]
fn of_system() -> Cpu {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Cpu { numa_nodes: numa_nodes(Path::new("/sys/devices/system/node")), ..parse_cpuinfo(&text) }
}

#[cfg(target_os = "macos")]
fn of_system() -> Cpu {
    let sysctl = |name: &str| {
        let output = std::process::Command::new("/usr/sbin/sysctl").args(["-n", name]).output().ok()?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    Cpu {
        name: sysctl("machdep.cpu.brand_string").unwrap_or_default(),
        physical_cores: sysctl("hw.physicalcpu").and_then(|text| text.parse().ok()),
        // Macs have one memory for all cores.
        numa_nodes: Some(1),
        ..Cpu::default()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn of_system() -> Cpu {
    // Windows says this much without being asked.
    Cpu { name: std::env::var("PROCESSOR_IDENTIFIER").unwrap_or_default(), ..Cpu::default() }
}

/// `/proc/cpuinfo`: a paragraph for each thread.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn parse_cpuinfo(text: &str) -> Cpu {
    let mut cores = BTreeSet::new();
    let mut name = "";
    for paragraph in text.split("\n\n") {
        let field = |wanted: &str| {
            let fields = paragraph.lines().filter_map(|line| line.split_once(':'));
            fields.into_iter().find(|(key, _)| key.trim() == wanted).map(|(_, value)| value.trim())
        };
        name = field("model name").unwrap_or(name);
        cores.extend(field("core id").map(|core| (field("physical id").unwrap_or_default(), core)));
    }
    let known = (!cores.is_empty()).then_some(cores.len());
    Cpu {
        name: name.chars().filter(|c| !c.is_control()).collect(),
        physical_cores: known.and_then(|cores| u32::try_from(cores).ok()),
        ..Cpu::default()
    }
}

/// Folders `node0`, `node1`, … of the kernel.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn numa_nodes(folder: &Path) -> Option<u32> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let numbered = |name: &str| name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok());
    let count = entries.filter(|entry| entry.file_name().to_str().is_some_and(numbered)).count();
    u32::try_from(count).ok().filter(|count| *count > 0)
}

/// What engines make use of, as the processor itself says.
fn extensions() -> Vec<String> {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("f16c", std::is_x86_feature_detected!("f16c")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", std::is_x86_feature_detected!("avx512bf16")),
        ("avx512fp16", std::is_x86_feature_detected!("avx512fp16")),
        ("avxvnni", std::is_x86_feature_detected!("avxvnni")),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: [(&str, bool); 0] = [];
    found.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_core_count_once() {
        let thread = |physical: u32, core: u32| {
            format!("processor\t: 0\nmodel name\t: Some CPU\u{7} @ 2\nphysical id\t: {physical}\ncore id\t\t: {core}\n")
        };
        let text = [thread(0, 0), thread(0, 1), thread(0, 0), thread(1, 0)].join("\n");
        let cpu = parse_cpuinfo(&text);
        assert_eq!((cpu.name.as_str(), cpu.physical_cores), ("Some CPU @ 2", Some(3)));
        assert_eq!(parse_cpuinfo("processor\t: 0\n"), Cpu::default());
    }

    #[test]
    fn numa_nodes_are_the_kernels_folders() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(numa_nodes(folder.path()), None);
        for name in ["node0", "node1", "nodes", "has_cpu"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(numa_nodes(folder.path()), Some(2));
        assert_eq!(numa_nodes(Path::new("/no/such/folder")), None);
    }

    #[test]
    fn this_processor_can_be_read() {
        let cpu = read();
        assert!(
            cpu.vector_extensions.len() < 16 && cpu.numa_nodes != Some(0) && cpu.physical_cores != Some(0),
            "{cpu:?}"
        );
    }
}
