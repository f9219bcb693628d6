//! The demo's command line. `scripts/demo --help` prints the same help.

pub(crate) const HELP: &str = include_str!("help.txt");

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
