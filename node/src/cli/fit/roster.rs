//! `fednode fit --roster FILE`: reads a roster file with the models that are meant for its slots, and prints what becomes of each role
//! on some machines. A roster file is the one of `fednode roster apply`, with `machines`, `model` and `precision` beside.

use std::path::Path;

use serde::Deserialize;

use super::text::notes;
use super::{Failure, FitArgs, MANAGER, Out, columns, places, precision, source, value};
use crate::cli::table::table_within;
use crate::cli::up;
use crate::core::fit::Known;
use crate::core::fit::roster::{Meant, Residency, RoleDocument, RosterDocument, by_priority, nodes, roster};
use crate::core::roster::SlotRoster;
use crate::core::types::human_bytes;

/// Rosters that come with the program: the reference, and those of the documents that it grew out of.
pub(super) const SHIPPED: [(&str, &str); 8] = [
    ("reference", include_str!("../../../rosters/reference.toml")),
    ("sizing-64gb", include_str!("../../../rosters/sizing-64gb.toml")),
    ("sizing-128gb", include_str!("../../../rosters/sizing-128gb.toml")),
    ("sizing-256gb", include_str!("../../../rosters/sizing-256gb.toml")),
    ("sizing-512gb", include_str!("../../../rosters/sizing-512gb.toml")),
    ("sizing-1tb", include_str!("../../../rosters/sizing-1tb.toml")),
    ("syndicate", include_str!("../../../rosters/syndicate.toml")),
    ("cluster", include_str!("../../../rosters/cluster.toml")),
];

/// Machines where neither the roster nor --on names any.
const MACHINE: &str = "griffith";

/// A roster file, taken apart.
pub(crate) struct RosterFile {
    /// The roster as a node takes it.
    pub(crate) roster: SlotRoster,
    /// Its machines.
    machines: Vec<String>,
    /// For each slot the model and the precision that are meant.
    meant: Vec<Planned>,
}

/// What a slot of a roster file says beside what a node takes.
#[derive(Deserialize, Default)]
struct Planned {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    precision: Option<String>,
}

/// The name of the roster in `file`, its slots in the order of their priority, each with the model that is meant for it, and the
/// machines that the file names.
pub(in crate::cli) fn roles(
    known: &Known,
    file: &Path,
    precision: Option<&str>,
) -> Result<(String, Vec<Meant>, Vec<String>), Failure> {
    let read = read(file)?;
    let meant = by_priority(meant(known, &read, precision)?);
    floor(known, &read.roster, &meant)?;
    Ok((read.roster.name, meant, read.machines))
}

pub(super) fn run(out: Out, known: &Known, args: &FitArgs, file: &Path) -> Result<(), Failure> {
    let (name, meant, machines) = roles(known, file, args.precision.as_deref())?;
    let places = places(known, if args.on.is_empty() { &machines } else { &args.on })?;
    let document = roster(&name, &meant, &nodes(&places, args.disk)).map_err(|bug| {
        Failure::failed(format!("the plan does not keep its own rules, which is a bug of fednode: {bug}"))
    })?;
    out.either(&value(&document)?, || text(&document, columns()));
    Ok(())
}

fn read(file: &Path) -> Result<RosterFile, Failure> {
    let shipped = SHIPPED.iter().find(|(name, _)| file == Path::new(name));
    let text = match shipped {
        Some((_, text)) => (*text).to_owned(),
        None => up::read_file(file, up::ROSTER_BYTES_MAX)?,
    };
    parse(&text).map_err(|why| Failure::refused(format!("roster {}: {why}", file.display())))
}

/// Takes a roster file apart: what a node does not take is taken out first.
pub(crate) fn parse(text: &str) -> Result<RosterFile, String> {
    let plain: Result<SlotRoster, toml::de::Error> = toml::from_str(text);
    let mut table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let machines = table.remove("machines");
    let mut more = machines.is_some();
    let machines: Option<Vec<String>> =
        machines.map(toml::Value::try_into).transpose().map_err(|error| format!("machines: {error}"))?;
    let mut meant = Vec::new();
    if let Some(slots) = table.get_mut("slot").and_then(toml::Value::as_array_mut) {
        for slot in slots.iter_mut().filter_map(toml::Value::as_table_mut) {
            let mut own = toml::Table::new();
            for key in ["model", "precision"] {
                own.extend(slot.remove(key).map(|value| (key.to_owned(), value)));
            }
            more |= !own.is_empty();
            meant.push(own.try_into::<Planned>().map_err(|error| error.to_string())?);
        }
    }
    let roster = match plain {
        Ok(roster) => roster,
        // It says where it stands.
        Err(error) if !more => return Err(error.to_string()),
        Err(_) => table.try_into().map_err(|error: toml::de::Error| error.to_string())?,
    };
    roster.check().map_err(|error| error.to_string())?;
    Ok(RosterFile { roster, machines: machines.unwrap_or_else(|| vec![MACHINE.to_owned()]), meant })
}

