//! RUNBOOKS.md, run line by line: the text of its blocks, with the paths of this machine and with stand-ins for Docker
//! and systemd (`runbooks/`), against the program, PostgreSQL and Redis.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use actix_web::cookie::Cookie;
use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::db::Db;
use polymarketspy::domain::accounting::ledger::PortfolioId;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::queue::{self, Failed, JobScope, NewJob, Queue};
use polymarketspy::simulator::routes::github::{CLIENT_ID, CLIENT_SECRET};
use polymarketspy::simulator::{Fill, NewMarket, wallet_of};
use polymarketspy::testkit::{TestBot, eventually, test_client};

use super::deploy::free_port;
use crate::recovery::kill::{Crowd, n_trades};
use crate::web::sign_in::CurrentUser;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TEXT: &str = include_str!("../../../../RUNBOOKS.md");
const ALERTS: &str = include_str!("../../../../docker/alerts.yml");
const SCRAPED: &str = include_str!("../../../../src/health/scrape.rs");
const OURSELVES: &str = include_str!("mod.rs");

/// A block of commands and the text after it, which says how the block was verified.
struct Block {
    text: String,
    note: String,
}

fn blocks() -> Vec<Block> {
    let parts = TEXT.split("\n```sh\n").skip(1).map(|part| part.split_once("\n```\n").expect(part));
    parts.map(|(text, note)| Block { text: text.to_owned(), note: note.to_owned() }).collect()
}

/// Returns the blocks that a test of this name has to run, in order.
fn blocks_of(test: &str) -> Vec<String> {
    let named = format!("*Test: `{test}`");
    blocks().into_iter().filter(|block| block.note.contains(&named)).map(|block| block.text).collect()
}

/// A droplet: a folder with the files of its disk, and the services as processes.
struct Droplet {
    bot: TestBot,
    folder: tempfile::TempDir,
    /// Which block of the document defines the command `polymarketspy` for the shell: 0 with Docker, 1 without.
    way_in: usize,
    base: String,
}

impl Droplet {
    /// A droplet with Docker whose services run.
    async fn new() -> Self {
        let droplet = Self::bare(TestBot::shared().await, 0);
        droplet.copy("docker/.env.example", "docker/.env");
        droplet.fill_in();
        droplet.run("docker compose up -d");
        droplet
    }

