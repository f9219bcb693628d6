//! GPUs and their memory, each a domain of its own. A build whose engine computes on GPUs asks the engine which it can use,
//! in a process of its own, for a driver can hang whoever starts it. What is free comes from their makers' drivers: AMD's
//! through sysfs, NVIDIA's through `nvidia-smi`, which is run only where its driver is loaded, waited for no longer than three
//! seconds, and believed only if every line is as it should be. What cannot be read becomes a note, never a guess. Called by
//! `hardware`.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Device, FOR_GPUS, own_program};

/// How long `nvidia-smi` may take; a driver that hangs must not hang the node.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Between two looks whether it is done.
const WAIT_STEP: Duration = Duration::from_millis(20);
/// Its answer: a line of some 80 bytes for each of at most some dozen GPUs, or as much JSON from the engine.
const ANSWER_BYTES_MAX: u64 = 16 << 10;
/// The engine starts every driver there is; the first start after boot takes seconds for each GPU.
const ENGINE_WAIT_MAX: Duration = Duration::from_secs(30);

/// One GPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gpu {
    /// What stays the same wherever the card is put: its maker's number for it; empty if nobody knows.
    pub id: String,
    /// As its maker calls it.
    pub model: String,
    /// All of its memory, bytes.
    pub total_bytes: u64,
    /// What nobody uses, bytes.
    pub free_bytes: u64,
    /// Its place on the bus, such as `0000:c1:00.0`; empty if nobody knows.
    pub pci: String,
    /// What the engine calls it; `None`: the engine cannot use it.
    pub device: Option<String>,
    /// It computes in the machine's memory and has none of its own.
    pub integrated: bool,
}

/// All GPUs, and what went wrong on the way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gpus {
    /// NVIDIA's first, then AMD's, each in the order of their numbers.
    pub found: Vec<Gpu>,
    /// For people: why some may be missing.
    pub notes: Vec<String>,
}

/// Looks for GPUs: those that the engine can use, or else all that have a driver.
pub fn read() -> Gpus {
    let asked = if FOR_GPUS { ask_engine() } else { Ok(Vec::new()) };
    match asked {
        Ok(found) if !found.is_empty() => Gpus { found: with_ids(found, &of_drivers().found), notes: Vec::new() },
        Ok(_) => of_drivers(),
        Err(why) => {
            let mut gpus = of_drivers();
            gpus.notes.push(format!("no GPU is used: {why}"));
            gpus
        }
    }
}

/// Reads again what nobody uses of those that the engine can use. One that no longer tells keeps its last answer.
pub fn refresh(gpus: &mut [Gpu]) {
    if gpus.iter().all(|gpu| gpu.device.is_none()) {
        return;
    }
    let told = of_drivers().found;
    let by_bus = |gpu: &Gpu| told.iter().find(|known| !known.pci.is_empty() && known.pci == gpu.pci);
    let known: Vec<Option<u64>> = gpus.iter().map(|gpu| by_bus(gpu).map(|known| known.free_bytes)).collect();
    // The engine's own answer costs a process that starts every driver.
    let asked = if known.iter().all(Option::is_some) { Vec::new() } else { ask_engine().unwrap_or_default() };
    for (gpu, known) in gpus.iter_mut().zip(known) {
        let engine = || asked.iter().find(|asked| asked.device == gpu.device).map(|asked| asked.free_bytes);
        gpu.free_bytes = known.or_else(engine).unwrap_or(gpu.free_bytes);
    }
}

/// The engine does not know their makers' numbers; drivers do.
fn with_ids(mut found: Vec<Gpu>, told: &[Gpu]) -> Vec<Gpu> {
    for gpu in &mut found {
        let same = told.iter().find(|known| !known.pci.is_empty() && known.pci == gpu.pci);
        gpu.id = same.map(|known| known.id.clone()).unwrap_or_default();
    }
    found
}

fn ask_engine() -> Result<Vec<Gpu>, String> {
    let mut command = Command::new(own_program()?);
    command.args(["engine", "--devices"]);
    let answer = run_bounded(command, ENGINE_WAIT_MAX)?;
    let devices: Vec<Device> =
        serde_json::from_str(&answer).map_err(|error| format!("the engine's list of GPUs cannot be read: {error}"))?;
    let gpu = |device: Device| Gpu {
        id: String::new(),
        model: device.model,
        total_bytes: device.total_bytes,
        free_bytes: device.free_bytes,
        pci: device.pci,
        device: Some(device.name),
        integrated: device.integrated,
    };
    Ok(devices.into_iter().map(gpu).collect())
}

