//! Markets made by hand, and the ids of all markets.

use crate::domain::market::facts::{FeeSchedule, Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};

use super::market::{Category, Event, Quotes, SimMarket, price};
use super::quirks::MarketQuirks;
use super::token_ids::StructuralId;
use crate::simulator::rng::{hash_text, hex_of, token_of};

/// A market to make by hand. Start from [`NewMarket::binary`] and change what differs.
#[derive(Debug, Clone)]
pub struct NewMarket {
    pub slug: String,
    pub question: String,
    pub outcomes: Vec<String>,
    pub category: Category,
    pub closes_at: Option<Timestamp>,
    pub tick: PriceMicros,
    pub min_shares: ShareMicros,
    pub fee: FeeSchedule,
    pub neg_risk: bool,
    /// Markets with the same event slug belong to one event.
    pub event_slug: String,
    pub quotes: Quotes,
    /// Made on the new ledger (Protocol V2): the condition starts with its module, and the tokens are computed from it.
    pub on_new_ledger: bool,
    /// The condition id and the token of each outcome, in place of those made from the slug.
    pub ids: Option<(MarketId, Vec<AssetId>)>,
    pub quirks: MarketQuirks,
}

impl NewMarket {
    /// Returns a Yes/No market: tick 0.01, no fee, no close, and a deep book with the touch at 0.49 and 0.50.
    pub fn binary(slug: &str) -> Self {
        let cents = |from: i64, step: i64| -> Vec<(i64, i64)> {
            (0..20).map(|n| ((from + n * step) * 10_000, 1_000_000_000)).collect()
        };
        Self {
            slug: slug.to_owned(),
            question: format!("{}?", slug.replace('-', " ")),
            outcomes: vec!["Yes".to_owned(), "No".to_owned()],
            category: Category::Geopolitics,
            closes_at: None,
            tick: price(10_000),
            min_shares: ShareMicros(5_000_000),
            fee: FeeSchedule::default(),
            neg_risk: false,
            event_slug: slug.to_owned(),
            quotes: Quotes::of(&cents(49, -1), &cents(50, 1)),
            on_new_ledger: false,
            ids: None,
            quirks: MarketQuirks::default(),
        }
    }

    /// Sets when trading ends.
    pub fn closes_at(self, at: Timestamp) -> Self {
        Self { closes_at: Some(at), ..self }
    }

    /// Sets the taker fee rate in millionths: 50_000 for 0.05.
    pub fn fee(self, rate_micros: i64) -> Self {
        Self { fee: FeeSchedule { rate_micros, exponent: 1 }, ..self }
    }

    /// Makes it one of the questions of a neg-risk event.
    pub fn of_event(self, event_slug: &str) -> Self {
        Self { neg_risk: true, event_slug: event_slug.to_owned(), ..self }
    }

    /// Makes it on the new ledger.
    pub fn on_new_ledger(self) -> Self {
        Self { on_new_ledger: true, ..self }
    }

    /// Sets the ids of a market that is known from elsewhere, for example from a stored database.
    pub fn ids(self, market: &MarketId, tokens: &[AssetId]) -> Self {
        Self { ids: Some((market.clone(), tokens.to_vec())), ..self }
    }

    /// Sets what the routes say that differs from the facts.
    pub fn quirks(self, quirks: MarketQuirks) -> Self {
        Self { quirks, ..self }
    }

    /// Sets the book, as outcome 0 sees it.
    pub fn quotes(self, quotes: Quotes) -> Self {
        Self { quotes, ..self }
    }

    /// Returns the market. Unless they are set, its ids are made from its slug: the same slug has the same ids with every
    /// seed.
    pub(in crate::simulator) fn build(self) -> SimMarket {
        let new = self;
        let number = hash_text(0, &new.slug);
        let mut id = condition_of(&new.slug);
        let mut outcomes = outcomes(&new.slug, &new.outcomes);
        if new.on_new_ledger {
            let structural = StructuralId::binary(&id);
            id = MarketId::parse(&structural.condition()).unwrap_or(id);
            for (index, outcome) in (0_u8..).zip(&mut outcomes) {
                outcome.asset = structural.token(index);
            }
        }
        if let Some((known, tokens)) = new.ids {
            id = known;
            for (outcome, token) in outcomes.iter_mut().zip(tokens) {
                outcome.asset = token;
            }
        }
        SimMarket {
            facts: Market {
                close_time: new.closes_at,
                question: new.question,
                slug: new.slug.clone(),
                neg_risk: new.neg_risk,
                fee: new.fee,
                tick: Some(new.tick),
                min_shares: Some(new.min_shares),
                outcomes,
                ..Market::unknown(id)
            },
            category: new.category,
            event: event_of(&new.event_slug, &new.event_slug.replace('-', " ")),
            gamma_id: 1_000_000 + number % 9_000_000,
            question_id: hex_of(0, "question", number, 32),
            neg_risk_id: new.neg_risk.then(|| hex_of(0, "neg-risk", hash_text(0, &new.event_slug), 32)),
            opens_at: Timestamp::EPOCH,
            closes_at: new.closes_at,
            resolves_at: None,
            payouts: Vec::new(),
            path: None,
            pinned: Some(new.quotes),
            without_book: false,
            without_fee_data: false,
            conversion_fee_bips: 0,
            quirks: new.quirks,
            last_trade: None,
        }
    }
}

/// Returns the condition id of the market with this slug.
pub(super) fn condition_of(slug: &str) -> MarketId {
    let text = hex_of(0, "condition", hash_text(0, slug), 32);
    MarketId::parse(&text).unwrap_or_else(|_| unreachable!("32 bytes of hex are a condition id"))
}

/// Returns the outcomes of the market with this slug; their token ids are made from it.
pub(super) fn outcomes(slug: &str, names: &[String]) -> Vec<OutcomeAsset> {
    (0_u64..)
        .zip(names)
        .map(|(index, name)| OutcomeAsset {
            asset: AssetId::parse(&token_of(0, slug, index))
                .unwrap_or_else(|_| unreachable!("256 bits in decimal are a token id")),
            outcome: name.clone(),
            index: i64::try_from(index).unwrap_or(0),
            payout: None,
        })
        .collect()
}

/// Returns the event with this slug; its id is made from it.
pub(super) fn event_of(slug: &str, title: &str) -> Event {
    let id = (100_000 + hash_text(0, slug) % 900_000).to_string();
    Event { id, slug: slug.to_owned(), title: title.to_owned() }
}
