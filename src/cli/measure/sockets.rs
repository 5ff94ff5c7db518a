//! `polymarketspy measure sockets`: opens many pages, a few of which do not read, and measures what they cost the server.
//!
//! The server has its own process, so that its processor time and memory do not include the thousand browsers here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::socket::{Received, Socket};
use super::visitor::{Visitor, percentile};
use crate::cli::terminal::say_json;
use crate::domain::money::units::Timestamp;

/// Wait after the last announcement: sent batches arrive, and the server finds the full outboxes.
const AFTERWARDS: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub struct SocketsArguments {
    /// Open pages that read.
    #[arg(long, default_value_t = 1_000)]
    sockets: usize,
    /// Open pages that do not read.
    #[arg(long, default_value_t = 5)]
    stalled: usize,
    /// Trades announced per second; each is one frame to every page.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Figures {
    sockets: usize,
    announced: usize,
    /// Sent to no socket: so many trades waited to be rendered that newer ones would have pushed them out of every list.
    left_out: usize,
    /// Processor time of the server divided by the time of the announcements.
    server_cores: f64,
    server_cores_idle: f64,
    server_memory_mb: u64,
    frames_received: usize,
    megabytes_received: f64,
    /// From the announcement to the arrival; pages collect frames for 200 ms.
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    /// Sockets that received, in order, every frame that any of them received.
    complete: usize,
    stalled: usize,
    stalled_cut: usize,
}

/// The server's process and its pipes.
struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

pub async fn sockets(arguments: SocketsArguments) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("no temporary folder for the server's database")?;
    let mut server = Server::start(&format!("sqlite://{}", folder.path().join("sockets.db").display()), &arguments)?;
    let visitor = Visitor::sign_in(server.line()?.trim()).await?;
    let mut open = Vec::with_capacity(arguments.sockets);
    for _ in 0..arguments.sockets {
        open.push(Socket::open(&visitor.origin, &visitor.cookie, false).await?);
    }
    let mut stalled = Vec::with_capacity(arguments.stalled);
    for _ in 0..arguments.stalled {
        stalled.push(Socket::open(&visitor.origin, &visitor.cookie, true).await?);
    }

    let lasts = Duration::from_secs(u64::from(arguments.seconds));
    let idles = Duration::from_secs(2);
    let until = Instant::now() + idles + lasts + AFTERWARDS;
    let listening: Vec<_> = open.into_iter().map(|socket| actix::spawn(socket.listen(until))).collect();
    let idle_before = server.cpu_seconds();
    tokio::time::sleep(idles).await;
    let cpu_before = server.cpu_seconds();
    let begun = Instant::now();
    server.proceed()?;
    tokio::time::sleep(lasts).await;
    let server_cores = (server.cpu_seconds() - cpu_before) / begun.elapsed().as_secs_f64();
    let server_memory_mb = server.memory_mb();
    let mut received = Vec::with_capacity(listening.len());
    for listening in listening {
        received.push(listening.await.context("a listener was cancelled")??);
    }
    server.proceed()?;
    let announced = server.announced()?;
    let mut stalled_cut = 0;
    for socket in stalled {
        stalled_cut += usize::from(socket.was_cut(Instant::now() + Duration::from_secs(2)).await);
    }
    drop(server);

    let idle = (cpu_before - idle_before) / idles.as_secs_f64();
    let figures = Figures::of(&received, &announced, (server_cores, idle, server_memory_mb))
        .with_stalled(arguments.stalled, stalled_cut);
    if arguments.json {
        say_json(&figures)?;
    } else {
        figures.print();
    }
    let fine = figures.complete == figures.sockets && figures.stalled_cut == figures.stalled;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Server {
    fn start(database_url: &str, arguments: &SocketsArguments) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let mut child = Command::new(program)
            .args(["measure", "socket-server"])
            // Not as a flag: it may have a password.
            .env("DATABASE_URL", database_url)
            .args(["--rate", &arguments.rate.to_string(), "--seconds", &arguments.seconds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let input = child.stdin.take().context("the server has no input")?;
        let output = BufReader::new(child.stdout.take().context("the server has no output")?);
        Ok(Self { child, input, output })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).context("cannot read from the server")?;
        anyhow::ensure!(read > 0, "the server has ended");
        Ok(line)
    }

    /// Lets the server take its next step.
    fn proceed(&mut self) -> anyhow::Result<()> {
        self.input.write_all(b"go\n").and_then(|()| self.input.flush()).context("cannot write to the server")
    }

    /// Reads the time of each announcement, by its number.
    fn announced(&mut self) -> anyhow::Result<BTreeMap<u64, Timestamp>> {
        let mut announced = BTreeMap::new();
        loop {
            let line = self.line()?;
            let Some((seq, at)) = line.trim().split_once(' ') else { return Ok(announced) };
            announced.insert(seq.parse()?, Timestamp::from_millis(at.parse()?));
        }
    }

    /// Returns user and system time; the kernel counts in hundredths of a second.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let fields: Vec<f64> = after_name.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
        (fields.get(11).copied().unwrap_or_default() + fields.get(12).copied().unwrap_or_default()) / 100.0
    }

    fn memory_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let text = status.lines().find_map(|text| text.strip_prefix("VmHWM:")).unwrap_or_default();
        text.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default() / 1024
    }
}

