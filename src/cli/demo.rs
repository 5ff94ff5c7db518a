//! `polymarketspy demo`: the whole bot against the built-in exchange, on a database with a day of history.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::run::run_until_stopped;
use crate::app::{App, AppSettings};
use crate::clock::Clock;
use crate::config::{FollowSettings, GithubSettings, Secret, Settings, WebSettings};
use crate::db::Db;
use crate::domain::config::effective::ConfigPatch;
use crate::domain::money::email::Email;
use crate::simulator::history::{HistorySettings, write_history};
use crate::simulator::routes::github;
use crate::simulator::{Simulator, SimulatorHandle, SimulatorSettings, TraderSettings};
use crate::token;

/// More than in the written history: a visitor should see something happen soon.
const LIVE_FILLS_PER_SECOND: f64 = 2.0;

#[derive(clap::Args)]
pub struct DemoArguments {
    /// The same seed produces the same markets, leaders and history.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps the database as `demo.db` in this folder; without it the database is deleted at the end.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Signs in with a simulated GitHub instead of a one-time link.
    #[arg(long)]
    github: bool,
}

/// The one person of the simulated GitHub who may sign in.
const ADMIN: &str = "ada@example.org";

pub async fn demo(settings: Settings, arguments: DemoArguments) -> anyhow::Result<ExitCode> {
    let temporary = tempfile::tempdir().context("cannot create a temporary folder for the demo's database")?;
    let folder = match &arguments.keep {
        Some(folder) => folder.clone(),
        None => temporary.path().to_owned(),
    };
    let exchange = Simulator::start(SimulatorSettings::lifelike(arguments.seed))?;
    let database = folder.join("demo.db");
    if database.exists() {
        // The history of a database fits only the exchange it was written with, and that exchange ended with its process.
        bail!("`{}` already exists; name another folder or move the file away", database.display());
    }
    let settings = against_simulator(&exchange, settings, &format!("sqlite://{}", database.display()));

    let db = Db::connect(settings.database.url.reveal()).await?;
    db.migrate().await?;
    let written = write_history(&db, &exchange, &HistorySettings::day()).await?;
    // Later figures have something to show.
    let sampled = ConfigPatch::parse(r#"{"system":{"bookSampleBps":2000}}"#)?;
    db.save_global(&sampled, "demo", Clock::System.now()).await?;
    db.close().await;
    tracing::info!(
        service = "demo",
        events = written.events,
        attempts = written.attempts,
        "one day of history is written"
    );
    exchange.start_trading(TraderSettings { fills_per_second: LIVE_FILLS_PER_SECOND, ..TraderSettings::default() });

    let mut settings = AppSettings::new(&settings);
    if arguments.github {
        settings.web = with_github(&exchange, settings.web)?;
    }
    if TcpListener::bind(settings.web.bind).is_err() {
        // Another program uses port 8080, the default: for a demo any port will do.
        settings.web.bind.set_port(0);
    }
    let app = App::build(&settings, Clock::System).await?;
    match app.login_link() {
        Some(link) => println!("The demo is running. Open this link once to sign in:\n\n  {link}\n\nCtrl-C ends it."),
        None => println!(
            "The demo is running. Sign in as {ADMIN} at\n\n  {}\n\nCtrl-C ends it.",
            app.url().unwrap_or_default()
        ),
    }
    run_until_stopped(app).await
}

fn with_github(exchange: &SimulatorHandle, web: WebSettings) -> anyhow::Result<WebSettings> {
    let base_url = exchange.github_base();
    let github = GithubSettings {
        client_id: github::CLIENT_ID.to_owned(),
        client_secret: Secret::new(github::CLIENT_SECRET),
        api_base_url: format!("{base_url}/api/v3"),
        base_url,
    };
    let session_secret = Some(Secret::new(format!("{}{}", token::random_text()?, token::random_text()?)));
    Ok(WebSettings { github: Some(github), admin_email: Some(Email::parse(ADMIN)?), session_secret, ..web })
}

/// Returns the settings with every upstream replaced by the built-in exchange.
pub fn against_simulator(exchange: &SimulatorHandle, mut settings: Settings, database: &str) -> Settings {
    settings.database.url = Secret::new(database);
    settings.upstreams.data_api = exchange.data_api_base();
    settings.upstreams.clob = exchange.clob_base();
    settings.upstreams.gamma = exchange.gamma_base();
    settings.chain.ws_url = Some(Secret::new(exchange.chain_ws_url()));
    settings.follow = FollowSettings::default();
    let WebSettings { bind, public_url, session_secret, .. } = settings.web;
    settings.web = WebSettings { public_url, session_secret, ..WebSettings::at(bind) };
    // Any free port: a monitor must not mistake this bot for the real one, and the real one must find its port free.
    settings.health.bind = settings.health.bind.map(|bind| SocketAddr::new(bind.ip(), 0));
    settings
}
