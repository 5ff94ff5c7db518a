//! The `polymarketspy` program; its code is in [`polymarketspy::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    polymarketspy::cli::main()
}
