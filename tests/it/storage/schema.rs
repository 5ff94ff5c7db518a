//! Both databases have the same schema, and every statement prepares on both.

use std::collections::BTreeSet;

use polymarketspy::db::{Db, every_statement};
use polymarketspy::testkit::TestDb;
use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr};

use super::harness::{on_both, sql};

on_both! {
    async fn every_statement_prepares(db: &Db) {
        for (name, text) in every_statement(db) {
            let text = AssertSqlSafe(text).into_sql_str();
            let prepared = match db {
                Db::Postgres(pool, _) => pool.prepare(text).await.map(drop),
                Db::Sqlite { read, .. } => read.prepare(text).await.map(drop),
            };
            prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    async fn migrating_again_changes_nothing(db: &Db) {
        let (one, two) = tokio::join!(db.migrate(), db.migrate());
        one.unwrap();
        two.unwrap();
    }

    async fn what_has_no_owner_is_still_unique(db: &Db) {
        let doubles = [
            "insert into guardrail_config (scope, config_json, updated_at) values ('GLOBAL', '{}', 1)",
            "insert into copy_sizing_config (scope, config_json, updated_at) values ('GLOBAL', '{}', 1)",
            "insert into system_config (id, config_json, updated_at) values (1, '{}', 1)",
        ];
        for text in doubles {
            assert!(sql!(db, text).is_err(), "{text}");
        }
        let twice = [
            "insert into ledger_entry (portfolio_scope, entry_type, share_delta_micros, cash_delta_micros, ref_id, created_at)
                values ('EXEC_GLOBAL', 'DEPOSIT', 0, 1, 'deposit:opening', 1)",
            "insert into portfolio_point (portfolio, bucket_time, equity_micros, cash_micros, exposure_micros,
                unrealized_pnl_micros, realized_pnl_micros) values (0, 60000, 1, 1, 0, 0, 0)",
        ];
        for text in twice {
            sql!(db, text).unwrap();
            assert!(sql!(db, text).is_err(), "a second time: {text}");
        }
    }
}

mod on_postgres {
    use super::*;

    #[tokio::test]
    async fn both_databases_have_the_same_tables_columns_and_indexes() {
        let (sqlite, postgres) = (TestDb::sqlite().await, TestDb::postgres().await);
        let (on_sqlite, on_postgres) = (shape_of(&sqlite.db).await, shape_of(&postgres.db).await);
        assert_eq!(on_sqlite.difference(&on_postgres).collect::<Vec<_>>(), Vec::<&String>::new(), "only on SQLite");
        assert_eq!(on_postgres.difference(&on_sqlite).collect::<Vec<_>>(), Vec::<&String>::new(), "only on PostgreSQL");
        assert!(on_sqlite.len() > 200, "found only {}", on_sqlite.len());
        sqlite.close().await;
        postgres.close().await;
    }
}

/// One line for each column (with its kind and whether it may be null) and each index that has a name of ours.
pub async fn shape_of(db: &Db) -> BTreeSet<String> {
    match db {
        Db::Sqlite { read, .. } => {
            let columns = sqlx::query(
                "select m.name, c.name, lower(c.type), c.\"notnull\" or c.pk > 0 from sqlite_master m,
                 pragma_table_info(m.name) c where m.type = 'table' and m.name not like 'sqlite%'
                 and m.name not like '_sqlx%'",
            );
            let mut shape: BTreeSet<String> = columns
                .fetch_all(read)
                .await
                .unwrap()
                .iter()
                .map(|row| line(row.get(0), row.get(1), row.get(2), row.get::<i64, _>(3) != 0))
                .collect();
            let indexes = sqlx::query_scalar("select name from sqlite_master where type = 'index' and sql is not null");
            let names: Vec<String> = indexes.fetch_all(read).await.unwrap();
            shape.extend(names.into_iter().map(|name| format!("index {name}")));
            shape
        }
        Db::Postgres(pool, _) => {
            let columns = sqlx::query(
                "select c.table_name::text, c.column_name::text, c.data_type::text, c.is_nullable = 'NO'
                 from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
                 where t.table_type = 'BASE TABLE' and table_schema = 'public' and table_name not like '\\_sqlx%'",
            );
            let mut shape: BTreeSet<String> = columns
                .fetch_all(pool)
                .await
                .unwrap()
                .iter()
                .map(|row| line(row.get(0), row.get(1), row.get(2), row.get::<bool, _>(3)))
                .collect();
            let indexes = sqlx::query_scalar(
                "select indexname::text from pg_indexes where schemaname = 'public'
                 and indexname not like '%\\_pkey' and indexname not like '%\\_key'",
            );
            let names: Vec<String> = indexes.fetch_all(pool).await.unwrap();
            shape.extend(names.into_iter().map(|name| format!("index {name}")));
            shape
        }
    }
}

fn line(table: &str, column: &str, kind: &str, required: bool) -> String {
    // SQLite has one type for counts and for booleans.
    let kind = match kind {
        "bigint" | "boolean" => "integer",
        "uuid" | "bytea" => "blob",
        other => other,
    };
    format!("{table}.{column} {kind}{}", if required { " not null" } else { "" })
}
