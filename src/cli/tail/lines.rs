//! One recorded row as one line of text.

use super::Row;
use crate::cli::terminal::{clean, shortened};
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::web::{AttemptView, TradeView, decimals};

const LABEL: usize = 18;
const QUESTION: usize = 60;
const UNKNOWN: &str = "–";

pub const HEADS: &str = "TIME (UTC)                WHAT     WHERE   TRADER              ACTION         PRICE        \
SHARES          USDC  OF WHAT";

/// The parts of a line, before they are aligned.
struct Line {
    at: Timestamp,
    what: What,
    /// Which portfolio; empty for a leader's own trade.
    place: &'static str,
    label: String,
    action: &'static str,
    price: Option<PriceMicros>,
    shares: Option<ShareMicros>,
    usdc: Option<UsdcMicros>,
    text: String,
}

#[derive(Clone, Copy)]
enum What {
    Trade,
    Copied,
    Skipped,
}

pub fn line(row: &Row, has_colours: bool) -> String {
    match row {
        Row::TradeEvent(trade) => Line::of_trade(trade).text(has_colours),
        Row::CopyAttempt(attempt) => Line::of_attempt(attempt).text(has_colours),
    }
}

impl Line {
    fn of_trade(trade: &TradeView) -> Self {
        Self {
            at: trade.detect_time,
            what: What::Trade,
            place: "",
            label: trade.followed_user_label.clone(),
            action: trade.side.as_str(),
            price: Some(trade.price_micros),
            shares: Some(trade.share_micros),
            usdc: Some(trade.notional_micros),
            text: subject(trade.outcome.as_deref(), &trade.question, trade.market_id.as_str()),
        }
    }

    fn of_attempt(attempt: &AttemptView) -> Self {
        let subject = subject(attempt.outcome.as_deref(), &attempt.question, attempt.market_id.as_str());
        let is_copied = attempt.decision == DecisionKind::Execute;
        let text = match attempt.filled_ratio_bps.0 {
            _ if !is_copied => {
                let reasons: Vec<&str> = attempt.reason_codes.iter().map(|code| code.as_str()).collect();
                format!("{}  {subject}", reasons.join(", "))
            }
            10_000.. => subject,
            part => format!("{} % filled  {subject}", decimals(part, 100, 2)),
        };
        Self {
            at: attempt.created_at,
            what: if is_copied { What::Copied } else { What::Skipped },
            place: match attempt.portfolio_scope {
                PortfolioScope::ExecGlobal => "shared",
                PortfolioScope::ExecUser | PortfolioScope::ShadowUser => "own",
            },
            label: attempt.followed_user_label.clone(),
            action: attempt.action,
            price: if is_copied { attempt.vwap_price_micros } else { attempt.their_reference_price_micros },
            shares: is_copied.then_some(attempt.filled_share_micros),
            usdc: Some(if is_copied { attempt.filled_notional_micros } else { attempt.target_notional_micros }),
            text,
        }
    }

    fn text(&self, has_colours: bool) -> String {
        let at = self.at.to_string();
        let at = at.trim_end_matches('Z').replacen('T', " ", 1);
        let what = self.what.text(has_colours);
        let label = shortened(&self.label, LABEL - 1);
        let price =
            self.price.map_or(UNKNOWN.to_owned(), |price| format!("{}¢", decimals(price.micros(), MICROS / 100, 2)));
        let shares = self.shares.map_or(UNKNOWN.to_owned(), |shares| decimals(shares.0, MICROS, 2));
        let usdc = self.usdc.map_or(UNKNOWN.to_owned(), |usdc| decimals(usdc.0, MICROS, 2));
        format!(
            "{at:<24}  {what}  {:<6}  {label:<LABEL$}  {:<10}  {price:>8}  {shares:>12}  {usdc:>12}  {}",
            self.place,
            self.action,
            clean(&self.text)
        )
    }
}

impl What {
    /// Pads the word before colouring it: a colour code has no width.
    fn text(self, has_colours: bool) -> String {
        let (word, colour) = match self {
            Self::Trade => ("trade", "36"),
            Self::Copied => ("copied", "32"),
            Self::Skipped => ("skipped", "33"),
        };
        if has_colours { format!("\u{1b}[{colour}m{word:<7}\u{1b}[0m") } else { format!("{word:<7}") }
    }
}

/// Returns the outcome and the market's question, or the market's id while the question is unknown.
fn subject(outcome: Option<&str>, question: &str, market: &str) -> String {
    let question = if question.is_empty() { market } else { question };
    let question = shortened(question, QUESTION);
    match outcome {
        Some(outcome) => format!("{} · {question}", shortened(outcome, QUESTION)),
        None => question,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_line() -> Line {
        Line {
            at: Timestamp::parse_iso("2026-01-15T12:00:00.123Z").unwrap(),
            what: What::Copied,
            place: "shared",
            label: "Quiet Harbour".to_owned(),
            action: "BUY",
            price: PriceMicros::new(521_000).ok(),
            shares: Some(ShareMicros(1_000_000_000)),
            usdc: Some(UsdcMicros(521_000_000)),
            text: subject(Some("Yes"), "Will it rain?", "0x"),
        }
    }

    /// Returns the column, in characters, in which a word begins.
    fn column(text: &str, word: &str) -> usize {
        text.split(word).next().unwrap().chars().count()
    }

    #[test]
    fn the_parts_of_a_line_are_aligned_with_their_heads() {
        let text = a_line().text(false);
        for (head, word) in [
            ("TIME", "2026"),
            ("WHAT", "copied"),
            ("WHERE", "shared"),
            ("TRADER", "Quiet"),
            ("ACTION", "BUY"),
            ("OF WHAT", "Yes"),
        ] {
            assert_eq!(column(HEADS, head), column(&text, word), "{head}\n{HEADS}\n{text}");
        }
        for (head, word) in [("PRICE", "52.10¢"), ("SHARES", "1,000.00"), ("USDC", "521.00")] {
            let ends = |text, word: &str| column(text, word) + word.chars().count();
            assert_eq!(ends(HEADS, head), ends(&text, word), "{head}\n{HEADS}\n{text}");
        }
        assert!(text.ends_with("Yes · Will it rain?"), "{text}");
    }

    #[test]
    fn colours_come_from_us_alone() {
        let hostile =
            Line { label: "\u{1b}[2Jx".to_owned(), text: subject(None, "\u{1b}]0;t\u{7}\nnext", "0x"), ..a_line() };
        assert!(!hostile.text(false).contains(|c: char| c.is_control()), "{:?}", hostile.text(false));
        assert_eq!(hostile.text(true).matches('\u{1b}').count(), 2);
    }
}
