//! An assessment in words, within a terminal's columns.

use crate::cli::fit::text::{notes, speed};
use crate::cli::table::{table_within, wrap};
use crate::core::assess::{Assessment, Facts, ManagerFacts, MemoryFacts, NetworkFacts};
use crate::core::fit::roster::Residency;
use crate::core::types::human_bytes;

/// All of it.
pub(super) fn text(assessment: &Assessment, columns: usize) -> String {
    let mut out = machine(&assessment.machine, columns);
    let hosts =
        if assessment.hosts { "hosts managers" } else { "delegates: it hosts no manager unless you say --role full" };
    out.push_str(&line("tier", &format!("{}: {hosts}", assessment.tier.as_str()), columns));
    let guide = &assessment.guide;
    let tenths = |tenths: u64| format!("{}.{}", tenths / 10, tenths % 10);
    let budget = format!(
        "for rosters of many models {}: {}; it would budget {} GB, {} of it for what is always resident",
        guide.tier.as_str(),
        guide.advice,
        tenths(guide.budget.available_tenths),
        tenths(guide.budget.hot_tenths)
    );
    out.push_str(&line("guide", &budget, columns));
    let memory: Vec<Vec<String>> = assessment.memory.iter().map(memory).collect();
    let headers = ["MEMORY", "ALL", "FREE NOW", "KEPT", "FOR MANAGERS", "PLANNED"];
    out.push_str(&format!("\n{}", table_within(&headers, &memory, columns)));
    let managers: Vec<Vec<String>> = assessment.managers.iter().map(manager).collect();
    let headers = ["MANAGER", "NEEDS", "STATE", "IN", "LOADS IN", "TOKENS/S", "MODEL"];
    out.push_str(&format!("\nRoster {}:\n{}", assessment.roster, table_within(&headers, &managers, columns)));
    let mut sentences = Vec::new();
    if !assessment.give_up.is_empty() {
        let given = assessment.give_up.join(", then ");
        sentences.push(format!("all others would be resident at once if you give up, in this order: {given}"));
    }
    if assessment.disk_short_bytes > 0 {
        sentences.push(format!(
            "storing all of them needs {} of free disk, short {}",
            human_bytes(assessment.disk_needed_bytes),
            human_bytes(assessment.disk_short_bytes)
        ));
    }
    sentences.extend(assessment.machine.notes.iter().cloned());
    notes(&mut out, &sentences, columns);
    out
}

/// A word and what it is; further lines stand under the first.
fn line(what: &str, text: &str, columns: usize) -> String {
    let mut out = String::new();
    for (index, part) in wrap(text, columns - 11).iter().enumerate() {
        let head = if index == 0 { what } else { "" };
        out.push_str(format!("{head:<11}{part}").trim_end());
        out.push('\n');
    }
    out
}

fn machine(facts: &Facts, columns: usize) -> String {
    let mut out = line("machine", &format!("{}, {} on {}", facts.name, facts.os, facts.arch), columns);
    let cores = match facts.physical_cores {
        Some(cores) => format!("{} threads on {cores} cores", facts.cores),
        None => format!("{} threads", facts.cores),
    };
    let numa = facts.numa_nodes.map(|nodes| format!("{nodes} NUMA node{}", if nodes == 1 { "" } else { "s" }));
    let battery = facts.on_battery.then(|| "on battery".to_owned());
    let name = Some(facts.processor.clone()).filter(|name| !name.is_empty());
    let parts: Vec<String> = [name, Some(cores), numa, battery].into_iter().flatten().collect();
    out.push_str(&line("processor", &parts.join(", "), columns));
    let vector = match facts.vector_extensions.is_empty() {
        true => "none that engines use".to_owned(),
        false => facts.vector_extensions.join(" "),
    };
    out.push_str(&line("vectors", &vector, columns));
    for gpu in &facts.gpus {
        let usable = if gpu.usable { "" } else { ", not used by this build's engine" };
        let id = if gpu.id.is_empty() { String::new() } else { format!(", id {}", gpu.id) };
        let sizes = format!("{} of {} free", human_bytes(gpu.free_bytes), human_bytes(gpu.total_bytes));
        out.push_str(&line("gpu", &format!("{}, {sizes}{id}{usable}", gpu.model), columns));
    }
    out.push_str(&line("disk", &disk(facts), columns));
    for interface in &facts.network {
        out.push_str(&line("network", &network(interface), columns));
    }
    for speed_facts in &facts.speed {
        let text = format!(
            "in {}, {} threads: reads {}/s of weights; a prompt of {} tokens/s and an answer of {} with a model of {}",
            speed_facts.domain,
            speed_facts.threads,
            human_bytes(speed_facts.read_bytes_per_s()),
            speed(speed_facts.prompt_millitokens_per_s),
            speed(speed_facts.millitokens_per_s),
            human_bytes(speed_facts.bytes_per_token)
        );
        out.push_str(&line("engine", &text, columns));
    }
    out
}

fn disk(facts: &Facts) -> String {
    let disk = &facts.disk;
    let mut text =
        format!("{} of {} free at {}", human_bytes(disk.free_bytes), human_bytes(disk.total_bytes), disk.path);
    if let (Some(read), Some(write)) = (disk.read_bytes_per_s, disk.write_bytes_per_s) {
        text.push_str(&format!("; reads {}/s, writes {}/s", human_bytes(read), human_bytes(write)));
    }
    text
}

fn network(interface: &NetworkFacts) -> String {
    let line = match interface.bits_per_s {
        Some(bits) if bits >= 1_000_000_000 => format!(", {}.{} Gbit/s", bits / 1_000_000_000, bits / 100_000_000 % 10),
        Some(bits) => format!(", {} Mbit/s", bits / 1_000_000),
        None => String::new(),
    };
    format!("{}{line}: {}", interface.name, interface.addresses.join(", "))
}

fn memory(memory: &MemoryFacts) -> Vec<String> {
    let budget = match memory.budget_bytes {
        0 => "nothing".to_owned(),
        bytes => human_bytes(bytes),
    };
    let planned = memory.planned.as_ref().map_or_else(String::new, |full| {
        format!("{}, {} %, {}", human_bytes(full.memory.used_bytes), full.percent, full.band.as_str())
    });
    let sizes = [memory.total_bytes, memory.free_bytes, memory.reserve_bytes].map(human_bytes);
    std::iter::once(memory.domain.clone()).chain(sizes).chain([budget, planned]).collect()
}

fn manager(manager: &ManagerFacts) -> Vec<String> {
    let place = match (manager.state, &manager.domain) {
        (Residency::None, _) => format!("short {}", human_bytes(manager.bytes_short)),
        (_, Some(domain)) => domain.clone(),
        (_, None) => "-".to_owned(),
    };
    let unknown = || "-".to_owned();
    vec![
        manager.slot.clone(),
        human_bytes(manager.bytes),
        manager.state.as_str().to_owned(),
        place,
        manager.load_ms.map_or_else(unknown, |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100)),
        manager.millitokens_per_s.map_or_else(unknown, speed),
        manager.model.clone(),
    ]
}
