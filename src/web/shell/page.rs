//! What a page handler is given: who asks, what it may read, and the frame of the page around its content.

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

/// A signed-in visitor's request for a page. As an extractor it refuses everybody else.
pub struct PageContext {
    pub visitor: CurrentUser,
    pub db: Data<Db>,
    pub clock: Data<Clock>,
    pub templates: Data<Templates>,
    stream: Data<Recipient<GetStreamPosition>>,
    session: Session,
    theme: Theme,
}

/// What stands around every page's content.
#[derive(Debug, Serialize)]
struct PageFrame<'a> {
    place: Page,
    title: &'static str,
    /// The entry of the navigation that is lit.
    lit: Page,
    theme: Theme,
    csrf: &'a str,
    engine_enabled: bool,
    notice: Option<Flash>,
    /// What the websocket pushes to this page; empty when nothing of it is pushed.
    topics: &'static str,
    /// How often the page reads its figures again.
    refresh_ms: u32,
    /// Everything up to this live frame is on the page.
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

    const fn lit(self) -> Self {
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

    /// The cadences of spec section 11; what they do not name changes with the minute snapshots.
    const fn refresh_ms(self) -> u32 {
        match self {
            Self::Overview | Self::Users | Self::User | Self::Portfolio | Self::Status => 10_000,
            Self::Trades => 5_000,
            Self::Markets | Self::Market => 30_000,
            // What an editor holds is not swept away; an attempt never changes; nobody is asked again and again who
            // somebody is.
            Self::Config | Self::Attempt | Self::Follow | Self::Access => 0,
        }
    }
}

impl PageContext {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Asked before the database is read: what commits while we read is on the page and pushed again, which is harmless.
    ///
    /// # Errors
    /// `WebError::Busy` while the broadcaster is away.
    pub async fn position(&self) -> Result<StreamPosition, WebError> {
        self.stream.send(GetStreamPosition).await.map_err(|_| WebError::Busy)
    }

    /// The page at `place`. The fields of `view` are the template's variables, beside `frame`.
    pub async fn page(
        &self,
        place: Page,
        position: &StreamPosition,
        view: &impl Serialize,
    ) -> Result<HttpResponse, WebError> {
        let config = self.db.global_config().await?;
        let frame = PageFrame {
            place,
            title: place.title(),
            lit: place.lit(),
            theme: self.theme,
            csrf: self.visitor.csrf(),
            engine_enabled: config.system.copy_engine_enabled,
            notice: Flash::take(&self.session),
            topics: place.topics(),
            refresh_ms: place.refresh_ms(),
            seq: position.seq,
        };
        let html = self.templates.framed(place.template(), view, &frame)?;
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
