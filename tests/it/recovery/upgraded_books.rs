//! Leaders who were followed before openings were booked: the first start makes their books agree with what the exchange
//! says that they hold (spec 5, Opening).

use std::collections::BTreeMap;

use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::db::{Db, FollowedUser};
use polymarketspy::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use polymarketspy::domain::accounting::mark::Mark;
use polymarketspy::domain::accounting::portfolio::{Lot, Portfolio};
use polymarketspy::domain::accounting::shadow::exactness::ExactnessState;
use polymarketspy::domain::money::ids::{AssetId, FollowedUserId, MarketId, Wallet};
use polymarketspy::domain::money::units::{MICROS, PriceMicros, ShareMicros, Timestamp};
use polymarketspy::simulator::{NewMarket, Quotes, SimulatorSettings, price};
use polymarketspy::testkit::{TestBot, TestDb, eventually};

use super::upgrade::{old_postgres, old_sqlite, unpacked};

const FIXTURE: &str = "schema-15-a4901a1";
const MINUTE_MS: i64 = 60_000;
/// A position has four decimals.
const STEP: i64 = 100;

/// What the exchange said of one position when the old bot was stopped.
#[derive(serde::Deserialize)]
struct Listed {
    proxy_wallet: String,
    token_id: String,
    condition_id: String,
    opposite_token_id: String,
    outcome_index: usize,
    current_size: f64,
    avg_price: f64,
    current_price: f64,
    last_event_at: i64,
    slug: String,
}

fn micros(number: f64) -> i64 {
    (number * 1e6).round() as i64
}

impl Listed {
    fn asset(&self) -> AssetId {
        AssetId::parse(&self.token_id).unwrap()
    }

    fn price(&self) -> PriceMicros {
        price(micros(self.current_price))
    }

    fn shares(&self) -> ShareMicros {
        ShareMicros(micros(self.current_size))
    }

    /// Returns the market of the position; its midpoint is the position's price.
    fn market(&self) -> NewMarket {
        let (market, opposite) = (MarketId::parse(&self.condition_id).unwrap(), &self.opposite_token_id);
        let mut tokens = [self.asset(), AssetId::parse(opposite).unwrap()];
        let mut middle = self.price().micros();
        if self.outcome_index == 1 {
            tokens.reverse();
            middle = MICROS - middle;
        }
        let half = 5_000.min(middle - 1).min(MICROS - middle - 1);
        let quotes = Quotes::of(&[(middle - half, 10_000 * MICROS)], &[(middle + half, 10_000 * MICROS)]);
        NewMarket::binary(&self.slug).ids(&market, &tokens).quotes(quotes)
    }
}

struct Scene {
    bot: TestBot,
    listed: Vec<Listed>,
    leaders: Vec<FollowedUser>,
}

impl Scene {
    /// The database of the old bot, and an exchange that lists the positions.
    async fn new(test_db: TestDb) -> Self {
        test_db.db.migrate().await.unwrap();
        let listed: Vec<Listed> = serde_json::from_slice(&unpacked(&format!("{FIXTURE}.positions.json.gz"))).unwrap();
        let bot = TestBot::at(test_db, None, SimulatorSettings::default()).await;
        let mut leaders = bot.db.followed_users().await.unwrap();
        leaders.retain(FollowedUser::enabled);
        bot.exchange.with(|exchange| {
            for leader in &leaders {
                exchange.add_profile(&leader.profile_wallet, &leader.label);
            }
            for position in &listed {
                if exchange.market_by_asset(&position.asset()).is_none() {
                    exchange.add_market(position.market());
                }
                let wallet = Wallet::parse(&position.proxy_wallet).unwrap();
                let at = Timestamp::from_millis(position.last_event_at * 1_000);
                let average = price(micros(position.avg_price));
                exchange.hold(&wallet, &position.asset(), position.shares(), average, Some(at));
            }
        });
        Self { bot, listed, leaders }
    }

    fn listed_of(&self, leader: &FollowedUser) -> BTreeMap<AssetId, &Listed> {
        let wallet = leader.profile_wallet.as_str();
        let of_leader = self.listed.iter().filter(|position| position.proxy_wallet == wallet);
        of_leader.map(|position| (position.asset(), position)).collect()
    }

    /// Returns the shadow after these entries, valued at the prices that the exchange lists.
    fn valued(&self, leader: &FollowedUser, entries: &[LedgerEntry]) -> Portfolio {
        let mut shadow = Portfolio::new(PortfolioId::ShadowUser(leader.id));
        for entry in entries {
            shadow.apply(entry).unwrap();
        }
        for position in &self.listed {
            shadow.set_mark(&position.asset(), Mark::Midpoint(position.price(), Clock::System.now())).unwrap();
        }
        shadow
    }
}

async fn shadow_entries(db: &Db, leader: &FollowedUser) -> Vec<LedgerEntry> {
    let placed = db.entries_after(PortfolioId::ShadowUser(leader.id), 0, 10_000).await.unwrap();
    placed.into_iter().map(|placed| placed.entry).collect()
}

