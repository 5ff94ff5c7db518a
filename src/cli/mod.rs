//! The command line. With `main`, the only home of `anyhow`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::actors::supervise::Failure;
use crate::config::{LogSettings, Settings, Sources};
use crate::telemetry;

mod admin;
mod audit;
mod backfill;
mod backup;
mod config;
mod demo;
mod doctor;
mod jobs;
mod measure;
mod migrate;
mod run;
mod tail;
mod terminal;
mod token;
mod users;

/// Who the audit log says it was.
const WHO: &str = "command line";
/// The exit code of a command that could not do what it was asked, and of a command line that makes no sense.
const COULD_NOT: u8 = 2;
/// The exit code of a bot that ran and was given up, because an actor kept failing.
const GAVE_UP: u8 = 1;

/// A paper copy-trading bot for Polymarket: what copying a trader would really have brought.
#[derive(Parser)]
#[command(name = "polymarketspy", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes of every command: 0 fine, 1 the answer asks for attention (each command says when), 2 it could \
    not be done or makes no sense.\n\nFrom the environment or the settings file only: SESSION_SECRET, at least 64 characters that sign and \
    encrypt sessions (without it they end with the process), and GITHUB_CLIENT_SECRET."
)]
struct Arguments {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the bot: follows the enabled traders and serves the dashboard. Exits 1 when a part of it keeps failing.
    Run(run::RunArguments),
    /// Runs the bot against the built-in exchange simulator, with a day of history. Needs nothing.
    Demo(demo::DemoArguments),
    /// Follows a trader, given by wallet or by exact profile name.
    Follow(users::FollowArguments),
    /// Stops following a trader. What was recorded stays.
    Unfollow(users::UnfollowArguments),
    /// Lists the followed traders.
    #[command(after_help = "Exit codes: 0 listed, 2 it could not be done.")]
    Users(users::UsersArguments),
    /// Reads the last hours again, for what may have been missed.
    #[command(after_help = backfill::HELP)]
    Backfill(backfill::BackfillArguments),
    /// Shows trades and copy attempts as they are recorded, a line each, until Ctrl-C.
    #[command(after_help = tail::HELP)]
    Tail(tail::TailArguments),
    /// Shows and changes how copies are sized and guarded.
    Config(config::ConfigArguments),
    /// Shows the queues, sends failed work round again, or puts it away.
    Jobs(jobs::JobsArguments),
    /// Makes, lists and revokes the tokens of scripts.
    #[command(after_help = token::HELP)]
    Token(token::TokenArguments),
    /// Says whose e-mail may sign in with GitHub.
    #[command(after_help = admin::HELP)]
    Admin(admin::AdminArguments),
    /// Recomputes every portfolio from the whole ledger and compares. Exits 1 when anything differs.
    #[command(after_help = "Exit codes: 0 the books agree, 1 something differs, 2 it could not be done.")]
    Audit(audit::AuditArguments),
    /// Copies the database into an archive, beside a running bot.
    #[command(after_help = backup::HELP)]
    Backup(backup::BackupArguments),
    /// Puts an archive where no database is.
    #[command(after_help = backup::RESTORE_HELP)]
    Restore(backup::RestoreArguments),
    /// Brings the database to this program's schema.
    Migrate,
    /// Checks settings, database, upstreams and clock, and says what to do. Exits 1 when something is wrong.
    #[command(
        after_help = "Exit codes: 0 nothing is wrong (warnings are no fault), 1 something is, 2 it could not be done."
    )]
    Doctor(doctor::DoctorArguments),
    /// Pushes generated fills through the whole pipeline on a database of its own and prints figures.
    Load(measure::load::LoadArguments),
    /// Writes a large generated past into an empty database, to measure on.
    #[command(after_help = measure::generate::HELP)]
    Generate(measure::generate::GenerateArguments),
    /// Times the pages, or counts what live sockets cost the server.
    #[command(after_help = measure::HELP)]
    Measure(measure::MeasureArguments),
    /// Runs workers for a while with failing upstreams and kills, then looks whether anything is missing. Exits 1 if so.
    Soak(measure::soak::SoakArguments),
}

