//! `polymarketspy measure`: what the pages, their live updates and a what-if test cost.

pub(super) mod generate;
pub(super) mod load;
mod pages;
pub(super) mod soak;
mod socket;
mod socket_server;
mod sockets;
mod visitor;
mod what_if;

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::app::{App, AppSettings, Role};
use crate::clock::Clock;
use crate::config::{Secret, Settings, WebSettings};

pub const HELP: &str = "Exit codes: 0 measured, 1 a page failed or a socket missed a frame, 2 failed.";

/// An address without a Redis: the pages then read the database each second, which is enough for a measurement.
const NO_REDIS: &str = "redis://127.0.0.1:9/";

#[derive(clap::Args)]
pub struct MeasureArguments {
    #[command(subcommand)]
    what: Measurement,
}

#[derive(clap::Subcommand)]
enum Measurement {
    /// Requests every page and JSON route of a server on the database of DATABASE_URL, several times.
    Pages(pages::PagesArguments),
    /// Opens many live sockets to a server in its own process, and announces trades to them.
    Sockets(sockets::SocketsArguments),
    /// Runs a what-if test on the groups and books of the database of DATABASE_URL.
    #[command(name = "what-if")]
    WhatIf(what_if::WhatIfArguments),
    /// The server that `sockets` measures.
    #[command(hide = true)]
    SocketServer(socket_server::SocketServerArguments),
}

pub async fn measure(settings: &Settings, arguments: MeasureArguments) -> anyhow::Result<ExitCode> {
    match arguments.what {
        Measurement::Pages(arguments) => pages::pages(settings, arguments).await,
        Measurement::Sockets(arguments) => sockets::sockets(arguments).await,
        Measurement::WhatIf(arguments) => what_if::what_if(settings, arguments).await,
        Measurement::SocketServer(arguments) => socket_server::serve(settings, arguments).await,
    }
}

/// Starts the server without a worker, on a free port, so that the bot of this database may run beside it.
async fn web_alone(settings: &Settings) -> anyhow::Result<App> {
    let mut settings = AppSettings { role: Role::Web, ..AppSettings::new(settings) };
    settings.redis.url.get_or_insert_with(|| Secret::new(NO_REDIS));
    // Sign-in here is by the one-time link.
    settings.web = WebSettings::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    Ok(App::build(&settings, Clock::System).await?)
}
