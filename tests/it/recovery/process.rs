//! The program in its own process, on the database and the exchange of a [`TestBot`].

use polymarketspy::testkit::TestBot;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The log of a process, read to its end.
pub struct Log(JoinHandle<String>);

impl Log {
    /// Returns the whole log of a process that has ended.
    pub fn text(self) -> String {
        self.0.join().unwrap()
    }
}

/// A running `polymarketspy run`.
pub struct Process(Child);

impl Process {
    pub fn start(bot: &TestBot) -> Self {
        Self::start_with(bot, &["run"])
    }

    pub fn start_with(bot: &TestBot, arguments: &[&str]) -> Self {
        Self::start_set(bot, arguments, &[])
    }

    /// Starts a process; `settings` are added to the environment of the bot or replace parts of it.
    pub fn start_set(bot: &TestBot, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = command(bot, arguments);
        Self(command.envs(settings.iter().copied()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// Starts a process that serves pages; returns it and the login link that it prints.
    pub fn serving(bot: &TestBot, arguments: &[&str]) -> (Self, String) {
        let mut child = command(bot, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Self(child);
        let link = lines.map_while(Result::ok).find(|line| line.contains("/login/"));
        (process, link.expect("the process prints a login link").trim().to_owned())
    }

    /// Starts a process whose log is read.
    pub fn logging(bot: &TestBot, arguments: &[&str], settings: &[(&str, &str)]) -> (Self, Log) {
        let mut command = command(bot, arguments);
        let mut child =
            command.envs(settings.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            errors.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        (Self(child), Log(reader))
    }

    /// Limits the size of the files that the process may write, as `ulimit -f` does; `None` lifts the limit.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, ..getrlimit(Resource::Fsize) };
        prlimit(Some(Pid::from_child(&self.0)), Resource::Fsize, limit).unwrap();
    }

    /// Returns whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits until the process ends by itself; returns its exit code.
    pub fn ended(&mut self, within: Duration) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < within, "the process still runs after {within:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// Sends SIGKILL: unfinished work is left as it is.
    pub fn kill(self) {
        drop(self);
    }

    /// Sends SIGTERM; returns how long the process took to end, and its exit code.
    pub fn terminate(mut self) -> (Duration, Option<i32>) {
        let begun = Instant::now();
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let code = self.0.wait().unwrap().code();
        (begun.elapsed(), code)
    }
}

fn command(bot: &TestBot, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(arguments).envs(bot.environment()).env("LOG_LEVEL", "warn");
    command
}

/// Ends the process, so that a test that fails leaves no bot behind.
impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already; then both calls fail, which does no harm.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
