//! Generated traders. The bot follows them as its leaders.
//!
//! Each trader has a separate random stream and separate action times. So the same seed and settings have the same
//! actions, in however many steps time is moved on.

mod trader;

use crate::domain::money::ids::Wallet;
use crate::domain::money::units::Timestamp;

use self::trader::{STYLES, Trader};
use super::state::exchange::{Exchange, wallet_of};

/// How much the traders do.
#[derive(Debug, Clone, PartialEq)]
pub struct LifeSettings {
    /// Of all traders together, on average.
    pub fills_per_second: f64,
    /// How many traders there are.
    pub leaders: usize,
    /// How many markets are open at any time.
    pub markets: u64,
}

impl Default for LifeSettings {
    fn default() -> Self {
        Self { fills_per_second: 0.5, leaders: 3, markets: 24 }
    }
}

/// Fills of one action, on average. With it the rate of the settings comes out right.
const FILLS_PER_ACTION: f64 = 2.0;

/// All traders; they start at rest.
#[derive(Debug, Default)]
pub struct Traders {
    settings: LifeSettings,
    traders: Vec<Trader>,
    running: bool,
}

/// Returns the profile name of trader `number`; `follow` finds the trader by it.
pub fn leader_name(number: usize) -> String {
    let (name, _) = STYLES[number % STYLES.len()];
    match number / STYLES.len() {
        0 => name.to_owned(),
        again => format!("{name}{}", again + 1),
    }
}

impl Traders {
    /// Lets the traders act from `at` on. Traders that acted before keep what they hold and go on at the new rate.
    pub fn start(&mut self, exchange: &mut Exchange, settings: LifeSettings, at: Timestamp) {
        for number in self.traders.len()..settings.leaders {
            let name = leader_name(number);
            let wallet = wallet_of(&format!("leader {number} of {}", exchange.seed));
            exchange.add_person(&wallet, &name);
            self.traders.push(Trader::new(exchange.seed, number, wallet, at));
        }
        self.traders.truncate(settings.leaders);
        for trader in &mut self.traders {
            trader.schedule_first_action(settings.action_gap_ms(), at);
        }
        for slot in 0..settings.markets {
            exchange.market_of_slot(slot, at);
        }
        self.settings = settings;
        self.running = true;
    }

    /// Lets the traders rest.
    pub fn stop(&mut self) {
        self.running = false;
    }

    /// Lets resting traders go on at the rate that they had.
    pub fn resume(&mut self) {
        self.running = true;
    }

    /// Returns the wallets, by trader number.
    pub fn wallets(&self) -> Vec<Wallet> {
        self.traders.iter().map(|trader| trader.wallet.clone()).collect()
    }

    /// Lets the traders act up to and including `until`, one action after another in the order of time.
    pub fn act_until(&mut self, exchange: &mut Exchange, until: Timestamp) {
        while self.running {
            let first = self.traders.iter_mut().enumerate().min_by_key(|(number, trader)| (trader.next_at, *number));
            let Some((_, trader)) = first.filter(|(_, trader)| trader.next_at <= until) else { break };
            trader.act(exchange, &self.settings);
        }
    }
}

impl LifeSettings {
    /// Returns the average time between two actions of one trader, in milliseconds.
    fn action_gap_ms(&self) -> f64 {
        1000.0 * FILLS_PER_ACTION * self.leaders as f64 / self.fills_per_second.max(1e-9)
    }
}
