//! Exit codes of the commands, and the message and code of a command that failed.

use std::process::ExitCode;

use super::terminal::{clean, clean_lines};
use crate::actors::supervise::Failure;

/// The command ran, and its result needs attention: a bot that stopped because an actor kept failing, a backup that was
/// not uploaded.
pub const NEEDS_ATTENTION: u8 = 1;
/// The command could not do its work, or the command line is invalid.
pub const NOT_DONE: u8 = 2;

/// Returns the last line on standard error, and the exit code that goes with it.
pub fn of_error(error: &anyhow::Error) -> (String, ExitCode) {
    // The error may repeat text from outside: a label, a profile name, an answer of an upstream.
    let text = format!("{error:#}");
    if error.is::<Failure>() {
        // A panic message may have several lines; the last line on standard error should hold all of it.
        return (format!("error: {}", clean(&text)), ExitCode::from(NEEDS_ATTENTION));
    }
    (format!("error: {}", clean_lines(&text)), ExitCode::from(NOT_DONE))
}
