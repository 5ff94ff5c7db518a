//! The context of a page handler: the current user, the data it reads from, and the frame around the content of a page.

use std::future::{Ready, ready};

use actix::Recipient;
use actix_session::{Session, SessionExt};
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, web::Data};
use serde::Serialize;

use super::flash::Flash;
use super::theme::Theme;
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::money::units::Timestamp;
use crate::web::auth::user::CurrentUser;
use crate::web::live::messages::{GetStreamPosition, StreamPosition};
use crate::web::server::error::WebError;
use crate::web::server::render::Templates;

/// A page of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Page {
    Overview,
    Users,
    User,
    Follow,
    Portfolio,
    Trades,
    Attempt,
    Markets,
    Market,
    Config,
    Status,
    Access,
}

/// A request for a page. As an extractor it refuses a request without a current user.
pub struct PageContext {
    pub visitor: CurrentUser,
    pub db: Data<Db>,
    pub clock: Data<Clock>,
    pub templates: Data<Templates>,
    stream: Data<Recipient<GetStreamPosition>>,
    session: Session,
    theme: Theme,
}

/// The view of the frame around the content of every page.
#[derive(Debug, Serialize)]
struct PageFrame<'a> {
    page: Page,
    title: &'static str,
    /// The highlighted entry of the navigation.
    active_nav: Page,
    theme: Theme,
    csrf: &'a str,
    engine_enabled: bool,
    opens_enabled: bool,
    notice: Option<Flash>,
    /// The topics that the websocket pushes to this page, separated by commas.
    topics: &'static str,
    /// How often the page reads its figures again. 0 means never.
    refresh_ms: u32,
    /// The page shows all rows up to the live frame of this number.
    seq: u64,
}

impl Page {
    const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Users => "Followed users",
            Self::User => "Followed user",
            Self::Follow => "Follow a trader",
            Self::Portfolio => "Global portfolio",
            Self::Trades => "Trades & attempts",
            Self::Attempt => "Copy attempt",
            Self::Markets => "Markets",
            Self::Market => "Market",
            Self::Config => "Configuration",
            Self::Status => "System",
            Self::Access => "Access & audit log",
        }
    }

    const fn template(self) -> &'static str {
        match self {
            Self::Overview => "pages/overview.html",
            Self::Users => "pages/users.html",
            Self::User => "pages/user.html",
            Self::Follow => "pages/follow.html",
            Self::Portfolio => "pages/portfolio.html",
            Self::Trades => "pages/trades.html",
            Self::Attempt => "pages/attempt.html",
            Self::Markets => "pages/markets.html",
            Self::Market => "pages/market.html",
            Self::Config => "pages/config.html",
            Self::Status => "pages/status.html",
            Self::Access => "pages/access.html",
        }
    }

    const fn active_nav(self) -> Self {
        match self {
            Self::User | Self::Follow => Self::Users,
            Self::Attempt => Self::Trades,
            Self::Market => Self::Markets,
            other => other,
        }
    }

    const fn topics(self) -> &'static str {
        match self {
            Self::Overview => "trades,attempts,portfolios,health",
            Self::Trades => "trades,attempts",
            Self::User => "trades,attempts",
            _ => "health",
        }
    }

    /// Returns the refresh interval of spec 11. Pages that it does not name change with the minute snapshots.
    const fn refresh_ms(self) -> u32 {
        match self {
            Self::Overview | Self::Users | Self::User | Self::Portfolio | Self::Status => 10_000,
            Self::Trades => 5_000,
            Self::Markets | Self::Market => 30_000,
            // A refresh would overwrite typed fields of the editor. An attempt never changes. The page that follows a
            // trader would ask Polymarket for the profile again and again.
            Self::Config | Self::Attempt | Self::Follow | Self::Access => 0,
        }
    }
}

impl PageContext {
    /// Returns the time of the clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the number of the last live frame. Call it before the database is read: a row that is committed during
    /// the reads is then on the page and pushed again, which is harmless.
    ///
    /// # Errors
    /// [`WebError::Busy`] while the broadcaster restarts.
    pub async fn position(&self) -> Result<StreamPosition, WebError> {
        self.stream.send(GetStreamPosition).await.map_err(|_| WebError::Busy)
    }

    /// Answers with `page`. Its template reads the fields of `view`, and the frame as `frame`.
    ///
    /// # Errors
    /// [`WebError::Ours`] when the database does not answer or the template does not fit the view.
    pub async fn page(
        &self,
        page: Page,
        position: &StreamPosition,
        view: &impl Serialize,
    ) -> Result<HttpResponse, WebError> {
        let config = self.db.global_config().await?;
        let frame = PageFrame {
            page,
            title: page.title(),
            active_nav: page.active_nav(),
            theme: self.theme,
            csrf: self.visitor.csrf(),
            engine_enabled: config.system.copy_engine_enabled,
            opens_enabled: config.system.opens_enabled,
            notice: Flash::take(&self.session),
            topics: page.topics(),
            refresh_ms: page.refresh_ms(),
            seq: position.seq,
        };
        let html = self.templates.page_in_frame(page.template(), view, &frame)?;
        Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html))
    }
}

impl FromRequest for PageContext {
    type Error = WebError;
    type Future = Ready<Result<Self, WebError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(context(request, payload))
    }
}

fn context(request: &HttpRequest, payload: &mut Payload) -> Result<PageContext, WebError> {
    fn data<T: 'static>(request: &HttpRequest) -> Result<Data<T>, WebError> {
        request.app_data::<Data<T>>().cloned().ok_or(WebError::Busy)
    }
    Ok(PageContext {
        visitor: CurrentUser::from_request(request, payload).into_inner()?,
        db: data(request)?,
        clock: data(request)?,
        templates: data(request)?,
        stream: data(request)?,
        session: request.get_session(),
        theme: Theme::of(request),
    })
}
