//! How fast life must go for a history to reach its totals.
//!
//! How many groups and entries a fill brings is known only from fills lived so far, so the time is cut into pieces, and
//! each piece is paced by what the ones before it brought.

use super::{HistorySettings, MINUTE_MS, Story};
use crate::domain::money::units::Timestamp;
use crate::simulator::life::traders::LifeSettings;

/// Pieces of a history with totals: the error of the last one's pace is a fraction of a fortieth.
const PIECES: i64 = 40;
/// Aimed at beyond the totals, so that the last piece's error does not leave them unreached.
const BEYOND: f64 = 1.01;
/// What a fill brings, before anything was lived: two attempts a group of about two fills, a shadow entry and a fee.
const ATTEMPTS_GUESSED: f64 = 1.0;
const ENTRIES_GUESSED: f64 = 1.7;
/// The guesses count as much as so many events: the first few would tell nothing.
const GUESS_WEIGHS: f64 = 500.0;
/// Nobody stops trading altogether once the totals are reached.
const FILLS_PER_SECOND_MIN: f64 = 0.005;

/// What a history must have in the end, at least; zero asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub attempts: usize,
    pub entries: usize,
}

/// What was lived so far, written or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub events: usize,
    pub reached: Totals,
}

/// A piece of the time, and the life that is led in it.
#[derive(Debug)]
pub struct Piece {
    pub from: Timestamp,
    /// Exclusive, but for the last.
    pub to: Timestamp,
    pub last: bool,
    /// `None` goes on as before.
    pub life: Option<LifeSettings>,
}

/// Cuts the time from `start` to `end` and paces each piece.
#[derive(Debug)]
pub struct Pace {
    at: Timestamp,
    end: Timestamp,
    piece_ms: i64,
    /// What the paces of the pieces so far should have brought.
    fills_asked: f64,
}

impl Pace {
    pub fn new(settings: &HistorySettings, start: Timestamp, end: Timestamp) -> Self {
        let all = end.millis_since(start);
        let piece_ms = match settings.totals {
            Some(_) => (all / PIECES / MINUTE_MS * MINUTE_MS).max(MINUTE_MS),
            None => all,
        };
        Self { at: start, end, piece_ms, fills_asked: 0.0 }
    }

    /// The next piece; `None` behind the last.
    pub fn next(&mut self, settings: &HistorySettings, story: &Story) -> Option<Piece> {
        let from = self.at;
        if from >= self.end {
            return None;
        }
        let to = from.plus_millis(self.piece_ms);
        // What is left over joins the last piece: alone it would be too short to read.
        let last = self.end.millis_since(to) < MINUTE_MS;
        let to = if last { self.end } else { to };
        self.at = to;
        let life = settings.totals.map(|totals| {
            let fills_per_second = self.fills_per_second(totals, story.tally, from);
            self.fills_asked += fills_per_second * seconds(from, to);
            LifeSettings { fills_per_second, ..settings.life.clone() }
        });
        Some(Piece { from, to, last, life })
    }

    fn fills_per_second(&self, totals: Totals, tally: Tally, from: Timestamp) -> f64 {
        let weighed = tally.events as f64 + GUESS_WEIGHS;
        let left = |wanted: usize, reached: usize, guess: f64| {
            let brought = (reached as f64 + guess * GUESS_WEIGHS) / weighed;
            (wanted as f64 * BEYOND - reached as f64) / brought
        };
        let attempts = left(totals.attempts, tally.reached.attempts, ATTEMPTS_GUESSED);
        let entries = left(totals.entries, tally.reached.entries, ENTRIES_GUESSED);
        let fills_per_event = (self.fills_asked + GUESS_WEIGHS) / weighed;
        (attempts.max(entries) * fills_per_event / seconds(from, self.end)).max(FILLS_PER_SECOND_MIN)
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.millis_since(from).max(1) as f64 / 1000.0
}
