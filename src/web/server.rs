//! The HTTP server: its routes as one list, what every request passes, start and stop.

use std::{net::SocketAddr, sync::Arc};

use actix::Addr;
use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::{Compress, NormalizePath, TrailingSlash, from_fn},
    web::{self, Data, ServiceConfig},
};
use tracing_actix_web::TracingLogger;

use super::{
    activities, assets, attempts,
    broadcaster::{Broadcaster, BroadcasterDeps, CloseAll},
    config, control, curves,
    error::WebError,
    explanation, export, following, health, letters, lists, live, market, markets,
    middleware::{Hosts, envelope, our_host, signed_in},
    overview, portfolio,
    render::{TemplateError, Templates},
    session::{self, CookieSettings, LoginLinks, NoRandomness},
    socket::Socket,
    status, theme,
    trace::RequestSpan,
    trades, user, users,
};
use crate::{
    actors::{live_hub::LiveHub, supervise::Guard},
    clock::Clock,
    config::WebSettings,
    db::Db,
    metrics::Metrics,
    polymarket::{Gate, Polymarket, PolymarketSettings},
};

/// Pages are rendered from a handful of indexed reads: two threads serve far more visitors than there will be.
const WORKERS: usize = 2;
const STOP_SECONDS: u64 = 5;

#[derive(Clone)]
pub struct WebDeps {
    pub db: Db,
    pub clock: Clock,
    pub live: Addr<LiveHub>,
    pub guard: Guard,
    pub metrics: Arc<Metrics>,
    /// Whom to ask who a trader is, behind the worker's gate where there is one in this process.
    pub polymarket: PolymarketSettings,
    pub gate: Gate,
}

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
pub enum WebStartError {
    #[error("`{0}` is not a loopback address; without a sign-in provider pages are served to this machine only")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on `{addr}`")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Templates(#[from] TemplateError),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// A server that answers.
pub struct WebServer {
    /// Where, with the port that was free when port 0 was asked for.
    pub addr: SocketAddr,
    /// Lets one browser in, once.
    pub login_link: String,
    /// Ends with the server; an error is one of accepting connections.
    pub ended: tokio::task::JoinHandle<std::io::Result<()>>,
    handle: ServerHandle,
    broadcaster: Addr<Broadcaster>,
}

impl WebServer {
    /// Says goodbye to open pages and waits for what is being answered.
    pub async fn stop(self) {
        // A dead broadcaster has no pages left to tell.
        let _ = self.broadcaster.send(CloseAll).await;
        self.handle.stop(true).await;
        let _ = self.ended.await;
    }
}

/// Everything a request handler may ask for; the same in every worker thread.
#[derive(Clone)]
pub struct Shared {
    db: Data<Db>,
    clock: Data<Clock>,
    templates: Data<Templates>,
    broadcaster: Data<Addr<Broadcaster>>,
    links: Data<LoginLinks>,
    hosts: Data<Hosts>,
    metrics: Data<Metrics>,
    trials: Data<config::Trials>,
    polymarket: PolymarketSettings,
    gate: Gate,
    cookies: CookieSettings,
}

/// Starts the broadcaster and the server in the current arbiter.
///
/// # Errors
/// `WebStartError`: nothing is left running then.
pub async fn start(settings: &WebSettings, deps: WebDeps) -> Result<WebServer, WebStartError> {
    if !settings.bind.ip().is_loopback() {
        return Err(WebStartError::NotLoopback(settings.bind));
    }
    let listen = |source| WebStartError::Listen { addr: settings.bind, source };
    let listener = std::net::TcpListener::bind(settings.bind).map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let links = LoginLinks::new();
    let shared = Shared::new(settings, addr, deps, links.clone())?;

    let workers = shared.clone();
    let server = HttpServer::new(move || {
        let shared = workers.clone();
        // A client cannot leave its thread; the gate before it is one for the process.
        let polymarket = Polymarket::behind(shared.gate.clone(), shared.polymarket.clone(), **shared.clock);
        App::new()
            .app_data(Data::new(polymarket))
            .configure(|app| routes(app, &shared))
            // The last wrapped is the first to see a request.
            .wrap(shared.cookies.middleware())
            .wrap(from_fn(our_host))
            .wrap(NormalizePath::new(TrailingSlash::Trim))
            .wrap(Compress::default())
            .wrap(from_fn(envelope))
            .wrap(TracingLogger::<RequestSpan>::new())
    })
    .workers(WORKERS)
    .on_connect(|connection, data| {
        data.insert(Socket::of(connection));
    })
    .disable_signals()
    .shutdown_timeout(STOP_SECONDS)
    .listen(listener)
    .map_err(listen)?
    .run();

    let base = settings.public_url.clone().unwrap_or_else(|| format!("http://{addr}"));
    let login_link = format!("{}/login/{}", base.trim_end_matches('/'), links.mint()?);
    let handle = server.handle();
    let broadcaster = shared.broadcaster.get_ref().clone();
    Ok(WebServer { addr, login_link, ended: actix::spawn(server), handle, broadcaster })
}

impl Shared {
    fn new(
        settings: &WebSettings,
        addr: SocketAddr,
        deps: WebDeps,
        links: Arc<LoginLinks>,
    ) -> Result<Self, WebStartError> {
        let templates = Templates::load()?;
        let public_url = settings.public_url.as_deref();
        // Browsers refuse a Secure cookie over plain http, which is how loopback is reached.
        let secure = public_url.is_some_and(|url| url.starts_with("https://"));
        let cookies = CookieSettings::new(settings.session_secret.as_ref(), secure, addr.port())?;
        let WebDeps { db, clock, live, guard, metrics, polymarket, gate } = deps;
        let broadcaster = BroadcasterDeps { db: db.clone(), clock, live, templates: templates.clone() };
        Ok(Self {
            db: Data::new(db),
            clock: Data::new(clock),
            templates: Data::new(templates),
            broadcaster: Data::new(Broadcaster::start(broadcaster, &guard)),
            links: Data::from(links),
            hosts: Data::new(Hosts::new(addr.port(), public_url)),
            metrics: Data::from(metrics),
            trials: Data::new(config::Trials::default()),
            polymarket,
            gate,
            cookies,
        })
    }
}

/// Every address of this server. What stands in the last scope needs a session.
fn routes(app: &mut ServiceConfig, shared: &Shared) {
    app.app_data(shared.db.clone())
        .app_data(shared.clock.clone())
        .app_data(shared.templates.clone())
        .app_data(shared.broadcaster.clone())
        .app_data(shared.links.clone())
        .app_data(shared.hosts.clone())
        .app_data(shared.metrics.clone())
        .app_data(shared.trials.clone());

    app.route("/assets/{name:.*}", web::get().to(assets::serve))
        .route("/login", web::get().to(session::login_page))
        .route("/login/{token}", web::get().to(session::login))
        .route("/api/health", web::get().to(health::json));

    app.service(
        web::scope("")
            .wrap(from_fn(signed_in))
            // On every page.
            .route("/logout", web::post().to(session::logout))
            .route("/ws/live", web::get().to(live::connect))
            .route("/theme", web::post().to(theme::switch))
            .route("/control/pause", web::post().to(control::pause))
            .route("/api/control/pause", web::post().to(control::pause_json))
            // Overview.
            .route("/", web::get().to(overview::page))
            .route("/api/overview", web::get().to(overview::json))
            // Followed users.
            .route("/users", web::get().to(users::page))
            .route("/users", web::post().to(following::follow))
            .route("/users/follow", web::get().to(following::page))
            .route("/users/{id}", web::get().to(user::page))
            .route("/users/{id}", web::post().to(following::change))
            .route("/api/users", web::get().to(users::json))
            .route("/api/users", web::post().to(following::follow_json))
            .route("/api/users/{id}", web::get().to(user::json))
            .route("/api/users/{id}", web::post().to(following::change_json))
            .route("/api/series/user/{id}", web::get().to(curves::user))
            // Global portfolio.
            .route("/portfolio", web::get().to(portfolio::page))
            .route("/portfolio/peak", web::post().to(portfolio::reset_peak))
            .route("/api/portfolio/global", web::get().to(portfolio::json))
            .route("/api/control/peak", web::post().to(portfolio::reset_peak_json))
            .route("/api/series/portfolio", web::get().to(curves::portfolio))
            // Trades and attempts.
            .route("/trades", web::get().to(lists::page))
            .route("/attempts/{id}", web::get().to(explanation::page))
            .route("/api/trades", web::get().to(trades::json))
            .route("/api/copy-attempts", web::get().to(attempts::json))
            .route("/api/copy-attempts/{id}", web::get().to(explanation::json))
            .route("/api/activities", web::get().to(activities::json))
            .route("/export/{what}.{format}", web::get().to(export::download))
            // Markets.
            .route("/markets", web::get().to(markets::page))
            .route("/markets/{id}", web::get().to(market::page))
            .route("/markets/{id}", web::post().to(markets::post))
            .route("/api/markets", web::get().to(markets::json))
            .route("/api/markets/{id}", web::post().to(markets::post_json))
            .route("/api/series/market/{id}", web::get().to(market::prices))
            .route("/api/series/market/{id}/slippage", web::get().to(market::slippage))
            // Config.
            .route("/config", web::get().to(config::page))
            .route("/config", web::post().to(config::save))
            .route("/config/restore", web::post().to(config::restore))
            .route("/config/test", web::post().to(config::begin))
            .route("/config/test/{id}", web::get().to(config::show))
            .route("/config/test/{id}/cancel", web::post().to(config::cancel))
            .route("/api/config", web::get().to(config::json))
            .route("/api/config/global", web::post().to(config::json_global))
            .route("/api/config/user/{id}", web::post().to(config::json_user))
            .route("/api/config/test", web::post().to(config::json_begin))
            .route("/api/config/test/{id}", web::get().to(config::json_show))
            .route("/api/config/test/{id}", web::delete().to(config::json_cancel))
            .route("/api/config/test/{id}/cancel", web::post().to(config::json_cancel))
            // System.
            .route("/status", web::get().to(status::page))
            .route("/status/dead-letters", web::post().to(letters::of_queue))
            .route("/status/dead-letters/{id}", web::post().to(letters::one))
            .route("/api/status", web::get().to(status::json))
            .default_service(web::to(|| async { Err::<&str, _>(WebError::NotFound) })),
    );
}