fn of_drivers() -> Gpus {
    let mut gpus = Gpus::default();
    if fs::read_dir("/proc/driver/nvidia/gpus").is_ok_and(|mut entries| entries.next().is_some()) {
        match ask_nvidia().and_then(|answer| parse_nvidia(&answer)) {
            Ok(found) => gpus.found.extend(found),
            Err(why) => gpus.notes.push(format!("NVIDIA GPUs are present but not counted: {why}")),
        }
    }
    gpus.found.extend(read_amd(Path::new("/sys/class/drm")));
    gpus
}

/// Lines of `index, uuid, pci.bus_id, name, memory.total, memory.free` in MiB. One bad line spoils the answer.
fn parse_nvidia(answer: &str) -> Result<Vec<Gpu>, String> {
    let gpus = answer.lines().filter(|line| !line.trim().is_empty()).enumerate().map(|(number, line)| {
        let unexpected = || format!("nvidia-smi printed {:?}", line.chars().take(80).collect::<String>());
        // From both ends, because a name may hold a comma.
        let (index, rest) = line.split_once(", ").ok_or_else(unexpected)?;
        let (id, rest) = rest.split_once(", ").ok_or_else(unexpected)?;
        let (bus, rest) = rest.split_once(", ").ok_or_else(unexpected)?;
        let (rest, free) = rest.rsplit_once(", ").ok_or_else(unexpected)?;
        let (name, total) = rest.rsplit_once(", ").ok_or_else(unexpected)?;
        let mebibytes = |text: &str| text.trim().parse::<u64>().ok()?.checked_mul(1 << 20);
        match (index.trim().parse::<usize>(), mebibytes(total), mebibytes(free)) {
            (Ok(index), Some(total_bytes), Some(free_bytes)) if index == number && free_bytes <= total_bytes => {
                let gpu = by_driver(name.trim().to_owned(), total_bytes, free_bytes);
                Ok(Gpu { id: id.trim().to_owned(), pci: short_bus(bus), ..gpu })
            }
            _ => Err(unexpected()),
        }
    });
    gpus.collect()
}

/// NVIDIA writes a bus's domain with eight digits, everybody else with four.
fn short_bus(bus: &str) -> String {
    let bus = bus.trim().to_ascii_lowercase();
    bus.strip_prefix("0000").filter(|short| short.len() == "0000:00:00.0".len()).map_or(bus.clone(), str::to_owned)
}

fn by_driver(model: String, total_bytes: u64, free_bytes: u64) -> Gpu {
    Gpu { id: String::new(), model, total_bytes, free_bytes, pci: String::new(), device: None, integrated: false }
}

fn ask_nvidia() -> Result<String, String> {
    let mut command = Command::new("nvidia-smi");
    command.args(["--query-gpu=index,uuid,pci.bus_id,name,memory.total,memory.free", "--format=csv,noheader,nounits"]);
    run_bounded(command, WAIT_MAX)
}

/// Runs `command` and gives what it printed; kills it when it takes longer than `wait`.
fn run_bounded(mut command: Command, wait: Duration) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("cannot run {program}: {error}"))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < wait => thread::sleep(WAIT_STEP),
            Ok(None) => {
                // Neither may fail in a way that matters: the answer is no in any case.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(format!("{program} did not answer within {} s", wait.as_secs_f32()));
            }
            Err(error) => return Err(format!("cannot wait for {program}: {error}")),
        }
    };
    if !status.success() {
        return Err(format!("{program} failed ({status})"));
    }
    let mut answer = String::new();
    let output = child.stdout.take().ok_or("its output is gone")?;
    output.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(|error| format!("{program}: {error}"))?;
    Ok(answer)
}