    fn bare(bot: TestBot, way_in: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let droplet = Self { bot, folder, way_in, base: format!("http://127.0.0.1:{port}") };
        for name in ["bin", "stand", "docker"] {
            std::fs::create_dir(droplet.path(name)).unwrap();
        }
        for name in ["docker", "systemctl"] {
            symlink(format!("{ROOT}/tests/it/runbooks/{name}"), droplet.path("bin").join(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_polymarketspy"), droplet.path("bin/polymarketspy")).unwrap();
        // Every process gets all of them. The test of the compose file checks which service gets which.
        let mut settings: Vec<(&str, String)> = droplet.bot.environment();
        settings.retain(|(name, _)| *name != "BIND");
        let (server, database) = droplet.url().rsplit_once('/').unwrap();
        settings.extend([
            ("BIND", format!("127.0.0.1:{port}")),
            ("REAL_IP_HEADER", "X-Real-IP".to_owned()),
            ("BACKUPS", droplet.path("backups").display().to_string()),
            ("DATABASE_SERVER", server.to_owned()),
            ("DATABASE_NAME", database.to_owned()),
        ]);
        let lines: String = settings.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
        std::fs::write(droplet.path("stand/settings"), lines).unwrap();
        droplet
    }

    fn url(&self) -> &str {
        self.bot.settings().database.url.reveal()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(Path::new(ROOT).join(from), self.path(to)).unwrap();
    }

    /// Writes the operator's values into `.env`, with the simulator in place of GitHub and Polymarket.
    fn fill_in(&self) {
        let exchange = &self.bot.exchange;
        let given = [
            ("PUBLIC_URL", self.base.clone()),
            ("GITHUB_CLIENT_ID", CLIENT_ID.to_owned()),
            ("GITHUB_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("ADMIN_EMAIL", "ada@example.org".to_owned()),
            ("GITHUB_BASE_URL", exchange.github_base()),
            ("POLYMARKET_DATA_API_BASE_URL", exchange.data_api_base()),
            ("POLYMARKET_CLOB_BASE_URL", exchange.clob_base()),
            ("POLYMARKET_GAMMA_BASE_URL", exchange.gamma_base()),
        ];
        let file = self.path("docker/.env");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| {
            let name = line.split('=').next().unwrap_or_default();
            match given.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => format!("{name}={value}\n"),
                None if line == "SESSION_SECRET=" => format!("{line}{}\n", "s".repeat(64)),
                None => format!("{line}\n"),
            }
        });
        std::fs::write(&file, lines.collect::<String>()).unwrap();
    }

    /// Runs a text of the document in the shell.
    fn try_to_run(&self, text: &str) -> Output {
        let here = |name: &str| self.path(name).display().to_string();
        let text = format!("{}\n{text}", blocks()[self.way_in].text)
            .replace("/opt/polymarketspy/docker", &here("docker"))
            .replace("/var/backups/polymarketspy", &here("backups"))
            .replace("/var/lib/polymarketspy", &here("lib"))
            .replace("/usr/local/bin/polymarketspy", env!("CARGO_BIN_EXE_polymarketspy"))
            .replace("/var/www/acme", &here("acme"))
            .replace("sudo -u polymarketspy ", "env ")
            .replace("https://your.name", &self.base);
        let path = format!("{}:{}", here("bin"), std::env::var("PATH").unwrap());
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", &text])
            .current_dir(self.path("docker"))
            .env("PATH", path)
            .env("STAND", self.path("stand"))
            .output()
            .unwrap()
    }

    /// Runs a text that must end with exit code 0; returns its output.
    #[track_caller]
    fn run(&self, text: &str) -> String {
        let output = self.try_to_run(text);
        let (told, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}\n{told}\n{complaint}\n{}", self.logs());
        told.into_owned()
    }

    fn logs(&self) -> String {
        let files = std::fs::read_dir(self.path("stand")).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|file| file.extension().is_some_and(|ending| ending == "log"));
        logs.map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }

    /// Waits until the pages answer.
    async fn is_up(&self) {
        let asked = async || test_client().get(format!("{}/api/health", self.base)).send().await.ok();
        eventually("the pages", asked).await;
    }

    /// Returns the status of a page for this session.
    async fn status_for(&self, visitor: &CurrentUser) -> u16 {
        let port = self.base.rsplit_once(':').unwrap().1;
        let cookie = Cookie::new(format!("polymarketspy-{port}"), visitor.cookie.clone());
        let asked = test_client().get(format!("{}/api/overview", self.base)).cookie(cookie).send().await;
        asked.unwrap().status().as_u16()
    }
}

impl Drop for Droplet {
    fn drop(&mut self) {
        for file in std::fs::read_dir(self.path("stand")).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "pid") {
                let pid = std::fs::read_to_string(file).unwrap();
                // The process may have ended already.
                let _ = Command::new("kill").args(["-KILL", pid.trim()]).output();
            }
        }
    }
}

#[test]
fn every_block_says_who_ran_it_and_every_test_it_names_is_there() {
    for block in blocks() {
        let said = ["*Test: ", "*By hand, ", "*Not run"].iter().any(|beginning| block.note.contains(beginning));
        assert!(said, "{}", block.text);
        for name in block.note.split("*Test: `").skip(1).map(|rest| rest.split('`').next().unwrap()) {
            assert!(OURSELVES.contains(&format!("async fn {name}()")), "{name}");
        }
    }
}

