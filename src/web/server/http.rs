//! The HTTP server: start and stop, the order of the middleware, and the data that handlers may extract.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix::{Addr, Recipient};
use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::{Compress, NormalizePath, TrailingSlash, from_fn},
    web::{Data, ServiceConfig},
};
use tracing_actix_web::TracingLogger;

use super::connection::Socket;
use super::database_guard::end_without_database;
use super::middleware::{Hosts, host_check, security_headers};
use super::rate_limit::Limits;
use super::render::{TemplateError, Templates};
use super::request_span::RequestSpan;
use super::routes::every_route;
use crate::web::auth::refusals::Refusals;
use crate::web::auth::session::CookieSettings;
use crate::web::auth::session_store::Sessions;
use crate::web::auth::sign_in;
use crate::web::auth::sign_in::github::Github;
use crate::web::auth::sign_in::links::LoginLinks;
use crate::web::auth::token_uses::TokenUses;
use crate::web::auth::user::{HasProvider, authenticate};
use crate::web::config::what_if::runner::WhatIfRuns;
use crate::web::live::broadcaster::{Broadcaster, BroadcasterDeps};
use crate::web::live::messages::{CloseAll, GetStreamPosition, Join};
use crate::{
    actors::{live_hub::LiveHub, supervise::SupervisorContext},
    clock::Clock,
    config::{GithubSettings, RedisSettings, WebSettings},
    db::{Db, DbError},
    metrics::Metrics,
    polymarket::{Gate, Polymarket, PolymarketSettings},
    token::NoRandomness,
};

/// A page is rendered from a handful of indexed reads: two threads serve far more visitors than we expect.
const WORKERS: usize = 2;
const STOP_SECONDS: u64 = 5;
/// The head of a request must arrive within this time, or the connection is closed. The time for a body is limited
/// where the body is read.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than browsers keep an idle connection, so that the browser closes it first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// In each thread: a thousand open pages and the files that they load.
const CONNECTIONS_MAX: usize = 4_096;

/// The dependencies of the web server.
#[derive(Clone)]
pub struct WebDeps {
    pub db: Db,
    /// Where the sessions of people who sign in with GitHub are stored.
    pub redis: RedisSettings,
    pub clock: Clock,
    pub live: Addr<LiveHub>,
    pub supervisor: SupervisorContext,
    pub metrics: Arc<Metrics>,
    /// Polymarket, for the profile of a trader. Requests pass `gate`, which is the worker's if it runs in this process.
    pub polymarket: PolymarketSettings,
    pub gate: Gate,
}

