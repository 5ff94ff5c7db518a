//! What a database holds, read as text: two of them can be compared row by row.

use std::collections::BTreeMap;

use polymarketspy::db::Db;
use sqlx::AssertSqlSafe;

/// Returns the rows of one statement as text, on either database.
pub async fn texts(db: &Db, text: String) -> Vec<String> {
    let text = AssertSqlSafe(text);
    match db {
        Db::Postgres(pool, _) => sqlx::query_scalar(text).fetch_all(pool).await.unwrap(),
        Db::Sqlite { read, .. } => sqlx::query_scalar(text).fetch_all(read).await.unwrap(),
    }
}

/// Returns the columns of each table.
pub async fn tables(db: &Db) -> BTreeMap<String, Vec<String>> {
    let text = match db {
        Db::Postgres(..) => {
            "select table_name::text, column_name::text from information_schema.columns where table_schema = 'public'"
        }
        Db::Sqlite { .. } => {
            "select m.name, c.name from sqlite_master m, pragma_table_info(m.name) c
                where m.type = 'table' and m.name not like 'sqlite%'"
        }
    };
    let pairs: Vec<(String, String)> = match db {
        Db::Postgres(pool, _) => sqlx::query_as(text).fetch_all(pool).await.unwrap(),
        Db::Sqlite { read, .. } => sqlx::query_as(text).fetch_all(read).await.unwrap(),
    };
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column) in pairs {
        tables.entry(table).or_default().push(column);
    }
    tables
}

/// Removes the columns that a later migration has given another form; [`moved_texts`] compares them.
pub fn without_moved(mut tables: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let moved = [
        ("trade_event", "source"),
        ("activity_event", "source"),
        ("copy_attempt", "explain_json"),
        ("copy_attempt", "group_key"),
        ("book_snapshot", "bids_json"),
        ("book_snapshot", "asks_json"),
    ];
    for (table, column) in moved {
        tables.get_mut(table).unwrap().retain(|name| name != column);
    }
    tables
}

/// Returns the sources of all events, the explanations, the keys of the attempts' groups and the books as they are to be
/// after migrations 16 and 28: from the columns before them, or from those after them.
pub async fn moved_texts(db: &Db, migrated: bool) -> Vec<String> {
    let (id, text) = match db {
        Db::Postgres(..) => ("id::text", "convert_from(COLUMN, 'UTF8')"),
        Db::Sqlite { .. } => ("lower(hex(id))", "cast(COLUMN as text)"),
    };
    let text_of = |column: &str| text.replace("COLUMN", column);
    let source = if migrated { "source" } else { "case source when 'DATA_API' then 'POLYMARKET_API' else source end" };
    let mut queries: Vec<String> = ["trade_event", "activity_event"]
        .map(|table| format!("select {id} || ' ' || {source} from {table} order by 1"))
        .into();
    queries.push(match migrated {
        true => {
            let id = id.replace("id", "attempt_id");
            format!("select {id} || ' ' || {} from attempt_explanation order by 1", text_of("content"))
        }
        false => format!("select {id} || ' ' || explain_json from copy_attempt order by 1"),
    });
    queries.push(match migrated {
        true => format!(
            "select {} || ' ' || group_key from copy_attempt a join event_group g on g.id = a.group_id order by 1",
            id.replace("id", "a.id")
        ),
        false => format!("select {id} || ' ' || group_key from copy_attempt order by 1"),
    });
    let sides = if migrated { text_of("sides") } else { "'[' || bids_json || ',' || asks_json || ']'".to_owned() };
    let group = id.replace("id", "group_id");
    queries.push(format!("select {group} || ' ' || coalesce({sides}, unavailable) from book_snapshot order by 1"));
    let mut found = Vec::new();
    for query in queries {
        let rows = texts(db, query).await;
        assert!(!rows.is_empty());
        found.extend(rows);
    }
    found
}

/// Returns every row of `tables`, with the columns that are named there.
pub async fn rows(db: &Db, tables: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let mut rows = BTreeMap::new();
    for (table, columns) in tables {
        let quote = if matches!(db, Db::Postgres(..)) { "quote_nullable" } else { "quote" };
        let quoted: Vec<String> = columns.iter().map(|column| format!(r#"{quote}("{column}")"#)).collect();
        let text = format!("select {} as row from {table} order by 1", quoted.join(" || ' ' || "));
        rows.insert(table.clone(), texts(db, text).await);
    }
    rows
}

/// Returns the cash, the shares of each asset and the number of entries of each portfolio.
pub async fn figures(db: &Db) -> Vec<String> {
    let text = "select portfolio_scope || ' ' || coalesce(followed_user_id, 0) || ' ' || coalesce(asset_id, '') || ' '
        || cast(sum(cash_delta_micros) as bigint) || ' ' || cast(sum(share_delta_micros) as bigint) || ' ' || count(*)
        from ledger_entry group by portfolio_scope, followed_user_id, asset_id order by 1";
    texts(db, text.to_owned()).await
}
