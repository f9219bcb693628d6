//! How long a plan takes: `cargo bench -p fednode --no-default-features --bench placement`. With `-- --table` it prints how the
//! time grows with the fleet instead, as in ARCHITECTURE.md. Fleets are made up here; nothing is read and nothing runs.

use std::time::Instant;

use criterion::{BenchmarkId, Criterion};
use fednode::core::membership::advert::DomainKind;
use fednode::core::placement::plan::Plan;
use fednode::core::placement::problem::{ArtifactInput, DomainInput, NodeInput, Problem, RoleWanted, SlotInput};
use fednode::core::placement::{check, solve};
use fednode::core::roster::SlotPolicy;
use fednode::core::sizing::Footprint;
use fednode::core::types::{Digest, NodeId, SlotName};

const GIB: u64 = 1 << 30;
const SLOTS: usize = 64;
const FLEETS: [usize; 6] = [8, 32, 128, 512, 2048, 5000];
/// The reference manager: weights, and what one replica needs beside them at context 4096.
const WEIGHTS: u64 = 13_481_025_536;
const OWN: u64 = 3 * GIB;

/// How much memory there is.
#[derive(Clone, Copy, PartialEq)]
enum Fleet {
    /// Desktops, servers and GPU boxes: room for everything once there are some dozens.
    Mixed,
    /// So little that not all managers fit, or barely, whatever the number of machines.
    Scarce,
}

fn node(index: usize, nodes: usize, fleet: Fleet) -> NodeInput {
    let id = NodeId(Digest::of(&(index as u64).to_le_bytes()).0);
    let domain = |name: &str, kind, gib: u64| DomainInput { name: name.to_owned(), kind, budget_bytes: gib * GIB };
    let hosts = SLOTS * 3 / 4;
    let ram = match fleet {
        Fleet::Mixed => [16, 20, 32, 32, 48, 64, 64, 128][index % 8],
        // As many machines as may host hold one manager each; the rest are laptops.
        Fleet::Scarce if nodes <= hosts => 17 * (hosts / nodes) as u64,
        Fleet::Scarce => 12 + 5 * u64::from(index.is_multiple_of(nodes / hosts)),
    };
    let mut domains = vec![domain("ram", DomainKind::Ram, ram)];
    if fleet == Fleet::Mixed && index.is_multiple_of(10) {
        domains.extend(["gpu0", "gpu1"].map(|name| domain(name, DomainKind::Vram, 24)));
    }
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    NodeInput {
        id,
        name: format!("n{index}"),
        role: RoleWanted::Auto,
        disk_free_bytes: [120, 250, 500, 2000][index % 4] * GIB,
        load_bytes_per_s: GIB,
        link_bytes_per_s: 100 << 20,
        domains,
        holds: Vec::new(),
        claimed: Vec::new(),
        recent: false,
    }
}

fn slot(index: usize) -> SlotInput {
    // One in four is an adapter of a base that it shares.
    let base = Digest::of(&[if index.is_multiple_of(4) { index % 16 } else { 100 + index } as u8]);
    SlotInput {
        name: SlotName::new(&format!("S{index}")).expect("a slot's name"),
        base: ArtifactInput { artifact: base, bytes: WEIGHTS },
        adapters: Vec::new(),
        footprint: Footprint {
            weights_bytes: WEIGHTS,
            kv_bytes: OWN + (index as u64 % 5) * (GIB / 16),
            ..Footprint::default()
        },
        context: 4096,
        parallel: 1,
        replicas: 1 + (index % 3) as u32,
        policy: if index.is_multiple_of(3) { SlotPolicy::Pinned } else { SlotPolicy::Swappable },
        demand_per_hour: (index * 37 % 101) as u32,
        wanted_rank: None,
        pinned_on: Vec::new(),
        last_wanted: 0,
    }
}

fn problem(nodes: usize, fleet: Fleet) -> Problem {
    let nodes = (0..nodes).map(|index| node(index, nodes, fleet)).collect();
    Problem { nodes, slots: (0..SLOTS).map(slot).collect(), ..Problem::default() }.sorted()
}

/// The same with its own plan behind it: what a coordinator does most.
fn again(problem: &Problem, plan: &Plan) -> Problem {
    let known = problem.nodes.iter().map(|node| node.id).collect();
    Problem { previous: plan.replicas.clone(), known, ..problem.clone() }.sorted()
}

fn planned(problem: &Problem) -> Plan {
    let plan = solve(problem);
    assert_eq!(check(problem, &plan), Ok(()));
    plan
}

fn bench(criterion: &mut Criterion) {
    for (name, fleet) in [("mixed", Fleet::Mixed), ("scarce", Fleet::Scarce)] {
        let mut group = criterion.benchmark_group(format!("placement-{name}"));
        group.sample_size(10);
        for nodes in [32, 5000] {
            let problem = problem(nodes, fleet);
            group.bench_with_input(BenchmarkId::new("anew", nodes), &problem, |b, problem| b.iter(|| planned(problem)));
            let again = again(&problem, &solve(&problem));
            group.bench_with_input(BenchmarkId::new("again", nodes), &again, |b, again| b.iter(|| planned(again)));
        }
        group.finish();
    }
}

/// The median of five, milliseconds.
fn median_ms(problem: &Problem) -> f64 {
    let time = |_| {
        let begun = Instant::now();
        std::hint::black_box(planned(problem));
        begun.elapsed().as_secs_f64() * 1000.0
    };
    let mut times: Vec<f64> = (0..5).map(time).collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

fn table() {
    println!("| machines × {SLOTS} slots | replicas | mixed: anew | again | replicas | scarce: anew | again |");
    println!("|---|---|---|---|---|---|---|");
    for nodes in FLEETS {
        let mut row = format!("| {nodes} |");
        for fleet in [Fleet::Mixed, Fleet::Scarce] {
            let problem = problem(nodes, fleet);
            let plan = solve(&problem);
            let again = again(&problem, &plan);
            row += &format!(" {} | {:.1} ms | {:.1} ms |", plan.replicas.len(), median_ms(&problem), median_ms(&again));
        }
        println!("{row}");
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--table") {
        return table();
    }
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}