#[test]
fn every_alert_has_its_section_and_asks_for_what_is_measured() {
    let alerts: BTreeSet<&str> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: BTreeSet<&str> = TEXT.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(alerts, sections);
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
    for line in ALERTS.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        for rest in line.match_indices("polymarketspy_").map(|(at, _)| &line[at..]) {
            let name = rest.split(|c| !is_of_name(c)).next().unwrap();
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(SCRAPED.contains(&format!("\"{family}\"")), "{name}");
        }
    }
    for section in TEXT.split("\n### ").skip(1) {
        for part in ["**Symptom**", "**Check**", "**Command**", "**It worked**"] {
            assert!(section.contains(part), "{part} of {}", section.lines().next().unwrap());
        }
    }
}

#[actix::test]
async fn back_up_and_restore_without_docker() {
    // The systemd unit runs in the folder of the test's bot, on its database.
    let bot = TestBot::new().await;
    let mut crowd = Crowd::gather(&bot).await;
    let droplet = Droplet::bare(bot, 1);
    let file = droplet.url().strip_prefix("sqlite:").unwrap().to_owned();
    std::fs::create_dir(droplet.path("lib")).unwrap();
    let place = droplet.path("lib/polymarketspy.db");
    droplet.bot.db.close().await;
    std::fs::rename(file, &place).unwrap();
    let settings = std::fs::read_to_string(droplet.path("stand/settings")).unwrap();
    let url = format!("sqlite:{}", place.display());
    std::fs::write(droplet.path("stand/settings"), settings.replace(droplet.url(), &url)).unwrap();

    droplet.run("systemctl start polymarketspy");
    crowd.trade(&droplet.bot);
    let db = Db::connect(&url).await.unwrap();
    crowd.settled(&db).await;
    let blocks = blocks_of("back_up_and_restore_without_docker");
    let [back_up, restore] = blocks.as_slice() else { panic!("{blocks:?}") };
    droplet.run(back_up);
    crowd.trade(&droplet.bot);
    db.close().await;
    assert!(droplet.run(restore).contains("The books add up"));
    let db = Db::connect(&url).await.unwrap();
    crowd.settled(&db).await;
    assert_eq!(n_trades(&db).await, crowd.n_rows, "every fill is stored once");
}

