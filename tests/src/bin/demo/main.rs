//! The demo: see `scripts/demo --help`.

use fednode_tests::{Federation, NodeSpec};
use std::time::Duration;

fn main() -> Result<(), fednode_tests::Error> {
    let begin = std::time::Instant::now();
    let mut federation = Federation::new()?;
    federation.create(NodeSpec::full("griffith").memory("128GB"))?;
    eprintln!("{:?}", begin.elapsed());
    federation.join(NodeSpec::full("desktop").memory("150MiB"), "griffith")?;
    federation.join(NodeSpec::delegate("laptop"), "griffith")?;
    eprintln!("{:?}", begin.elapsed());
    federation.publish_all("griffith")?;
    eprintln!("{:?}", begin.elapsed());
    federation.wait_carried_out(Duration::from_secs(60), |m| eprintln!("{:?} {m:?}", begin.elapsed()))?;
    let answer = federation.node("laptop").client().chat("UCM", "Who are you?")?;
    eprintln!("{answer:#?}");
    Ok(())
}
