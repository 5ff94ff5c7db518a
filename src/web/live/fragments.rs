//! Renders facts to live frames, with the same components as the pages. Each batch reads the database once.

use std::collections::BTreeMap;

use bytestring::ByteString;
use serde::Serialize;

use super::messages::{Frame, LiveFigures, PendingFacts};
use crate::clock::Clock;
use crate::web::pages::overview::{PortfolioFigures, UserSummary};
use crate::web::server::render::Templates;
use crate::web::views::attempts::AttemptView;
use crate::web::views::health::HealthView;
use crate::web::views::trades::TradeView;
use crate::{
    actors::live_hub::Topic,
    db::{Db, DbError},
};

/// The frames of one batch, for every page.
#[derive(Debug)]
pub struct Batch {
    /// Ascending by number.
    pub rows: Vec<Frame>,
    /// By the id of the region on the page.
    pub regions: BTreeMap<&'static str, Frame>,
    /// All facts up to this number are in `rows`, or are older than the rows of a list.
    pub upto: u64,
    /// False when the database did not answer or a component did not render. The other fields are then incomplete.
    pub complete: bool,
}

/// The JSON of a frame. A row is put on top of the list of its topic; a region replaces the region of the same id.
#[derive(Serialize)]
struct Wire<'a> {
    seq: u64,
    topic: Topic,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    html: String,
}

#[derive(Debug, thiserror::Error)]
enum RenderError {
    #[error("the database did not answer")]
    Db(#[from] DbError),
    #[error("a component did not render")]
    Template(#[from] tera::Error),
}

/// Renders facts to frames. Borrows what it reads from.
pub struct Renderer<'a> {
    pub db: &'a Db,
    pub clock: &'a Clock,
    pub templates: &'a Templates,
}

/// Rows and regions of one batch.
type Rendered = (Vec<Frame>, BTreeMap<&'static str, Frame>);

impl Renderer<'_> {
    /// Renders all of `pending`. A failure is logged here and reported by [`Batch::complete`].
    pub async fn render(&self, pending: PendingFacts, figures: &LiveFigures, upto: u64) -> Batch {
        match self.try_render(pending, figures, upto).await {
            Ok((rows, regions)) => Batch { rows, regions, upto, complete: true },
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, cause, "live rows could not be rendered; open pages read their lists again");
                Batch { rows: Vec::new(), regions: BTreeMap::new(), upto, complete: false }
            }
        }
    }

    async fn try_render(&self, pending: PendingFacts, live: &LiveFigures, upto: u64) -> Result<Rendered, RenderError> {
        let Self { db, clock, templates } = *self;
        let mut rows = Vec::new();
        let trades: Vec<_> = pending.trades.iter().map(|(_, trade)| trade.as_ref()).collect();
        for ((seq, _), view) in pending.trades.iter().zip(TradeView::of(db, &trades).await?) {
            rows.push(row(templates, *seq, Topic::Trades, view.id.to_string(), "trade_row", &view)?);
        }
        let attempts: Vec<_> = pending.attempts.iter().map(|(_, attempt)| attempt.as_ref()).collect();
        for view in AttemptView::of_recorded(db, &attempts).await? {
            let Some((seq, _)) = pending.attempts.iter().find(|(_, attempt)| attempt.id == view.id) else { continue };
            rows.push(row(templates, *seq, Topic::Attempts, view.id.to_string(), "attempt_row", &view)?);
        }
        rows.sort_by_key(|frame| frame.seq);

        let mut regions = BTreeMap::new();
        if pending.regions {
            let figures = PortfolioFigures::load(db, live, clock.now()).await?;
            regions.insert("figures", region(templates, upto, Topic::Portfolios, "figures", &figures)?);
            let users = UserSummary::all(db).await?;
            regions.insert("users", region(templates, upto, Topic::Portfolios, "users", &users)?);
            let health = HealthView::load(db, live, clock.now()).await;
            regions.insert("health", region(templates, upto, Topic::Health, "health", &health)?);
        }
        Ok((rows, regions))
    }
}

/// Renders a row with the component `part`.
fn row(
    templates: &Templates,
    seq: u64,
    topic: Topic,
    id: String,
    part: &str,
    view: &impl Serialize,
) -> Result<Frame, tera::Error> {
    let html = templates.part(part, "row", view)?;
    Ok(Frame { seq, topic, text: wire(&Wire { seq, topic, row: Some(id), region: None, html }) })
}

/// Renders a region. Its component, the argument of the component and its id on the page have the same name.
fn region(
    templates: &Templates,
    seq: u64,
    topic: Topic,
    name: &'static str,
    view: &impl Serialize,
) -> Result<Frame, tera::Error> {
    let html = templates.part(name, name, view)?;
    Ok(Frame { seq, topic, text: wire(&Wire { seq, topic, row: None, region: Some(name), html }) })
}

fn wire(wire: &Wire) -> ByteString {
    serde_json::to_string(wire).expect("text keys and plain values always serialise").into()
}