fn meant(known: &Known, file: &RosterFile, all: Option<&str>) -> Result<Vec<Meant>, Failure> {
    let slots = file.roster.slots.iter().zip(&file.meant);
    let each = slots.map(|(slot, planned)| {
        let model = source::model(known, planned.model.as_deref().unwrap_or(MANAGER))?;
        let name = all.or(planned.precision.as_deref()).or(model.stored.as_deref()).unwrap_or("F16");
        let stored = precision(known, name)?;
        let shape = model.shape_in(stored);
        let whose = planned.model.as_ref().map_or(slot.name.as_str(), |_| model.name.as_str());
        let artifact = format!("{whose} in {}", stored.name);
        let (precision, active_parameters) = (stored.name.clone(), model.active_parameters);
        Ok(Meant { slot: slot.clone(), artifact, model: model.name, precision, shape, active_parameters })
    });
    each.collect()
}

/// A roster's own floor holds, whatever another roster admits.
fn floor(known: &Known, roster: &SlotRoster, meant: &[Meant]) -> Result<(), Failure> {
    let below = meant.iter().find(|meant| {
        roster.requires_f16() && known.precision(&meant.precision).is_none_or(|stored| !stored.meets_f16_floor())
    });
    match below {
        None => Ok(()),
        Some(meant) => Err(Failure::refused(format!(
            "roster {}: its floor is f16, and {} is meant to be {}; managers are never quantised: take a smaller model, more memory or \
             a shorter context",
            roster.name, meant.slot.name, meant.precision
        ))),
    }
}

/// The answer in words.
pub(super) fn text(document: &RosterDocument, columns: usize) -> String {
    let mut out = format!(
        "roster {}: {} roles, {} together\n\n",
        document.roster,
        document.roles.len(),
        human_bytes(document.total_bytes)
    );
    let rows: Vec<Vec<String>> = document.roles.iter().map(role).collect();
    out.push_str(&table_within(&["ROLE", "MODEL", "PRECISION", "MEMORY", "STATE", "WHERE"], &rows, columns));
    out.push('\n');
    let memory = document.memory.iter().map(|full| {
        let memory = &full.memory;
        vec![
            memory.node.clone(),
            format!("{} of {}", human_bytes(memory.used_bytes), human_bytes(memory.budget_bytes)),
            format!("{} %", full.percent),
            full.band.as_str().to_owned(),
            memory.slots.join(", "),
        ]
    });
    let memory: Vec<Vec<String>> = memory.collect();
    out.push_str(&table_within(&["MACHINE", "USED", "", "HEADROOM", "ROLES"], &memory, columns));
    let mut sentences = Vec::new();
    if !document.give_up.is_empty() {
        let given = document.give_up.join(", then ");
        sentences.push(format!("all others fit at once when you give up, in this order: {given}"));
    }
    sentences.extend(document.remedies.iter().map(|remedy| format!("{}: {}", remedy.slot, remedy.why)));
    notes(&mut out, &sentences, columns);
    out
}

fn role(role: &RoleDocument) -> Vec<String> {
    let place = match role.state {
        Residency::Resident => role.on.join(", "),
        Residency::Swap => match role.wait_ms {
            Some(ms) => format!("loaded when asked for, in {}.{} s", ms / 1000, ms % 1000 / 100),
            None => "loaded when asked for".to_owned(),
        },
        Residency::None => format!("short {}", human_bytes(role.bytes_short)),
    };
    let state = role.state.as_str().to_owned();
    vec![role.slot.clone(), role.model.clone(), role.precision.clone(), human_bytes(role.bytes), state, place]
}