/// Every setting as a flag; the environment and the settings file come after (see `config.rs`).
#[derive(clap::Args)]
struct SettingFlags {
    /// Settings file; `polymarketspy.toml` in this folder is read when it is there.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// `sqlite://path` or `postgres://…` [env: DATABASE_URL] [default: sqlite://data/polymarketspy.db]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    database_url: Option<String>,
    /// Carries the bell between processes; needed with `--role worker` and `--role web` [env: REDIS_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    redis_url: Option<String>,
    /// [env: POLYMARKET_DATA_API_BASE_URL] [default: https://data-api.polymarket.com]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    polymarket_data_api_base_url: Option<String>,
    /// [env: POLYMARKET_CLOB_BASE_URL] [default: https://clob.polymarket.com]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    polymarket_clob_base_url: Option<String>,
    /// [env: POLYMARKET_GAMMA_BASE_URL] [default: https://gamma-api.polymarket.com]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    polymarket_gamma_base_url: Option<String>,
    /// A Polygon node's websocket; without it the bot runs on polling alone [env: ALCHEMY_WS_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    alchemy_ws_url: Option<String>,
    /// Contracts whose fills are watched, with commas between [env: EXCHANGE_ADDRESSES]
    #[arg(long, global = true, value_name = "ADDRESSES", help_heading = "Settings")]
    exchange_addresses: Option<String>,
    /// Whom to follow from the first start on: `label=wallet` or a wallet alone, with commas between [env: FOLLOW]
    #[arg(long, global = true, value_name = "TRADERS", help_heading = "Settings")]
    follow: Option<String>,
    /// Where pages are served; without GitHub loopback only [env: BIND] [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Settings")]
    bind: Option<String>,
    /// How a browser reaches us, when that differs from BIND [env: PUBLIC_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    public_url: Option<String>,
    /// The OAuth app with which people sign in; its secret is GITHUB_CLIENT_SECRET [env: GITHUB_CLIENT_ID]
    #[arg(long, global = true, value_name = "ID", help_heading = "Settings")]
    github_client_id: Option<String>,
    /// Another GitHub, such as an Enterprise server [env: GITHUB_BASE_URL] [default: https://github.com]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    github_base_url: Option<String>,
    /// Where that one answers programs [env: GITHUB_API_BASE_URL] [default: /api/v3 of an Enterprise server]
    #[arg(long, global = true, value_name = "URL", help_heading = "Settings")]
    github_api_base_url: Option<String>,
    /// May sign in from the first start on [env: ADMIN_EMAIL]
    #[arg(long, global = true, value_name = "E-MAIL", help_heading = "Settings")]
    admin_email: Option<String>,
    /// The header in which the proxy in front of us names its client, such as X-Real-IP [env: REAL_IP_HEADER]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Settings")]
    real_ip_header: Option<String>,
    /// Where the worker serves /health and /metrics, or `off` [env: HEALTH_BIND] [default: 127.0.0.1:8081]
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Settings")]
    health_bind: Option<String>,
    /// `info`, or a filter such as `polymarketspy=debug,warn` [env: LOG_LEVEL] [default: info]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Settings")]
    log_level: Option<String>,
}

