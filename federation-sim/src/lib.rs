//! A deterministic simulator of a whole federation. Every node runs fednode's own `core::machine::Machine`; what nodes
//! say to each other goes through fednode's own wire codec; the world around them (time, links, disks, engines, people,
//! faults) is made up here, from one seed.
//!
//! A scenario and a seed first expand into a [`schedule::Run`], plain data, so that whatever failed can be saved and
//! replayed; [`world::World`] then plays it. All arithmetic that influences a run is in integers and all containers are
//! ordered, so that a run has the same trace on every machine. Floating point appears only in what is printed.
//!
//! What is modelled coarsely is said where it is modelled: bandwidth in [`flows`], engines in `world::serving`,
//! connections in `world::links`.

pub mod checkers;
pub mod codec;
pub mod flows;
pub mod fuzz;
pub mod recording;
pub mod report;
pub mod rng;
pub mod scenario;
pub mod schedule;
pub mod study;
pub mod workload;
pub mod world;
