//! `fednode assess`: what this machine has, what it could hold, and about how fast it would be. It looks and measures; what that means is
//! `core::assess`'s to say. No node need run, and nothing stays behind.

mod measure;
mod text;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::Failure;
use super::fit::roster::roles;
use super::parse;
use super::run::Out;
use super::table::columns;
use crate::core::assess::{DiskFacts, Facts, GpuFacts, NetworkFacts, assess};
use crate::hardware::{self, Gpu, Hardware, network};
use crate::wire::fit as tables;

/// `fednode assess`.
#[derive(Args, Debug)]
pub(super) struct AssessArgs {
    /// The roster to hold, a file or one that comes with the program (`fednode fit --help`)
    #[arg(long, value_name = "FILE", default_value = "reference")]
    roster: PathBuf,
    /// Take this for the host memory that managers may use, such as 20GiB, as `fednode up --memory` does
    #[arg(long, value_name = "BYTES", value_parser = parse::bytes)]
    memory: Option<u64>,
    /// Do not measure the disk and the engine, which takes some seconds and 1 GiB of disk for so long
    #[arg(long)]
    no_measure: bool,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: &AssessArgs) -> Result<(), Failure> {
    let known = tables::known();
    let (name, meant, _) = roles(&known, &args.roster, None)?;
    let probed = data_dir.to_owned();
    let memory = args.memory;
    // A driver may take its time.
    let hardware = tokio::task::spawn_blocking(move || hardware::probe(&probed, memory, false)).await;
    let hardware = hardware.map_err(|error| Failure::failed(format!("this machine cannot be read: {error}")))?;
    let mut facts = facts(&hardware, data_dir);
    if !args.no_measure {
        measure::all(&mut facts, &hardware, data_dir).await;
    }
    let assessment = assess(facts, &hardware.domains, hardware.tier(None), &name, &meant).map_err(|bug| {
        Failure::failed(format!("the plan does not keep its own rules, which is a bug of fednode: {bug}"))
    })?;
    let document = serde_json::to_value(&assessment)
        .map_err(|error| Failure::failed(format!("the answer cannot be written: {error}")))?;
    out.either(&document, || text::text(&assessment, columns()));
    Ok(())
}

/// What need not be measured.
fn facts(hardware: &Hardware, data_dir: &Path) -> Facts {
    let cpu = hardware::read_cpu();
    let gpu = |gpu: &Gpu| GpuFacts {
        id: if gpu.id.is_empty() { gpu.pci.clone() } else { gpu.id.clone() },
        model: gpu.model.clone(),
        total_bytes: gpu.total_bytes,
        free_bytes: gpu.free_bytes,
        usable: gpu.device.is_some(),
    };
    let interface = |interface: network::Interface| NetworkFacts {
        name: interface.name,
        addresses: interface.addresses.iter().map(ToString::to_string).collect(),
        bits_per_s: interface.bits_per_s,
    };
    Facts {
        name: hardware.hostname.clone(),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        processor: cpu.name,
        cores: hardware.cores,
        physical_cores: cpu.physical_cores,
        vector_extensions: cpu.vector_extensions,
        numa_nodes: cpu.numa_nodes,
        on_battery: hardware.on_battery,
        gpus: hardware.gpus().iter().map(gpu).collect(),
        disk: DiskFacts {
            path: data_dir.display().to_string(),
            free_bytes: hardware.disk_free_bytes,
            total_bytes: hardware.disk_total_bytes,
            read_bytes_per_s: None,
            write_bytes_per_s: None,
        },
        network: network::read().into_iter().map(interface).collect(),
        speed: Vec::new(),
        notes: hardware.notes.clone(),
    }
}
