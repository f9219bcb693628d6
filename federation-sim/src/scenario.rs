//! Scenarios: what a federation is made of and what happens to it, before a seed decides the particulars. Files of TOML;
//! the named ones are part of the program.

use std::path::Path;

use fednode::core::artifact::{Precision, Shape};
use fednode::core::placement::plan::Strategy;
use fednode::core::roster::{RosterSlot, SlotRoster};
use serde::{Deserialize, Serialize};

/// The scenarios that have names.
const NAMED: [(&str, &str); 6] = [
    ("household", include_str!("../scenarios/household.toml")),
    ("griffith", include_str!("../scenarios/griffith.toml")),
    ("office", include_str!("../scenarios/office.toml")),
    ("wan", include_str!("../scenarios/wan.toml")),
    ("turns", include_str!("../scenarios/turns.toml")),
    ("study", include_str!("../scenarios/study.toml")),
];

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Neither a name nor a file.
    #[error("{0:?} is neither a named scenario nor a file; `federation-sim list` names them")]
    Unknown(String),
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not the TOML it should be.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: String,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// Something in it cannot be simulated.
    #[error("{path}: {why}")]
    Wrong {
        /// The file.
        path: String,
        /// What and why.
        why: String,
    },
}

/// A whole scenario.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// One sentence for `list`.
    pub about: String,
    /// Nodes when `--nodes` does not say; the pattern of machines is repeated or cut to fit.
    pub nodes: usize,
    /// Minutes when `--hours` does not say.
    pub minutes: u64,
    /// Links, disks and sizes.
    pub options: Options,
    /// What the managers look like.
    pub model: Model,
    /// Who asks what, how often.
    pub workload: Workload,
    /// How often what breaks.
    pub faults: FaultRates,
    /// The pattern of machines.
    #[serde(rename = "machine")]
    pub machines: Vec<MachinePattern>,
    /// The roster of slots.
    #[serde(rename = "slot")]
    pub slots: Vec<RosterSlot>,
}

/// Links, disks and sizes that all nodes share.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// One way between machines of one site.
    pub lan_latency_us: u64,
    /// One way between sites.
    pub wan_latency_us: u64,
    /// Added to a latency at random, up to this much of it.
    pub jitter_percent: u64,
    /// Gossip messages lost, of a million.
    pub loss_ppm: u32,
    /// Gossip messages that arrive twice, of a million.
    pub duplicate_ppm: u32,
    /// Chunk size. Larger than fednode's own 4 MiB where long runs would otherwise spend their time on chunks; the wait
    /// for one chunk grows in proportion, so that the same line speed counts as too slow.
    pub chunk_bytes: u32,
    /// Bytes of one adapter.
    pub adapter_bytes: u64,
    /// Making something small durable takes this long.
    pub fsync_us: u64,
    /// Speed of verifying a whole artifact.
    pub hash_bytes_per_s: u64,
    /// Of every slot an earlier version, which no slot names any more, lies on the disks of so many first machines.
    #[serde(default)]
    pub superseded: usize,
    /// Loads that fail, of a million.
    pub load_failure_ppm: u32,
    /// How residency is weighed: mixed, specialised or swapping.
    pub strategy: String,
    /// Every full node begins with what its disk has room for, in roster order; false: only the first machine holds anything.
    #[serde(default)]
    pub stocked: bool,
}

/// Hyperparameters that every slot's model shares; footprints follow from them by fednode's own formulas.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Bytes of weights.
    pub weights_bytes: u64,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub embedding: u32,
    /// Attention heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Longest context.
    pub context_max: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// Width of the feed-forward layer.
    pub feed_forward: u32,
}

impl Model {
    /// Of an artifact of so many bytes that belongs to such a model: its base, or an adapter.
    pub fn shape(&self, weights_bytes: u64) -> Shape {
        Shape {
            architecture: "llama".to_owned(),
            layers: self.layers,
            embedding: self.embedding,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            context_max: self.context_max,
            vocabulary: self.vocabulary,
            feed_forward: self.feed_forward,
            weights_bytes,
            parameters: weights_bytes / 2,
            precision: Precision::F16,
        }
    }
}

/// Who asks what, how often.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Chat sessions that begin, per hour and node (a Poisson process over the whole federation).
    pub sessions_per_node_hour: u64,
    /// And so many per hour in the whole federation, however many nodes it has.
    #[serde(default)]
    pub sessions_per_hour: u64,
    /// Nobody asks before.
    #[serde(default)]
    pub first_after_s: u64,
    /// Questions of one session: 1 to this.
    pub turns_max: u64,
    /// Pause between an answer and the next question: up to this.
    pub think_s_max: u64,
    /// Tokens of one answer: 1 to this.
    pub tokens_max: u64,
    /// Prompt tokens of a question: 1 to this.
    pub prompt_tokens_max: u64,
    /// Slots are drawn with weight 1 / rank (Zipf) in an order that the seed shuffles; false: all alike.
    pub zipf: bool,
}

