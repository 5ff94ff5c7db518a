//! A small HTTP server of the worker: `/health` for the supervisor of the process, `/metrics` for Prometheus (spec 13).
//!
//! In    the database, the root's registry of actors, the gate to the upstreams, the counters of [`Metrics`].
//! Out   `GET /health` (503 when down) and `GET /metrics`. They need no session, because neither shows a secret, a
//!       market title or a name.
//! Fails [`HealthStartError`] when the address cannot be used; then nothing else has started yet.
//!
//! The server runs on a separate thread and asks every part with a deadline, so that it answers when the actors do not.

pub mod actor_state;
pub mod assessment;
mod report;
mod scrape;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Recipient};
use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};

use self::actor_state::ChainWatcherState;
use self::assessment::Status;
use crate::actors::root::{ActorHealth, ReadHealth, Root};
use crate::actors::supervise::Observe;
use crate::clock::Clock;
use crate::config::HealthSettings;
use crate::db::Db;
use crate::metrics::Metrics;
use crate::polymarket::Gate;
use report::Report;

/// Deadline for each question. Monitoring gives up after some seconds, so the answer must be ready before that.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The parts that health and metrics are read from.
#[derive(Clone)]
pub struct HealthDeps {
    pub db: Db,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub gate: Gate,
    pub root: Addr<Root>,
    /// `None` when no node is configured.
    pub chain_watcher: Option<Recipient<Observe>>,
}

/// Why health and metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "setting `HEALTH_BIND` is `{addr}`, where the server cannot listen; it should be a free address, port 0 for any \
    free port, or `off`"
)]
pub struct HealthStartError {
    addr: SocketAddr,
    source: std::io::Error,
}

/// A running health server.
pub struct HealthServer {
    /// The address it listens on, with the port that the system chose when port 0 was configured.
    pub addr: SocketAddr,
    handle: ServerHandle,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl HealthServer {
    /// Stops the server and waits until it has ended.
    pub async fn stop(self) {
        self.handle.stop(false).await;
        let _ = self.ended.await;
    }
}

/// Binds the configured address; `None` when health is off.
///
/// # Errors
/// [`HealthStartError`] when the address cannot be bound, for example because another process uses it.
pub fn listen(settings: &HealthSettings) -> Result<Option<TcpListener>, HealthStartError> {
    let listen = |addr| TcpListener::bind(addr).map_err(|source| HealthStartError { addr, source });
    settings.bind.map(listen).transpose()
}

/// Starts the server on a listener from [`listen`].
///
/// # Errors
/// [`HealthStartError`] when the listener cannot be used.
pub fn serve(listener: TcpListener, deps: HealthDeps) -> Result<HealthServer, HealthStartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let addr = listener.local_addr().map_err(|source| HealthStartError { addr: unknown, source })?;
    let deps = Data::new(deps);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(deps.clone())
            .route("/health", web::get().to(health))
            .route("/metrics", web::get().to(metrics))
    })
    .workers(1)
    .disable_signals()
    .tcp_nodelay(true)
    .shutdown_timeout(1)
    .listen(listener)
    .map_err(|source| HealthStartError { addr, source })?
    .run();
    tracing::info!(service = "worker", address = %addr, "serving health and metrics");
    Ok(HealthServer { addr, handle: server.handle(), ended: actix::spawn(server) })
}

async fn health(deps: Data<HealthDeps>) -> HttpResponse {
    let report = Report::of(&deps).await;
    let code = if report.status == Status::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    HttpResponse::build(code).json(report)
}

async fn metrics(deps: Data<HealthDeps>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(scrape::page(&deps).await)
}

impl HealthDeps {
    /// Returns the health of every actor, as it was last observed; `None` when the root does not answer.
    async fn actors(&self) -> Option<Vec<ActorHealth>> {
        in_time(self.root.send(ReadHealth)).await?.ok()
    }

    /// Returns the chain watcher's state; `None` when no node is configured, and when the watcher does not answer.
    async fn chain(&self) -> Option<ChainWatcherState> {
        let observed = in_time(self.chain_watcher.as_ref()?.send(Observe)).await?.ok()?;
        Some(observed.read())
    }
}

/// Returns the answer, or `None` when it does not come in time.
async fn in_time<F: Future>(ask: F) -> Option<F::Output> {
    tokio::time::timeout(ANSWER_WITHIN, ask).await.ok()
}
