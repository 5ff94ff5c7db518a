//! Generated markets. A slot always has one market of its kind: when it closes, the next one opens.
//!
//! The market of a slot at a time is a pure function of seed, slot and time.

use crate::domain::market::facts::{FeeSchedule, Market};
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, Timestamp};

use super::exchange::Exchange;
use super::market::{Category, PricePath, SimMarket, complement, price};
use super::new_market::{condition_of, event_of, outcomes};
use super::quirks::MarketQuirks;
use crate::simulator::rng::{Rng, hash_text, hex_of, noise};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The kinds repeat every so many slots. The last three of a cycle are the markets of one neg-risk event.
const CYCLE: u64 = 12;

/// What the markets of a slot have in common. Times are in milliseconds.
struct Kind {
    category: Category,
    lifetime: i64,
    tick: i64,
    /// From the end of trading to the resolution.
    resolves_after: i64,
}

const fn kind(category: Category, lifetime: i64, tick: i64, resolves_after: i64) -> Kind {
    Kind { category, lifetime, tick, resolves_after }
}

const KINDS: [Kind; 12] = [
    kind(Category::Politics, 30 * DAY, 10_000, 40 * MINUTE),
    kind(Category::Sports, 7 * HOUR, 10_000, 12 * MINUTE),
    kind(Category::Culture, 9 * DAY, 10_000, 90 * MINUTE),
    kind(Category::Crypto, HOUR, 10_000, MINUTE),
    kind(Category::Weather, DAY, 10_000, 50 * MINUTE),
    kind(Category::Geopolitics, 45 * DAY, 1_000, 3 * HOUR),
    kind(Category::Sports, 11 * HOUR, 10_000, 12 * MINUTE),
    kind(Category::Crypto, 15 * MINUTE, 10_000, MINUTE),
    kind(Category::Crypto, 2 * DAY, 1_000, 5 * MINUTE),
    kind(Category::Politics, 20 * DAY, 10_000, HOUR),
    kind(Category::Politics, 20 * DAY, 10_000, HOUR),
    kind(Category::Politics, 20 * DAY, 10_000, HOUR),
];

const PLACES: [&str; 12] = [
    "Westmark",
    "Port Elsin",
    "Harrowdale",
    "Lindenau",
    "Castmere",
    "Ostrava Bay",
    "Kingsferry",
    "Northvale",
    "San Tamar",
    "Brackwater",
    "Elderby",
    "Calder Falls",
];
const TEAMS: [&str; 12] = [
    "Westmark Herons",
    "Elsin United",
    "Harrow Comets",
    "Lindenau 04",
    "Castmere Rovers",
    "Bay Tritons",
    "Ferry Athletic",
    "Vale Wolves",
    "Tamar Suns",
    "Brack Mariners",
    "Elder Park",
    "Calder City",
];
const WORKS: [&str; 8] = [
    "The Glass Orchard",
    "Low Tide",
    "Paper Moons",
    "A Year in Amber",
    "Signal Lost",
    "The Ninth Harbour",
    "Small Republics",
    "Night Ferry",
];
const COINS: [(&str, i64); 4] = [("Bitcoin", 104_000), ("Ethereum", 4_100), ("Solana", 210), ("Ripple", 3)];
const PARTIES: [&str; 6] =
    ["Harbour Party", "Civic Union", "Green Ledger", "New Centre", "Old Town List", "Reform Bloc"];

