//! Malformed queries: each becomes a filter, or a mistake that names the wrong parameter.

use actix_web::web::Query;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

use crate::domain::decision::check::ReasonCode;
use crate::domain::events::event::Side;
use crate::testkit::malformed::{noise, number, words};
use crate::web::charts::curves::RangeQuery;
use crate::web::config::page::ConfigQuery;
use crate::web::live::socket::LiveQuery;
use crate::web::pages::follow::FollowQuery;
use crate::web::pages::market::SeriesQuery;
use crate::web::pages::markets::MarketsQuery;
use crate::web::pages::status::StatusQuery;
use crate::web::pages::trades::TradesPageQuery;
use crate::web::server::error::WebError;
use crate::web::shell::pagination;
use crate::web::views::activities::ActivityQuery;
use crate::web::views::attempts::AttemptQuery;
use crate::web::views::trades::TradeQuery;

/// Generates the value of a parameter: one that a page could send, or a broken one.
fn value() -> impl Strategy<Value = String> {
    let good = [
        "7",
        "50",
        "BUY",
        "SELL",
        "EXECUTE",
        "SKIP",
        "EXEC_GLOBAL",
        "EXEC_USER",
        "SPREAD_TOO_WIDE",
        "attempts",
        "trades",
        "activity",
        "7d",
        "24h",
        "held",
        "2026-11-25",
        "2026-11-25T10:00",
        "2026-11-25T10:00:00Z",
        "2026-11-25T10:00:00+14:00",
        "1790000000000-00000000000000000000000000000000",
        "--ffffffffffffffffffffffffffffffff",
        "2016-12-31T23:59:60Z",
        "-262143-01-01T00:00:00Z",
        "+262142-12-31T23:59:59.999Z",
        "9223372036854775807-00000000000000000000000000000000",
    ];
    prop_oneof![4 => prop::sample::select(good.to_vec()).prop_map(str::to_owned), 2 => words(), 1 => number()]
}

const NAMES: [&str; 17] = [
    "limit", "cursor", "user", "market", "scope", "decision", "reason", "side", "from", "to", "type", "tab", "q",
    "range", "before", "queue", "asset",
];

/// Generates queries: parameters with values, some twice, some unknown, some badly encoded.
fn queries() -> impl Strategy<Value = String> {
    let pair = prop_oneof![
        12 => (prop::sample::select(NAMES.to_vec()), value())
            .prop_map(|(name, value)| form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish()),
        1 => (words(), value())
            .prop_map(|(name, value)| form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish()),
        1 => (prop::sample::select(NAMES.to_vec()), prop::sample::select(vec!["%", "%f", "%ff%fe", "%00", "+", "=", ";"]))
            .prop_map(|(name, value)| format!("{name}={value}")),
        1 => noise(),
    ];
    prop::collection::vec(pair, 0..6).prop_map(|pairs| pairs.join("&"))
}

fn read<Q: DeserializeOwned>(query: &str) -> Option<Q> {
    Query::<Q>::from_query(query).map(Query::into_inner).ok()
}

fn is_a_mistake<T>(result: Result<T, WebError>, names: &[&str]) -> Result<Option<T>, TestCaseError> {
    match result {
        Ok(read) => Ok(Some(read)),
        Err(error) => {
            prop_assert!(matches!(error, WebError::Mistake(_)), "{error}");
            let said = error.to_string();
            prop_assert!(names.iter().any(|name| said.contains(&format!("`{name}`"))), "{said}");
            prop_assert!(said.chars().count() < 300, "{said}");
            Ok(None)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn web_queries_are_filters_or_named_mistakes(query in queries()) {
        let times = ["user", "side", "from", "to"];
        if let Some(query) = read::<AttemptQuery>(&query) {
            is_a_mistake(query.filter(None), &["user", "scope", "decision", "reason", "side", "from", "to"])?;
        }
        if let Some(query) = read::<TradeQuery>(&query) {
            is_a_mistake(query.filter(None), &times)?;
        }
        let _ = (read::<ActivityQuery>(&query), read::<TradesPageQuery>(&query), read::<MarketsQuery>(&query));
        let _ = (read::<ConfigQuery>(&query), read::<StatusQuery>(&query), read::<FollowQuery>(&query));
        let _ = (read::<LiveQuery>(&query), read::<SeriesQuery>(&query), read::<RangeQuery>(&query));
    }

    #[test]
    fn web_words_of_lists_are_read_or_named(text in value()) {
        let text = Some(text.as_str());
        if let Some(limit) = is_a_mistake(pagination::limit(text), &["limit"])? {
            prop_assert!((1..=200).contains(&limit));
        }
        if let Some(Some(cursor)) = is_a_mistake(pagination::cursor(text), &["cursor"])? {
            prop_assert_eq!(pagination::cursor(Some(&cursor.to_string())).unwrap(), Some(cursor));
        }
        is_a_mistake(pagination::user(text), &["user"])?;
        is_a_mistake(pagination::word::<Side>("side", text), &["side"])?;
        is_a_mistake(pagination::word::<ReasonCode>("reason", text), &["reason"])?;
        if let Some(Some(time)) = is_a_mistake(pagination::time("from", text), &["from"])? {
            prop_assert_eq!(pagination::time("from", Some(&time.iso())).unwrap(), Some(time));
        }
    }

    #[test]
    fn web_addresses_carry_their_words(values in prop::collection::vec(words(), 0..4)) {
        let names = ["market", "from", "type", "q"];
        let pairs: Vec<_> = names.iter().copied().zip(values.iter().map(|value| Some(value.as_str()))).collect();
        let address = pagination::address("/trades", &pairs);
        prop_assert!(address.bytes().all(|byte| byte.is_ascii_graphic()));
        let query = address.split_once('?').map_or("", |(_, query)| query);
        let read: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let given: Vec<(String, String)> = pairs
            .iter()
            .filter_map(|(name, value)| Some(((*name).to_owned(), pagination::given(*value)?.to_owned())))
            .collect();
        prop_assert_eq!(read, given);
    }
}
