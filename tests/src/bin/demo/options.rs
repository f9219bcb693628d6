//! The demo's command line. `scripts/demo --help` prints this help too.

pub(crate) const HELP: &str = "\
Shows a whole federation on this machine: three fednode processes on loopback, in one
temporary directory. griffith holds all seven managers, desktop has room for two and
swaps, laptop holds none and forwards. The managers are tiny trained models; every answer
is compared with the known one.

Usage: scripts/demo [--chaos] [--keep] [--json]

  --chaos  afterwards kill -9 griffith in the middle of an answer, then ask for all seven
           managers again: desktop must take over
  --keep   leave the federation running, and say where it is and how to stop it
  --json   print the result as JSON; what happens meanwhile goes to standard error
  --help   this text

Exits 0 if everything was as it should be, 1 if not, 2 for wrong use.
";

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Options {
    pub(crate) chaos: bool,
    pub(crate) keep: bool,
    pub(crate) json: bool,
}

impl Options {
    /// None for `--help`.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options::default();
        for arg in args {
            match arg.as_str() {
                "--chaos" => options.chaos = true,
                "--keep" => options.keep = true,
                "--json" => options.json = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown argument {other:?}")),
            }
        }
        Ok(Some(options))
    }
}
