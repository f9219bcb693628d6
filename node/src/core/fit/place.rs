//! Places: memories that a model could live in, each with what may be used of it, and what a footprint makes of them.

use serde::{Deserialize, Serialize};

use crate::core::artifact::Shape;
use crate::core::limits;
use crate::core::membership::advert::DomainKind;
use crate::core::sizing::{Band, Footprint, VRAM_RESERVE_BYTES, footprint, percent, ram_reserve_bytes};

/// GPUs and machines by name; the file `fit/machines.json`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machines {
    /// Each a memory of its own.
    pub gpus: Vec<GpuEntry>,
    /// Each one memory: host RAM, or one that CPU and GPU share.
    pub machines: Vec<MachineEntry>,
}

/// One GPU.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuEntry {
    /// What `--on` takes.
    pub name: String,
    /// As its maker calls it.
    pub title: String,
    /// Its memory as its driver states it.
    pub mebibytes: u64,
    /// How fast its memory is read, decimal.
    pub gigabytes_per_s: u64,
}

/// One machine.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineEntry {
    /// What `--on` takes.
    pub name: String,
    /// In words.
    pub title: String,
    /// ram | unified.
    pub kind: MemoryKind,
    /// All of its memory.
    pub gibibytes: u64,
    /// How fast its memory is read, decimal.
    pub gigabytes_per_s: u64,
    /// Machines that an engine of the owner's makes one memory of.
    #[serde(default = "one")]
    pub spans: u32,
}

/// The kind of a machine's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryKind {
    /// Host memory.
    Ram,
    /// Memory a CPU and a GPU share.
    Unified,
}

fn one() -> u32 {
    1
}

/// One memory that a model could live in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// In words.
    pub title: String,
    /// Of what kind.
    pub kind: DomainKind,
    /// All of it, bytes.
    pub total_bytes: u64,
    /// Kept for the system and other programs, bytes.
    pub reserve_bytes: u64,
    /// How fast it is read, bytes per second; 0 is unknown.
    pub read_bytes_per_s: u64,
    /// More than one: the memory of several machines under one engine, which the federation itself never adds up.
    pub spans: u32,
}

impl Place {
    /// What models may use, bytes.
    pub fn usable_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.reserve_bytes)
    }

    /// Host memory of so many bytes under a name, with the reserve of its tier.
    pub fn ram(name: &str, total_bytes: u64) -> Place {
        Place {
            name: name.to_owned(),
            title: name.to_owned(),
            kind: DomainKind::Ram,
            total_bytes,
            reserve_bytes: ram_reserve_bytes(total_bytes),
            read_bytes_per_s: 0,
            spans: 1,
        }
    }
}

impl Machines {
    /// All of them as places: GPUs, then machines, in the order of the file.
    pub fn places(&self) -> Vec<Place> {
        let gpus = self.gpus.iter().map(|gpu| Place {
            name: gpu.name.clone(),
            title: gpu.title.clone(),
            kind: DomainKind::Vram,
            total_bytes: gpu.mebibytes << 20,
            reserve_bytes: VRAM_RESERVE_BYTES,
            read_bytes_per_s: gpu.gigabytes_per_s * 1_000_000_000,
            spans: 1,
        });
        let machines = self.machines.iter().map(|machine| {
            let each = (machine.gibibytes << 30) / u64::from(machine.spans.max(1));
            Place {
                title: machine.title.clone(),
                kind: match machine.kind {
                    MemoryKind::Ram => DomainKind::Ram,
                    MemoryKind::Unified => DomainKind::Unified,
                },
                total_bytes: machine.gibibytes << 30,
                // Each of them keeps its own.
                reserve_bytes: ram_reserve_bytes(each) * u64::from(machine.spans.max(1)),
                read_bytes_per_s: machine.gigabytes_per_s * 1_000_000_000,
                spans: machine.spans,
                ..Place::ram(&machine.name, 0)
            }
        });
        gpus.chain(machines).collect()
    }
}

/// What a footprint makes of a place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlaceVerdict {
    /// The place.
    pub name: String,
    /// In words.
    pub title: String,
    /// vram | ram | unified.
    pub kind: &'static str,
    /// All of its memory, bytes.
    pub total_bytes: u64,
    /// What models may use of it, bytes.
    pub usable_bytes: u64,
    /// Does it fit?
    pub fits: bool,
    /// Of what may be used, rounded.
    pub percent: u32,
    /// How much headroom that leaves; `critical` where it does not fit.
    pub band: Band,
    /// What lacks, bytes.
    pub bytes_short: u64,
    /// The longest context, tokens for each sequence, at which it fits; null: at none.
    pub context_max: Option<u32>,
    /// Tokens per second at most, in thousandths: each reads all that a token is computed with once. Null where the memory's speed is
    /// not known, or the model does not fit.
    pub millitokens_per_s_max: Option<u64>,
    /// Machines that one engine has to span; 1 but for those.
    pub spans: u32,
}

/// A model as it would be loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load<'a> {
    /// Its shape, its weights in the chosen precision.
    pub shape: &'a Shape,
    /// Parameters that a token is computed with.
    pub active_parameters: u64,
    /// Tokens for each sequence.
    pub context: u32,
    /// Sequences at once.
    pub parallel: u32,
}

impl Load<'_> {
    /// What it needs.
    pub fn footprint(&self) -> Footprint {
        footprint(self.shape, self.context, self.parallel, 0)
    }

    /// What one token reads of the weights, bytes.
    pub fn read_bytes_per_token(&self) -> u64 {
        let part = u128::from(self.shape.weights_bytes) * u128::from(self.active_parameters);
        let part = part.checked_div(u128::from(self.shape.parameters)).unwrap_or(0);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// The verdict for one place.
    pub fn on(&self, place: &Place) -> PlaceVerdict {
        let (needed, usable) = (self.footprint().total_bytes(), place.usable_bytes());
        let fits = needed <= usable;
        PlaceVerdict {
            name: place.name.clone(),
            title: place.title.clone(),
            kind: place.kind.as_str(),
            total_bytes: place.total_bytes,
            usable_bytes: usable,
            fits,
            percent: percent(needed, usable),
            band: Band::of(needed, usable),
            bytes_short: needed.saturating_sub(usable),
            context_max: self.context_max(usable),
            millitokens_per_s_max: fits
                .then(|| millitokens(place.read_bytes_per_s, self.read_bytes_per_token()))
                .flatten(),
            spans: place.spans,
        }
    }

    /// The longest context, in steps, for which so much is enough.
    fn context_max(&self, usable_bytes: u64) -> Option<u32> {
        let fits = |context: u32| footprint(self.shape, context, self.parallel, 0).total_bytes() <= usable_bytes;
        let limit = self.shape.context_max.min(limits::CONTEXT_MAX);
        let (mut low, mut high) = (0, limit / limits::CONTEXT_STEP);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match fits(middle * limits::CONTEXT_STEP) {
                true => low = middle,
                false => high = middle - 1,
            }
        }
        (low > 0).then_some(low * limits::CONTEXT_STEP)
    }
}

/// Thousandths of tokens per second where each token reads so much; `None` where either is not known.
pub fn millitokens(read_bytes_per_s: u64, bytes_per_token: u64) -> Option<u64> {
    let known = read_bytes_per_s > 0 && bytes_per_token > 0;
    known.then(|| u64::try_from(u128::from(read_bytes_per_s) * 1000 / u128::from(bytes_per_token)).unwrap_or(u64::MAX))
}
