//! Assessments at 80 and 120 columns, and what follows from measurements.

use std::path::Path;

use super::*;
use crate::cli::golden;
use crate::core::assess::{Assessment, SpeedFacts};
use crate::core::fit::roster::Residency;
use crate::core::membership::advert::{DomainKind, MemoryDomain};
use crate::core::sizing::{Tier, VRAM_RESERVE_BYTES, ram_reserve_bytes};

fn found() -> Facts {
    Facts {
        name: "den".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        processor: "Some Maker's Processor 9000 with 8 Cores".to_owned(),
        cores: 16,
        physical_cores: Some(8),
        vector_extensions: ["avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vnni"]
            .map(str::to_owned)
            .to_vec(),
        numa_nodes: Some(1),
        on_battery: false,
        gpus: vec![GpuFacts {
            id: "GPU-8f6d7c2e-0000-1111-2222-333344445555".to_owned(),
            model: "NVIDIA GeForce RTX 4090".to_owned(),
            total_bytes: 24564 << 20,
            free_bytes: 23010 << 20,
            usable: true,
        }],
        disk: DiskFacts {
            path: "/home/me/.local/share/fednode".to_owned(),
            free_bytes: 80_000_000_000,
            total_bytes: 500_000_000_000,
            read_bytes_per_s: Some(2_500_000_000),
            write_bytes_per_s: Some(1_800_000_000),
        },
        network: vec![NetworkFacts {
            name: "eth0".to_owned(),
            addresses: vec!["192.168.1.7".to_owned(), "fe80::1".to_owned()],
            bits_per_s: Some(2_500_000_000),
        }],
        speed: vec![SpeedFacts {
            domain: "ram".to_owned(),
            threads: 16,
            bytes_per_token: 326_000_000,
            millitokens_per_s: 150_000,
            prompt_millitokens_per_s: 900_000,
            load_ms: 210,
        }],
        notes: vec!["gpu1 (Some Card) is not used: this build computes on the CPU".to_owned()],
    }
}

fn domains() -> Vec<MemoryDomain> {
    let domain = |name: &str, kind, total_bytes: u64, reserve_bytes: u64| MemoryDomain {
        name: name.to_owned(),
        kind,
        total_bytes,
        free_bytes: total_bytes - reserve_bytes - (1 << 30),
        reserve_bytes,
        ours_bytes: 0,
        hosts: true,
    };
    vec![
        domain("ram", DomainKind::Ram, 32 << 30, ram_reserve_bytes(32 << 30)),
        domain("gpu0", DomainKind::Vram, 24564 << 20, VRAM_RESERVE_BYTES),
    ]
}

fn assessment() -> Assessment {
    let (name, meant, _) = roles(&tables::known(), Path::new("reference"), None).expect("a roster");
    assess(found(), &domains(), Tier::Standard, &name, &meant).expect("a plan that keeps its rules")
}

#[test]
fn a_machine_is_assessed() {
    golden::check("assess", |columns| text::text(&assessment(), columns));
}

#[test]
fn each_memory_holds_one_manager_and_the_others_swap_at_the_disks_speed() {
    let assessment = assessment();
    let resident: Vec<_> = assessment.managers.iter().filter(|manager| manager.state == Residency::Resident).collect();
    assert_eq!(resident.len(), 2, "{resident:?}");
    for manager in &assessment.managers {
        assert_eq!(manager.load_ms, Some(13_481_025_536 / 2_500_000), "{manager:?}");
        // 326 MB 150 times a second are 48.9 GB/s; nothing was measured on the GPU.
        let expect = (manager.domain.as_deref() == Some("ram")).then_some(3_627);
        assert_eq!(manager.millitokens_per_s, expect, "{manager:?}");
    }
    assert_eq!(assessment.give_up.len(), 5);
    assert!(assessment.disk_needed_bytes > 7 * 13_481_025_536 && assessment.disk_short_bytes > 0, "{assessment:?}");
}

#[test]
fn without_measurements_and_memory_nothing_is_promised() {
    let (name, meant, _) = roles(&tables::known(), Path::new("reference"), None).expect("a roster");
    let assessment = assess(Facts::default(), &[], Tier::Delegate, &name, &meant).expect("a plan");
    assert!(assessment.managers.iter().all(|manager| manager.state == Residency::None && manager.load_ms.is_none()));
    let text = text::text(&assessment, 80);
    assert!(text.contains("delegate: delegates: it hosts no manager"), "{text}");
}

#[test]
fn this_machine_can_be_read_without_measuring() {
    let folder = tempfile::tempdir().expect("a folder");
    let hardware = hardware::probe(folder.path(), Some(20 << 30), false);
    let facts = facts(&hardware, folder.path());
    assert!(facts.cores > 0 && facts.disk.free_bytes > 0 && facts.speed.is_empty());
}