/// Returns the market of `slot` at `at`.
pub fn market_in_slot(seed: u64, slot: u64, at: Timestamp) -> SimMarket {
    let of_cycle = slot % CYCLE;
    let kind = &KINDS[of_cycle as usize];
    let member = of_cycle.checked_sub(9);
    // The three markets of a neg-risk event open and close together.
    let clock_slot = member.map_or(slot, |member| slot - member);
    let shift = (noise(seed, 900, clock_slot.cast_signed()) * kind.lifetime as f64) as i64 / MINUTE * MINUTE;
    let generation = (at.millis() + shift).div_euclid(kind.lifetime);
    let opens_at = Timestamp::from_millis(generation * kind.lifetime - shift);
    let closes_at = opens_at.plus_millis(kind.lifetime);
    let mut rng = Rng::named(seed, "market", slot.wrapping_mul(1_000_003).wrapping_add(generation.cast_unsigned()));
    let event_rng = Rng::named(seed, "event", clock_slot.wrapping_mul(1_000_003) ^ generation.cast_unsigned());
    let wording = Wording::of(kind.category, member, event_rng, &mut rng, closes_at);
    // A suffix of seed, slot and generation keeps slugs apart, and so the ids made from them.
    let suffix = hash_text(seed, &format!("{slot}/{generation}")) % 0x00ff_ffff;
    let slug = format!("{}-{suffix:06x}", slug_of(&wording.question));
    let event_slug = format!("{}-{:x}", slug_of(&wording.event), clock_slot ^ generation.cast_unsigned());
    let neg_risk_number = clock_slot ^ (generation.cast_unsigned() << 20);
    let path = price_path(&mut rng, member.map(|member| wording.winner == member), opens_at, closes_at);
    SimMarket {
        facts: facts(kind, &slug, &wording, member.is_some(), closes_at),
        category: kind.category,
        event: event_of(&event_slug, &wording.event),
        gamma_id: 1_000_000 + hash_text(2, &slug) % 9_000_000,
        question_id: hex_of(seed, "question", hash_text(2, &slug), 32),
        neg_risk_id: member.map(|_| hex_of(seed, "neg-risk", neg_risk_number, 32)),
        opens_at,
        closes_at: Some(closes_at),
        resolves_at: Some(closes_at.plus_millis(kind.resolves_after)),
        payouts: vec![path.ends_at, complement(path.ends_at)],
        path: Some(path),
        pinned: None,
        without_book: false,
        without_fee_data: false,
        conversion_fee_bips: 0,
        quirks: MarketQuirks::default(),
        last_trade: None,
    }
}

/// Draws the path of a price. `wins` says how a market of a neg-risk event ends; all others draw their end, and one in
/// about thirty pays half to each side.
fn price_path(rng: &mut Rng, wins: Option<bool>, opens_at: Timestamp, closes_at: Timestamp) -> PricePath {
    let start = if wins.is_some() { -0.7 + rng.normal() * 0.3 } else { rng.normal() * 0.8 };
    let split = wins.is_none() && rng.chance(0.03);
    let wins = match wins {
        Some(wins) => wins,
        None => rng.chance(1.0 / (1.0 + (-start).exp())),
    };
    let ends_at = match (split, wins) {
        (true, _) => price(MICROS / 2),
        (_, true) => PriceMicros::ONE,
        (_, false) => PriceMicros::ZERO,
    };
    PricePath {
        seed: rng.next_u64(),
        start,
        swing: 0.5 + rng.uniform(),
        depth: 60.0 * (rng.uniform() * 3.2).exp(),
        opens_at,
        closes_at,
        ends_at,
    }
}

fn facts(kind: &Kind, slug: &str, wording: &Wording, neg_risk: bool, closes_at: Timestamp) -> Market {
    let rate_micros = kind.category.fee_rate_micros();
    Market {
        question: wording.question.clone(),
        slug: slug.to_owned(),
        close_time: Some(closes_at),
        neg_risk,
        fee: FeeSchedule { rate_micros, exponent: u32::from(rate_micros > 0) },
        tick: Some(price(kind.tick)),
        min_shares: Some(ShareMicros(5_000_000)),
        outcomes: outcomes(slug, &wording.outcomes),
        ..Market::unknown(condition_of(slug))
    }
}

impl Exchange {
    /// Returns the id of the market in `slot` at `at`; adds the market when it is new.
    pub(in crate::simulator) fn market_of_slot(&mut self, slot: u64, at: Timestamp) -> MarketId {
        if let Some((id, opens_at, closes_at)) = self.slots.get(&slot)
            && *opens_at <= at
            && at < *closes_at
        {
            return id.clone();
        }
        let market = market_in_slot(self.seed, slot, at);
        let (id, closes_at) = (market.id().clone(), market.closes_at.unwrap_or(at));
        self.slots.insert(slot, (id.clone(), market.opens_at, closes_at));
        if self.market(&id).is_none() {
            self.insert_market(market);
        }
        id
    }
}

