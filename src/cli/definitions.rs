//! `vouchsafe definitions …`: packs and sets looked at before they are committed.

use super::policy::{Files, Kind, check};
use clap::Subcommand;
use std::process::ExitCode;

/// `vouchsafe definitions …`
#[derive(Debug, Subcommand)]
pub enum DefinitionsCommand {
    /// Say everything that is wrong with packs and sets; exit code 1 when something is refused.
    Check(Files),
}

pub(crate) fn run(command: DefinitionsCommand) -> anyhow::Result<ExitCode> {
    match command {
        DefinitionsCommand::Check(args) => check(&args, &[Kind::Pack, Kind::Set]),
    }
}