impl SettingFlags {
    /// SESSION_SECRET and GITHUB_CLIENT_SECRET are no flags: a command line is seen by every user of the machine.
    fn into_sources(self) -> anyhow::Result<Sources> {
        let flags = [
            ("DATABASE_URL", self.database_url),
            ("REDIS_URL", self.redis_url),
            ("POLYMARKET_DATA_API_BASE_URL", self.polymarket_data_api_base_url),
            ("POLYMARKET_CLOB_BASE_URL", self.polymarket_clob_base_url),
            ("POLYMARKET_GAMMA_BASE_URL", self.polymarket_gamma_base_url),
            ("ALCHEMY_WS_URL", self.alchemy_ws_url),
            ("EXCHANGE_ADDRESSES", self.exchange_addresses),
            ("FOLLOW", self.follow),
            ("BIND", self.bind),
            ("PUBLIC_URL", self.public_url),
            ("GITHUB_CLIENT_ID", self.github_client_id),
            ("GITHUB_BASE_URL", self.github_base_url),
            ("GITHUB_API_BASE_URL", self.github_api_base_url),
            ("ADMIN_EMAIL", self.admin_email),
            ("REAL_IP_HEADER", self.real_ip_header),
            ("HEALTH_BIND", self.health_bind),
            ("LOG_LEVEL", self.log_level),
        ];
        let flags: BTreeMap<&'static str, String> =
            flags.into_iter().filter_map(|(name, text)| text.map(|text| (name, text))).collect();
        Ok(Sources::read(flags, self.config)?)
    }
}

/// Parses the command line, runs the command, and says on standard error what went wrong.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_run = matches!(arguments.command, Command::Run(_));
    match execute(arguments) {
        Ok(code) => code,
        Err(error) => {
            let (said, code) = last_words(&error);
            if is_run && telemetry::is_json() {
                // Before its settings were read nothing has started to log.
                telemetry::start(&LogSettings { level: "info".to_owned() });
                let error = said.trim_start_matches("error: ");
                tracing::error!(service = "app", error, "the bot cannot run");
            } else {
                eprintln!("{said}");
            }
            code
        }
    }
}

/// The last line on standard error, and the exit code that goes with it.
fn last_words(error: &anyhow::Error) -> (String, ExitCode) {
    // It may repeat what a stranger wrote: a label, a profile's name, an upstream's answer.
    let said = format!("{error:#}");
    if error.is::<Failure>() {
        // A panic may speak in several lines, and the last one should not be the middle of a story.
        return (format!("error: {}", terminal::clean(&said)), ExitCode::from(GAVE_UP));
    }
    (format!("error: {}", terminal::clean_lines(&said)), ExitCode::from(COULD_NOT))
}

fn execute(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::parse(&arguments.settings.into_sources()?)?;
    telemetry::start(&settings.log);
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is already installed"))?;
    actix::System::new().block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(&settings, arguments).await,
            Command::Demo(arguments) => demo::demo(settings, arguments).await,
            Command::Follow(arguments) => users::follow(&settings, arguments).await,
            Command::Unfollow(arguments) => users::unfollow(&settings, arguments).await,
            Command::Users(arguments) => users::list(&settings, arguments).await,
            Command::Backfill(arguments) => backfill::backfill(&settings, arguments).await,
            Command::Tail(arguments) => tail::tail(&settings, &arguments).await,
            Command::Config(arguments) => config::config(&settings, arguments).await,
            Command::Jobs(arguments) => jobs::jobs(&settings, arguments).await,
            Command::Token(arguments) => token::token(&settings, arguments).await,
            Command::Admin(arguments) => admin::admin(&settings, arguments).await,
            Command::Audit(arguments) => audit::audit(&settings, arguments).await,
            Command::Backup(arguments) => backup::backup(&settings, arguments).await,
            Command::Restore(arguments) => backup::restore(&settings, arguments).await,
            Command::Migrate => migrate::migrate(&settings).await,
            Command::Doctor(arguments) => doctor::doctor(&settings, arguments).await,
            Command::Load(arguments) => measure::load::load(settings, arguments).await,
            Command::Generate(arguments) => measure::generate::generate(&settings, arguments).await,
            Command::Measure(arguments) => measure::measure(&settings, arguments).await,
            Command::Soak(arguments) => measure::soak::soak(&settings, arguments).await,
        }
    })
}
