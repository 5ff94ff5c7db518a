//! The `polymarketspy` program; see `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    polymarketspy::cli::main()
}