/// The texts of a market.
struct Wording {
    question: String,
    event: String,
    outcomes: Vec<String>,
    /// The index of the market that wins in a neg-risk event.
    winner: u64,
}

impl Wording {
    fn of(category: Category, member: Option<u64>, mut event: Rng, own: &mut Rng, closes_at: Timestamp) -> Self {
        let date = chrono::DateTime::from_timestamp_millis(closes_at.millis()).unwrap_or_default();
        let (day, hour) = (date.format("%B %-d").to_string(), date.format("%-I:%M%p").to_string());
        let place = event.choose(&PLACES).copied().unwrap_or_default();
        let winner = event.next_u64() % 3;
        let yes_no = || vec!["Yes".to_owned(), "No".to_owned()];
        let alone =
            |question: String, outcomes: Vec<String>| Self { event: question.clone(), question, outcomes, winner };
        if let Some(member) = member {
            let party = PARTIES[(event.next_u64() as usize + member as usize) % PARTIES.len()];
            return Self {
                question: format!("Will the {party} win the {place} council on {day}?"),
                event: format!("{place} council: who wins on {day}?"),
                outcomes: yes_no(),
                winner,
            };
        }
        match category {
            Category::Crypto => {
                let (coin, level) = own.choose(&COINS).copied().unwrap_or(("Bitcoin", 100_000));
                if own.chance(0.5) {
                    return alone(
                        format!("{coin} Up or Down - {day}, {hour} UTC"),
                        vec!["Up".to_owned(), "Down".to_owned()],
                    );
                }
                let level = level * own.between(90, 110) / 100;
                alone(format!("Will {coin} be above ${level} on {day} at {hour} UTC?"), yes_no())
            }
            Category::Sports => {
                let home = own.next_u64() as usize % TEAMS.len();
                let away = (home + 1 + own.next_u64() as usize % (TEAMS.len() - 1)) % TEAMS.len();
                alone(
                    format!("{} vs. {} - {day}, {hour} UTC", TEAMS[home], TEAMS[away]),
                    vec![TEAMS[home].to_owned(), TEAMS[away].to_owned()],
                )
            }
            Category::Politics => alone(format!("Will {place} pass its budget before {day}?"), yes_no()),
            Category::Weather => {
                let low = own.between(4, 31);
                alone(format!("Will the highest temperature in {place} be {low}-{}°C on {day}?", low + 1), yes_no())
            }
            Category::Culture => {
                let work = own.choose(&WORKS).copied().unwrap_or_default();
                alone(format!("Will \"{work}\" top the charts on {day}?"), yes_no())
            }
            Category::Geopolitics => alone(format!("Will {place} reopen its border by {day}?"), yes_no()),
        }
    }
}

fn slug_of(question: &str) -> String {
    let letters =
        question.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>();
    letters.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_always_has_a_market_and_the_next_one_follows_at_once() {
        let start = Timestamp::parse_iso("2026-11-20T00:00:00Z").unwrap();
        for slot in 0..36 {
            let mut last: Option<SimMarket> = None;
            for step in 0..400 {
                let at = start.plus_millis(step * 7 * MINUTE);
                let market = market_in_slot(9, slot, at);
                assert!(market.opens_at <= at && at < market.closes_at.unwrap());
                if let Some(last) = last.filter(|last| last.id() != market.id()) {
                    assert!(last.closes_at.unwrap() <= market.opens_at);
                    assert_ne!(last.asset(0), market.asset(0));
                }
                last = Some(market);
            }
        }
    }

    #[test]
    fn one_market_of_a_neg_risk_event_wins() {
        let at = Timestamp::parse_iso("2026-11-20T00:00:00Z").unwrap();
        for cycle in 0..20 {
            let members: Vec<SimMarket> = (9..12).map(|slot| market_in_slot(3, cycle * 12 + slot, at)).collect();
            assert!(members.iter().all(|market| market.neg_risk_id == members[0].neg_risk_id));
            assert!(members.iter().all(|market| market.event == members[0].event && market.facts.neg_risk));
            let winners = members.iter().filter(|market| market.payouts[0] == PriceMicros::ONE).count();
            assert_eq!(winners, 1);
        }
    }
}