/// Makes a dead letter of a job that belongs to no leader, as a worker would after its last try.
async fn given_up(db: &Db, queue: Queue) {
    let mut now = Clock::System.now();
    let payload = "trade:00000000-0000-0000-0000-000000000000".to_owned();
    queue::enqueue(db, &[NewJob { queue, key: "lost".to_owned(), followed_user: None, payload, due: now }], now)
        .await
        .unwrap();
    loop {
        let job = queue::claim(db, queue, &JobScope::All, now, 1_000, 1).await.unwrap().remove(0);
        match queue::fail(db, &job, "no luck", now, &mut polymarketspy::chance::Chance).await.unwrap() {
            Failed::Retry(due) => now = due,
            Failed::Dead => return,
            Failed::FenceLost => panic!("no other worker is running"),
        }
    }
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn a_droplet_from_nothing() {
        let droplet = Droplet::bare(TestBot::shared().await, 0);
        droplet.copy("docker/.env.example", "docker/.env.example");
        let blocks = blocks_of("a_droplet_from_nothing");
        let [disk, looks] = blocks.as_slice() else { panic!("{blocks:?}") };
        let lines = disk.lines().filter(|line| !line.starts_with("git clone ") && !line.starts_with("chown "));
        let disk: String = lines.map(|line| format!("{line}\n")).collect();
        droplet.run(&disk.replace("-o 10001 -g spy ", "").replace(" && chown spy:spy .env", ""));
        let env = std::fs::read_to_string(droplet.path("docker/.env")).unwrap();
        for name in ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "SESSION_SECRET"] {
            let line = env.lines().find(|line| line.starts_with(name)).unwrap();
            assert_eq!(line.len(), name.len() + 1 + 64, "{line}");
        }
        droplet.fill_in();
        droplet.run("docker compose up -d --build");
        droplet.is_up().await;
        let wallet = "0x1111111111111111111111111111111111111111";
        droplet.bot.exchange.with(|exchange| exchange.add_profile(&Wallet::parse(wallet).unwrap(), "Somebody"));
        let told = droplet.run(looks);
        assert!(told.contains("worker") && told.contains("web") && told.contains(wallet), "{told}");
        assert!(CurrentUser::through_github(&droplet.base, "ada").await.came_in);
    }

    #[actix::test]
    async fn redeploy_without_losing_events() {
        let droplet = Droplet::new().await;
        let db = &droplet.bot.db;
        let mut crowd = Crowd::gather(&droplet.bot).await;
        crowd.trade(&droplet.bot);
        eventually("a first fill", async || (n_trades(db).await > 0).then_some(())).await;
        crowd.trade(&droplet.bot);
        let blocks = blocks_of("redeploy_without_losing_events");
        let [lines] = blocks.as_slice() else { panic!("{blocks:?}") };
        let before = std::fs::read_to_string(droplet.path("stand/worker.pid")).unwrap();
        let mut told = String::new();
        for line in lines.lines().filter(|line| *line != "git pull") {
            crowd.trade(&droplet.bot);
            told = droplet.run(line);
        }
        assert!(told.contains("The books add up"), "{told}");
        assert_ne!(
            std::fs::read_to_string(droplet.path("stand/worker.pid")).unwrap(),
            before,
            "the worker is a new process"
        );
        crowd.trade(&droplet.bot);
        crowd.settled(db).await;
        assert_eq!(n_trades(db).await, crowd.n_rows, "every fill is stored once");
        assert!(audit(db).await.unwrap().problems.is_empty());
    }

    #[actix::test]
    async fn back_up_and_restore() {
        let droplet = Droplet::new().await;
        let mut crowd = Crowd::gather(&droplet.bot).await;
        crowd.trade(&droplet.bot);
        eventually("a first fill", async || (n_trades(&droplet.bot.db).await > 0).then_some(())).await;
        let blocks = blocks_of("back_up_and_restore");
        let [back_up, restore, looks] = blocks.as_slice() else { panic!("{blocks:?}") };
        assert!(droplet.run(back_up).contains(".pgdump: OK"));
        crowd.trade(&droplet.bot);
        crowd.settled(&droplet.bot.db).await;
        // Open connections of the test would prevent the rename of the database.
        droplet.bot.db.close().await;
        let told = droplet.run(restore);
        assert!(told.contains("Restored: ") && told.contains("The books add up"), "{told}");
        let db = Db::connect(droplet.url()).await.unwrap();
        crowd.settled(&db).await;
        assert_eq!(n_trades(&db).await, crowd.n_rows, "every fill is stored once");
        assert!(droplet.run(looks).contains("ada@example.org"));
    }

    #[actix::test]
    async fn read_the_last_hours_again() {
        let droplet = Droplet::new().await;
        let (_, wallet) = droplet.bot.follow("quietharbour").await;
        let market = droplet.bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
        let fill = Fill::taker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
        droplet.bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
        eventually("the fill", async || (n_trades(&droplet.bot.db).await == 1).then_some(())).await;
        for block in blocks_of("read_the_last_hours_again") {
            droplet.run(&block);
        }
        assert_eq!(n_trades(&droplet.bot.db).await, 1, "the fill is not stored twice");
        assert_eq!(droplet.bot.db.audits(Some("backfill"), None, 9).await.unwrap().len(), 2);
    }

    #[actix::test]
    async fn clear_stuck_jobs() {
        let droplet = Droplet::new().await;
        droplet.is_up().await;
        // While no worker can claim it.
        droplet.run("docker compose stop worker");
        given_up(&droplet.bot.db, Queue::Prices).await;
        let blocks = blocks_of("clear_stuck_jobs");
        let [list, retry, drop, restart] = blocks.as_slice() else { panic!("{blocks:?}") };
        assert!(droplet.run(list).contains("no luck"));
        droplet.run(retry);
        droplet.run(drop);
        droplet.run(restart);
        let well = async || droplet.try_to_run("polymarketspy jobs list").status.success().then_some(());
        eventually("a listing without dead letters", well).await;
    }

    #[actix::test]
    async fn rotate_the_session_secret() {
        let droplet = Droplet::new().await;
        droplet.is_up().await;
        let visitor = CurrentUser::through_github(&droplet.base, "ada").await;
        assert_eq!(droplet.status_for(&visitor).await, 200);
        droplet.run(&blocks_of("rotate_the_session_secret").join("\n"));
        droplet.is_up().await;
        assert_eq!(droplet.status_for(&visitor).await, 401);
        let again = CurrentUser::through_github(&droplet.base, "ada").await;
        assert_eq!(droplet.status_for(&again).await, 200);
    }

    #[actix::test]
    async fn rotate_a_token() {
        let droplet = Droplet::new().await;
        droplet.run("polymarketspy token new nightly");
        let blocks = blocks_of("rotate_a_token");
        let [lines] = blocks.as_slice() else { panic!("{blocks:?}") };
        let told = droplet.run(lines);
        let listed: Vec<&str> = told.lines().filter(|line| line.starts_with("nightly")).collect();
        let is_revoked = |line: &&str| !line.trim_end().ends_with('-');
        assert_eq!(listed.iter().filter(|line| is_revoked(line)).count(), 1, "{told}");
    }

    #[actix::test]
    async fn reset_a_breaker() {
        let droplet = Droplet::new().await;
        droplet.is_up().await;
        let snapshot = async || droplet.bot.db.newest_snapshot(PortfolioId::ExecGlobal).await.unwrap();
        eventually("the first minute's snapshot", snapshot).await;
        let blocks = blocks_of("reset_a_breaker");
        let [lines] = blocks.as_slice() else { panic!("{blocks:?}") };
        assert!(droplet.run(lines).contains("\"peak_micros\":10000000000"));
        let noted = droplet.bot.db.audits(Some("reset_peak"), None, 9).await.unwrap();
        assert!(noted.len() == 1 && noted[0].audit.who.contains("breaker"), "{noted:?}");
    }

    #[actix::test]
    async fn grow_past_one_machine() {
        let droplet = Droplet::new().await;
        Crowd::gather(&droplet.bot).await;
        let blocks = blocks_of("grow_past_one_machine");
        let [lines] = blocks.as_slice() else { panic!("{blocks:?}") };
        let (more, look) = lines.split_once('\n').unwrap();
        droplet.run(more);
        let shared = async || {
            let told = droplet.run(look);
            let holders: BTreeSet<&str> =
                told.lines().filter_map(|line| line.split_once('|')).map(|(_, holder)| holder.trim()).collect();
            // Two workers and the heading.
            (holders.len() == 3 && !holders.contains("")).then_some(())
        };
        eventually("two holders", shared).await;
    }

    #[actix::test]
    async fn three_looks() {
        let droplet = Droplet::new().await;
        droplet.bot.exchange.with(|exchange| exchange.add_profile(&wallet_of("leader"), "leader"));
        droplet.bot.follow("leader").await;
        droplet.is_up().await;
        let blocks = blocks_of("three_looks");
        let [looks, slower] = blocks.as_slice() else { panic!("{blocks:?}") };
        let told = droplet.run(looks);
        assert!(told.contains("worker") && told.contains("database"), "{told}");
        droplet.run(slower);
        assert!(droplet.run("polymarketspy config get system.pollingIntervalMs").contains("60000"));
    }
}