/// AMD's driver states each card's memory in files. Cards without them are other makers'.
fn read_amd(root: &Path) -> Vec<Gpu> {
    let mut cards: Vec<(u32, Gpu)> = Vec::new();
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    for entry in entries.flatten() {
        let name = entry.file_name();
        // `card0` is a card; `card0-DP-1` is a socket on it.
        let Some(number) = name.to_str().and_then(|name| name.strip_prefix("card")?.parse().ok()) else { continue };
        let device = entry.path().join("device");
        let bytes = |name: &str| fs::read_to_string(device.join(name)).ok()?.trim().parse::<u64>().ok();
        if let (Some(total_bytes), Some(used)) = (bytes("mem_info_vram_total"), bytes("mem_info_vram_used")) {
            let model = fs::read_to_string(device.join("product_name")).unwrap_or_default().trim().to_owned();
            let model = if model.is_empty() { "AMD GPU".to_owned() } else { model };
            // The device's folder is a link to the one that is called as its place on the bus.
            let folder = fs::canonicalize(&device).unwrap_or_default();
            let pci = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let id = fs::read_to_string(device.join("unique_id")).unwrap_or_default().trim().to_owned();
            let gpu = by_driver(model, total_bytes, total_bytes.saturating_sub(used));
            cards.push((number, Gpu { id, pci, ..gpu }));
        }
    }
    cards.sort_by_key(|(number, _)| *number);
    cards.into_iter().map(|(_, gpu)| gpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvidias_answer_is_read_strictly() {
        let two = "0, GPU-a0, 00000000:C1:00.0, NVIDIA GeForce RTX 4090, 24564, 23010\n\
                   1, GPU-a1, 00000001:02:00.0, Some GPU, 8 GB, 8192, 8192\n";
        let gpus = parse_nvidia(two).unwrap();
        assert_eq!(gpus[0].model, "NVIDIA GeForce RTX 4090");
        assert_eq!((gpus[0].total_bytes, gpus[0].free_bytes), (24564 << 20, 23010 << 20));
        assert_eq!(gpus[1].model, "Some GPU, 8 GB");
        assert_eq!((gpus[0].id.as_str(), gpus[1].id.as_str()), ("GPU-a0", "GPU-a1"));
        assert_eq!((gpus[0].pci.as_str(), gpus[1].pci.as_str()), ("0000:c1:00.0", "0001:02:00.0"));
        assert_eq!(parse_nvidia("").unwrap(), []);
        for bad in [
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
            "0, GPU-a0, 00000000:01:00.0, NVIDIA GH200, [N/A], [N/A]",
            "0, GPU-a0, 00000000:01:00.0, X, 100",
            "1, GPU-a0, 00000000:01:00.0, X, 100, 100",
            "0, GPU-a0, 00000000:01:00.0, X, 100, 101",
            "0, GPU-a0, 00000000:01:00.0, X, 100, -1",
            "0, GPU-a0, 00000000:01:00.0, X, 100 MiB, 100 MiB",
            "0, GPU-a0, 00000000:01:00.0, X, 18446744073709551615, 1",
            "0, GPU-a0, 00000000:01:00.0, X, 100, 50\ngarbage",
        ] {
            assert!(parse_nvidia(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn amds_cards_are_found_in_order_and_sockets_are_not_cards() {
        let root = tempfile::tempdir().unwrap();
        let card = |name: &str, total: &str| {
            let device = root.path().join(name).join("device");
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("mem_info_vram_total"), total).unwrap();
            fs::write(device.join("mem_info_vram_used"), "1073741824\n").unwrap();
        };
        card("card10", "8589934592\n");
        card("card1", "17179869184\n");
        card("card1-DP-1", "1\n");
        card("card2", "nonsense\n");
        fs::create_dir_all(root.path().join("card3/device")).unwrap();
        fs::write(root.path().join("card1/device/unique_id"), "a7c1\n").unwrap();
        let ids: Vec<String> = read_amd(root.path()).into_iter().map(|gpu| gpu.id).collect();
        assert_eq!(ids, ["a7c1", ""]);
        let free: Vec<u64> = read_amd(root.path()).iter().map(|gpu| gpu.free_bytes >> 30).collect();
        assert_eq!(free, [15, 7]);
        assert_eq!(read_amd(&root.path().join("absent")), []);
    }

    #[test]
    fn a_program_that_hangs_fails_or_is_absent_is_only_a_reason() {
        let shell = |script: &str, wait| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            run_bounded(command, wait)
        };
        assert!(shell("exec sleep 60", Duration::ZERO).unwrap_err().contains("did not answer"));
        let patient = Duration::from_secs(60);
        assert!(shell("exit 9", patient).unwrap_err().contains("failed"));
        assert!(run_bounded(Command::new("/no/such/program"), patient).is_err());
        assert_eq!(shell("echo 0, X, 2, 1", patient).unwrap(), "0, X, 2, 1\n");
    }
}
