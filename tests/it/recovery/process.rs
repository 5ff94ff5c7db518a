//! The program in a process of its own, on a stage's database and exchange.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::pipeline::bot::Stage;

/// A running `polymarketspy run`.
pub struct Process(Child);

impl Process {
    pub fn start(stage: &Stage) -> Self {
        Self::start_with(stage, &["run"])
    }

    pub fn start_with(stage: &Stage, arguments: &[&str]) -> Self {
        Self::start_set(stage, arguments, &[])
    }

    /// Starts one with settings besides the stage's, or in place of them.
    pub fn start_set(stage: &Stage, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = command(stage, arguments);
        Self(command.envs(settings.iter().copied()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// Starts one that serves pages, and gives the link that it prints.
    pub fn serving(stage: &Stage, arguments: &[&str]) -> (Self, String) {
        let mut child = command(stage, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Self(child);
        let link = lines.map_while(Result::ok).find(|line| line.contains("/login/"));
        (process, link.expect("it prints a link to its pages").trim().to_owned())
    }

    /// SIGKILL: what it was doing is left as it is.
    pub fn kill(self) {
        drop(self);
    }

    /// Asks it to end; how long it took, and its exit code.
    pub fn terminate(mut self) -> (Duration, Option<i32>) {
        let begun = Instant::now();
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let code = self.0.wait().unwrap().code();
        (begun.elapsed(), code)
    }
}

fn command(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(arguments).envs(stage.environment()).env("LOG_LEVEL", "warn");
    command
}

/// A test that fails leaves no bot behind.
impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