async fn state(db: &Db, leader: FollowedUserId) -> ExactnessState {
    db.books_record(leader).await.unwrap().exactness().state()
}

fn is_negative(lot: &Lot) -> bool {
    lot.shares < ShareMicros::ZERO
}

/// Checks the entries by which the books of one leader were opened: they bring what the exchange lists, and no total PnL
/// but what negative holdings had shown, which was never real.
fn is_opened_at_the_mark(scene: &Scene, leader: &FollowedUser, before: &[LedgerEntry], after: &[LedgerEntry]) {
    assert_eq!(&after[..before.len()], before, "no entry has changed");
    let opened = &after[before.len()..];
    assert!(!opened.is_empty());
    let reference = format!("open:{}", leader.id);
    for entry in opened {
        assert_eq!(entry.kind, EntryType::Adjustment, "{entry:?}");
        assert!(entry.ref_id == reference || entry.ref_id == format!("{reference}:mark"), "{entry:?}");
    }
    let (before, after) = (scene.valued(leader, before), scene.valued(leader, after));
    let was_negative: Vec<Lot> = before.lots().filter(is_negative).collect();
    assert!(!was_negative.is_empty(), "the fixture has sales of shares that were held before following");
    assert_eq!(after.lots().filter(is_negative).count(), 0);
    let never_real: i64 = was_negative.iter().map(|lot| lot.value.0 - lot.cost.0).sum();
    let jump = after.figures().equity.0 - before.figures().equity.0 + never_real;
    // Each entry is rounded to a micro.
    assert!(jump.unsigned_abs() <= opened.len() as u64, "the total PnL jumps by {jump}");
    assert_eq!(after.figures().realized, before.figures().realized);
    for (asset, position) in scene.listed_of(leader) {
        let held = after.position(&asset, leader.id).shares;
        assert!(held.0 >= position.shares().0 - STEP, "{held:?} of {asset}, {} listed", position.current_size);
    }
}

async fn old_books_are_opened_at_the_first_start(test_db: TestDb) {
    let scene = Scene::new(test_db).await;
    let db = &scene.bot.db;
    assert_eq!(scene.leaders.len(), 2);
    let mut before = Vec::new();
    for leader in &scene.leaders {
        assert_eq!((leader.opening_entry, leader.opened_at), (EntryType::Adjustment, None));
        assert!(leader.follows_from.is_some());
        before.push(shadow_entries(db, leader).await);
    }
    let app = scene.bot.start().await;
    for (leader, before) in scene.leaders.iter().zip(&before) {
        eventually("the opening", async || db.is_opened(leader.id).await.unwrap().then_some(())).await;
        is_opened_at_the_mark(&scene, leader, before, &shadow_entries(db, leader).await);
    }
    assert_eq!(db.audits(Some("OPENING_BOOKED"), None, 9).await.unwrap().len(), scene.leaders.len());
    app.stop().await;

    // What the old bot had not read yet when it was killed is a difference, which stands until a second check.
    scene.bot.exchange.advance(6 * MINUTE_MS);
    let now = scene.bot.exchange.with(|exchange| exchange.now());
    let app = scene.bot.start_at(Clock::starting_at(now)).await;
    for leader in &scene.leaders {
        eventually("books that agree with the exchange", async || {
            (state(db, leader.id).await == ExactnessState::Adjusted).then_some(())
        })
        .await;
        let shadow = scene.valued(leader, &shadow_entries(db, leader).await);
        let listed = scene.listed_of(leader);
        for lot in shadow.lots() {
            let position = listed.get(&lot.asset).map_or(0, |position| position.shares().0);
            assert!((lot.shares.0 - position).abs() < STEP, "{lot:?}, {position} listed");
        }
        for (asset, position) in listed {
            let held = shadow.position(&asset, leader.id).shares.0;
            assert!((held - position.shares().0).abs() < STEP, "{held} of {asset}");
        }
    }
    app.stop().await;
    let report = audit(db).await.unwrap();
    assert_eq!((report.problems, report.notes), (Vec::new(), Vec::new()));
    let states: Vec<_> = report.venue.iter().map(|books| books.state).collect();
    assert_eq!(states, [ExactnessState::Adjusted; 2]);

    // A second start opens nothing again.
    let mut counts = Vec::new();
    for leader in &scene.leaders {
        counts.push(shadow_entries(db, leader).await.len());
    }
    let app = scene.bot.start_at(Clock::starting_at(now.plus_millis(MINUTE_MS))).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    app.stop().await;
    for (leader, n) in scene.leaders.iter().zip(counts) {
        assert_eq!(shadow_entries(db, leader).await.len(), n);
    }
    scene.bot.close().await;
}

#[actix::test]
async fn books_of_a4901a1_are_opened_at_the_first_start_on_sqlite() {
    old_books_are_opened_at_the_first_start(old_sqlite(FIXTURE).await).await;
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn books_of_a4901a1_are_opened_at_the_first_start() {
        old_books_are_opened_at_the_first_start(old_postgres(FIXTURE).await).await;
    }
}