/// How often what breaks.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultRates {
    /// Processes that are killed, per node and 100 hours.
    pub crashes_per_node_100h: u64,
    /// Machines that lose power, per node and 100 hours.
    pub power_cuts_per_node_100h: u64,
    /// Machines that sleep, per battery-powered node and 100 hours.
    pub sleeps_per_node_100h: u64,
    /// Engines that die, per node and 100 hours.
    pub engine_deaths_per_node_100h: u64,
    /// Splits of the federation in two, per 100 hours.
    pub partitions_per_100h: u64,
    /// One direction between two members that carries nothing, per 100 hours.
    pub one_way_cuts_per_100h: u64,
    /// Members that send corrupt chunks for a while, per 100 hours.
    pub lies_per_100h: u64,
    /// Faults of any kind, those above among them, per 100 hours: slow nodes, full disks, memory that other programs take,
    /// rot, loads that fail, slow links, clocks that drift, blackouts.
    pub others_per_100h: u64,
    /// How long a fault lasts at most, seconds.
    pub lasts_s_max: u64,
}

/// One kind of machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePattern {
    /// Its name; a number is appended.
    pub name: String,
    /// So many in a row of the pattern.
    #[serde(default = "one")]
    pub count: usize,
    /// full or delegate.
    #[serde(default = "full")]
    pub role: String,
    /// The owner's wish for the coordinator's seat.
    #[serde(default)]
    pub priority: u32,
    /// Runs on battery, and sleeps.
    #[serde(default)]
    pub on_battery: bool,
    /// Machines of one site are near each other.
    #[serde(default)]
    pub site: u32,
    /// Host memory.
    pub ram_bytes: u64,
    /// Kept for the system.
    pub reserve_bytes: u64,
    /// Memory of each GPU.
    #[serde(default)]
    pub vram_bytes: Vec<u64>,
    /// Disk for the store.
    pub disk_bytes: u64,
    /// From disk into memory.
    pub load_bytes_per_s: u64,
    /// What a load takes beside reading: the engine's process, its vocabulary, its buffers, its first computation.
    #[serde(default = "engine_start_ms")]
    pub engine_start_ms: u64,
    /// To the network: what TCP gets of it. With frames of 1500 bytes that is 94.1 % of an Ethernet's bits: 1448 bytes of
    /// data for 1538 on the line; of what `tc` counts it is 1448 of 1514.
    pub up_bytes_per_s: u64,
    /// From the network, likewise.
    pub down_bytes_per_s: u64,
    /// Answers at this speed.
    pub tokens_per_s: u64,
    /// Reads prompts at this speed.
    pub prompt_tokens_per_s: u64,
    /// Answers at this speed from a GPU's memory; 0: as from host memory.
    #[serde(default)]
    pub gpu_tokens_per_s: u64,
    /// Reads prompts at this speed there.
    #[serde(default)]
    pub gpu_prompt_tokens_per_s: u64,
    /// What a question takes beside its tokens: template, tokens, the way to the engine and back.
    #[serde(default = "question_ms")]
    pub question_ms: u64,
}

fn one() -> usize {
    1
}

/// `fednode bench load` with the weights in the page cache: 0.06 to 0.23 s for vocabularies of 512 to 131,072 tokens.
fn engine_start_ms() -> u64 {
    100
}

/// Of one node alone, with a resident manager and its engine free, on two cores.
fn question_ms() -> u64 {
    30
}

fn full() -> String {
    "full".to_owned()
}

/// The named scenarios, with what each is about.
pub fn list() -> Vec<(String, String)> {
    let about = |text: &str| toml::from_str::<Scenario>(text).map(|scenario| scenario.about).unwrap_or_default();
    NAMED.iter().map(|(name, text)| ((*name).to_owned(), about(text))).collect()
}

/// The scenario of this name, or in this file.
pub fn load(name: &str) -> Result<Scenario, ScenarioError> {
    if let Some((_, text)) = NAMED.iter().find(|(known, _)| *known == name) {
        return parse(name, text);
    }
    if !Path::new(name).is_file() {
        return Err(ScenarioError::Unknown(name.to_owned()));
    }
    let text = std::fs::read_to_string(name).map_err(|source| ScenarioError::Read { path: name.to_owned(), source })?;
    parse(name, &text)
}

fn parse(path: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let scenario: Scenario = toml::from_str(text)
        .map_err(|source| ScenarioError::Parse { path: path.to_owned(), source: Box::new(source) })?;
    scenario.check().map_err(|why| ScenarioError::Wrong { path: path.to_owned(), why })?;
    Ok(scenario)
}

impl Scenario {
    fn check(&self) -> Result<(), String> {
        let first_hosts = self.machines.first().is_some_and(|machine| machine.role == "full" && machine.count > 0);
        if !first_hosts {
            return Err("the first machine must be a full node: it publishes the managers".to_owned());
        }
        if let Some(machine) = self.machines.iter().find(|m| m.role != "full" && m.role != "delegate") {
            return Err(format!("{}: role must be full or delegate", machine.name));
        }
        if Strategy::parse(&self.options.strategy).is_none() {
            return Err("options.strategy must be mixed, specialised or swapping".to_owned());
        }
        if self.options.chunk_bytes == 0 {
            return Err("options.chunk_bytes must not be 0".to_owned());
        }
        let roster =
            SlotRoster { name: self.name.clone(), precision_floor: "f16".to_owned(), slots: self.slots.clone() };
        roster.check().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_scenario_can_be_loaded() {
        for (name, _) in NAMED {
            let scenario = load(name).map_err(|error| error.to_string());
            assert_eq!(scenario.map(|scenario| scenario.name), Ok(name.to_owned()));
        }
        assert!(load("no such scenario").is_err());
    }
}