impl Drop for Server {
    /// Ends the server also when the measurement failed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Figures {
    fn of(received: &[Received], announced: &BTreeMap<u64, Timestamp>, (cores, idle, memory): (f64, f64, u64)) -> Self {
        let mut latencies: Vec<f64> = received
            .iter()
            .flat_map(|socket| &socket.rows)
            .filter_map(|(seq, at)| Some(at.millis_since(*announced.get(seq)?) as f64))
            .collect();
        latencies.sort_by(f64::total_cmp);
        let sent: BTreeSet<u64> = received.iter().flat_map(|socket| &socket.rows).map(|(seq, _)| *seq).collect();
        let all = |socket: &&Received| socket.rows.iter().map(|(seq, _)| seq).eq(&sent);
        Self {
            sockets: received.len(),
            announced: announced.len(),
            left_out: announced.keys().filter(|seq| !sent.contains(seq)).count(),
            server_cores: cores,
            server_cores_idle: idle,
            server_memory_mb: memory,
            frames_received: received.iter().map(|socket| socket.rows.len()).sum(),
            megabytes_received: received.iter().map(|socket| socket.bytes).sum::<u64>() as f64 / 1e6,
            latency_p50_ms: percentile(&latencies, 50),
            latency_p99_ms: percentile(&latencies, 99),
            latency_max_ms: percentile(&latencies, 100),
            complete: received.iter().filter(all).count(),
            stalled: 0,
            stalled_cut: 0,
        }
    }

    fn with_stalled(self, stalled: usize, stalled_cut: usize) -> Self {
        Self { stalled, stalled_cut, ..self }
    }

    fn print(&self) {
        println!("{:<34} {} ({} left out of full lists)", "trades announced", self.announced, self.left_out);
        println!(
            "{:<34} {:.2} (idle {:.2})",
            "processor cores of the server", self.server_cores, self.server_cores_idle
        );
        println!("{:<34} {} MB", "memory of the server, peak", self.server_memory_mb);
        println!("{:<34} {} ({:.0} MB)", "frames received", self.frames_received, self.megabytes_received);
        println!(
            "{:<34} p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
            "announced to received", self.latency_p50_ms, self.latency_p99_ms, self.latency_max_ms
        );
        println!("{:<34} {} of {}", "sockets with every frame, in order", self.complete, self.sockets);
        println!("{:<34} {} of {}", "stalled sockets cut", self.stalled_cut, self.stalled);
    }
}