/// Why the web server did not start.
#[derive(Debug, thiserror::Error)]
pub enum WebStartError {
    #[error("`{0}` is not a loopback address; without a sign-in provider pages are served to this machine only")]
    NotLoopback(SocketAddr),
    #[error("`GITHUB_BASE_URL` or `PUBLIC_URL` is not a valid URL")]
    Provider(#[from] oauth2::url::ParseError),
    #[error("cannot store `ADMIN_EMAIL` as an admin")]
    Admin(#[from] DbError),
    #[error("cannot listen on `{addr}`")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Templates(#[from] TemplateError),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// A running web server.
pub struct WebServer {
    /// The address that it listens on, with the real port if the settings say port 0.
    pub addr: SocketAddr,
    /// The URL for browsers, with `http://` or `https://` and without a slash at the end.
    pub url: String,
    /// Signs in one browser, once. `None` if people sign in with GitHub.
    pub login_link: Option<String>,
    /// Ends with the server. Its error comes from accepting connections.
    pub ended: tokio::task::JoinHandle<std::io::Result<()>>,
    handle: ServerHandle,
    broadcaster: Addr<Broadcaster>,
}

impl WebServer {
    /// Closes the websockets of open pages, and waits for requests that are being answered.
    pub async fn stop(self) {
        // An error means that the broadcaster is dead and has no open pages.
        let _ = self.broadcaster.send(CloseAll).await;
        self.handle.stop(true).await;
        let _ = self.ended.await;
    }
}

/// All data that a request handler may extract. Each worker thread gets a clone.
#[derive(Clone)]
pub struct Shared {
    db: Data<Db>,
    clock: Data<Clock>,
    templates: Data<Templates>,
    broadcaster: Addr<Broadcaster>,
    position: Data<Recipient<GetStreamPosition>>,
    join: Data<Recipient<Join>>,
    links: Data<LoginLinks>,
    hosts: Data<Hosts>,
    metrics: Data<Metrics>,
    limits: Data<Limits>,
    token_uses: Data<TokenUses>,
    refusals: Data<Refusals>,
    sessions: Data<Sessions>,
    provider: Data<HasProvider>,
    github: Option<GithubSettings>,
    callback: String,
    trials: Data<WhatIfRuns>,
    polymarket: PolymarketSettings,
    gate: Gate,
    cookies: CookieSettings,
}

/// Starts the broadcaster and the server in the current arbiter.
///
/// # Errors
/// [`WebStartError`]. Nothing is left running then.
pub async fn start(settings: &WebSettings, deps: WebDeps) -> Result<WebServer, WebStartError> {
    if settings.github.is_none() && !settings.bind.ip().is_loopback() {
        return Err(WebStartError::NotLoopback(settings.bind));
    }
    let listen = |source| WebStartError::Listen { addr: settings.bind, source };
    let listener = std::net::TcpListener::bind(settings.bind).map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let url = settings.public_url.clone().unwrap_or_else(|| format!("http://{addr}"));
    let url = url.trim_end_matches('/').to_owned();
    if let Some(email) = &settings.admin_email {
        let _seeded = deps.db.allow_admin(email, "setting ADMIN_EMAIL", deps.clock.now()).await?;
    }
    let links = LoginLinks::new();
    let shared = Shared::new(settings, addr, &url, deps, links.clone())?;
    // A wrong URL is found here, because `register` in the threads cannot report it.
    shared.github()?;

    let workers = shared.clone();
    let server = HttpServer::new(move || {
        let shared = workers.clone();
        // An HTTP client cannot leave its thread; the gate before it is shared by the whole process.
        let polymarket = Polymarket::behind(shared.gate.clone(), shared.polymarket.clone(), **shared.clock);
        App::new()
            .app_data(Data::new(polymarket))
            .configure(|app| shared.register(app))
            .configure(every_route)
            // The middleware that is wrapped last sees a request first.
            .wrap(from_fn(authenticate))
            .wrap(shared.cookies.middleware())
            .wrap(from_fn(host_check))
            .wrap(from_fn(end_without_database))
            .wrap(NormalizePath::new(TrailingSlash::Trim))
            .wrap(Compress::default())
            .wrap(from_fn(security_headers))
            .wrap(TracingLogger::<RequestSpan>::new())
    })
    .workers(WORKERS)
    .on_connect(|connection, data| {
        data.insert(Socket::of(connection));
    })
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(CLOSE_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .max_connections(CONNECTIONS_MAX)
    // Without this the second half of an answer waits 40 ms for the acknowledgement of the first half.
    .tcp_nodelay(true)
    .disable_signals()
    .shutdown_timeout(STOP_SECONDS)
    .listen(listener)
    .map_err(listen)?
    .run();

    let login_link = match settings.github {
        Some(_) => None,
        None => Some(format!("{url}/login/{}", links.mint()?)),
    };
    let handle = server.handle();
    let broadcaster = shared.broadcaster.clone();
    Ok(WebServer { addr, url, login_link, ended: actix::spawn(server), handle, broadcaster })
}

impl Shared {
    fn new(
        settings: &WebSettings,
        addr: SocketAddr,
        url: &str,
        deps: WebDeps,
        links: Arc<LoginLinks>,
    ) -> Result<Self, WebStartError> {
        let templates = Templates::load()?;
        let public_url = settings.public_url.as_deref();
        let WebDeps { db, redis, clock, live, supervisor, metrics, polymarket, gate } = deps;
        let cookies = CookieSettings::new(settings, redis, addr.port())?;
        let broadcaster = BroadcasterDeps { db: db.clone(), clock, live, templates: templates.clone() };
        let broadcaster = Broadcaster::start(broadcaster, &supervisor);
        Ok(Self {
            db: Data::new(db),
            clock: Data::new(clock),
            templates: Data::new(templates),
            position: Data::new(broadcaster.clone().recipient()),
            join: Data::new(broadcaster.clone().recipient()),
            broadcaster,
            links: Data::from(links),
            hosts: Data::new(Hosts::new(addr, public_url)),
            metrics: Data::from(metrics),
            token_uses: Data::new(TokenUses::default()),
            refusals: Data::new(Refusals::default()),
            sessions: Data::new(cookies.sessions()),
            limits: Data::from(Limits::new(settings.real_ip_header.clone())),
            provider: Data::new(HasProvider(settings.github.is_some())),
            github: settings.github.clone(),
            callback: format!("{url}{}", sign_in::CALLBACK),
            trials: Data::new(WhatIfRuns::default()),
            polymarket,
            gate,
            cookies,
        })
    }

    /// Creates a GitHub client for one thread, because an HTTP client cannot leave its thread.
    fn github(&self) -> Result<Option<Github>, oauth2::url::ParseError> {
        self.github.as_ref().map(|settings| Github::new(settings, self.callback.clone())).transpose()
    }

    fn register(&self, app: &mut ServiceConfig) {
        app.app_data(self.db.clone())
            .app_data(self.clock.clone())
            .app_data(self.templates.clone())
            .app_data(self.position.clone())
            .app_data(self.join.clone())
            .app_data(self.links.clone())
            .app_data(self.hosts.clone())
            .app_data(self.metrics.clone())
            .app_data(self.limits.clone())
            .app_data(self.token_uses.clone())
            .app_data(self.refusals.clone())
            .app_data(self.sessions.clone())
            .app_data(self.provider.clone())
            .app_data(self.trials.clone());
        if let Ok(Some(github)) = self.github() {
            app.app_data(Data::new(github));
        }
    }
}
