//! Backs up a PostgreSQL database with PostgreSQL's own tools, which must be of the server's version or newer.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use percent_encoding::percent_decode_str;
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use url::Url;

use super::{BackupError, on_file};
use crate::db::{DbError, without_password};

/// The custom format of `pg_dump`: it is compressed, and `pg_restore` restores its parts in the right order.
pub(super) const ENDING: &str = ".pgdump";

/// The parameters of a URL by their names in sqlx and in libpq, PostgreSQL's own library.
const LIBPQ_NAMES: [(&str, &str); 13] = [
    ("sslmode", "sslmode"),
    ("ssl-mode", "sslmode"),
    ("sslrootcert", "sslrootcert"),
    ("ssl-root-cert", "sslrootcert"),
    ("sslcert", "sslcert"),
    ("ssl-cert", "sslcert"),
    ("sslkey", "sslkey"),
    ("ssl-key", "sslkey"),
    ("host", "host"),
    ("hostaddr", "hostaddr"),
    ("port", "port"),
    ("dbname", "dbname"),
    ("user", "user"),
];

/// The database as the tools find it. The password is not an argument, because other users of the machine can read those.
pub(super) struct Server {
    url: String,
    password: Option<String>,
}

impl Server {
    /// Parses the URL of a server.
    ///
    /// # Errors
    /// [`DbError::Address`] for any other URL; it does not repeat the password.
    pub fn parse(text: &str) -> Result<Self, BackupError> {
        let refused = || DbError::Address { url: without_password(text) };
        let mut url = Url::parse(text).map_err(|_| refused())?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(refused().into());
        }
        let mut password = url.password().map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        // The URL of a socket has no host, and therefore no password to remove.
        let _ = url.set_password(None);
        let mut kept = Vec::new();
        for (name, value) in url.query_pairs() {
            match LIBPQ_NAMES.iter().find(|(ours, _)| *ours == name) {
                Some((_, theirs)) => kept.push((*theirs, value.into_owned())),
                None if name == "password" => password = Some(value.into_owned()),
                // A parameter that only sqlx knows.
                None => {}
            }
        }
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        Ok(Self { url: url.into(), password })
    }

    /// Writes the whole database to a file.
    ///
    /// # Errors
    /// [`BackupError`] when a tool is missing or fails.
    pub fn dump(&self, to: &Path) -> Result<(), BackupError> {
        let mut dump = self.tool("pg_dump");
        dump.args(["--format=custom", "--compress=6", "--no-owner", "--no-privileges", "--no-password"]);
        dump.arg("--dbname").arg(&self.url).arg("--file").arg(to);
        finish("pg_dump", &mut dump)?;
        // Checks that the table of contents can be read.
        finish("pg_restore", Command::new("pg_restore").arg("--list").arg(to))
    }

    /// Restores a dump into an empty database, completely or not at all.
    ///
    /// # Errors
    /// [`BackupError::Occupied`] when the database is not empty; any other [`BackupError`].
    pub async fn fill(&self, from: &Path, url: &str) -> Result<(), BackupError> {
        check_ours(from)?;
        let mut connection = connect(url).await?;
        let is_empty = "select to_regclass('_sqlx_migrations') is null";
        let is_empty: bool = sqlx::query_scalar(is_empty).fetch_one(&mut connection).await.map_err(DbError::from)?;
        if !is_empty {
            let place = sqlx::query_scalar("select current_database()");
            let name: String = place.fetch_one(&mut connection).await.map_err(DbError::from)?;
            return Err(BackupError::Occupied { place: format!("PostgreSQL's `{name}`") });
        }
        let mut restore = self.tool("pg_restore");
        restore.args(["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-password"]);
        restore.arg("--dbname").arg(&self.url).arg(from);
        finish("pg_restore", &mut restore)?;
        // A dump has no statistics; without them the query plans of the first hour would be guesses.
        sqlx::raw_sql("analyze").execute(&mut connection).await.map_err(DbError::from)?;
        connection.close().await.map_err(DbError::from)?;
        Ok(())
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        command
    }
}

/// Checks that a dump is one of our database, before anything of it runs on the server: a dump may contain functions.
///
/// # Errors
/// [`BackupError::Foreign`]; [`BackupError::NoProgram`] when `pg_restore` is missing.
fn check_ours(file: &Path) -> Result<(), BackupError> {
    let foreign = |problem: &str| BackupError::Foreign { file: file.to_owned(), problem: problem.to_owned() };
    let mut magic = Vec::new();
    let opened = File::open(file).map_err(on_file(file, "read"))?;
    opened.take(5).read_to_end(&mut magic).map_err(on_file(file, "read"))?;
    if magic != b"PGDMP" {
        return Err(foreign("it is not a dump of `pg_dump --format=custom`"));
    }
    let listed = Command::new("pg_restore").arg("--list").arg(file).stdin(Stdio::null()).output();
    let listed = listed.map_err(|source| BackupError::NoProgram { program: "pg_restore", source })?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let has = |table: &str| text.lines().any(|line| line.contains(&format!(" TABLE public {table} ")));
    match has("_sqlx_migrations") && has("ledger_entry") {
        true => Ok(()),
        false => Err(foreign("the database in it was not made by polymarketspy")),
    }
}

async fn connect(url: &str) -> Result<PgConnection, BackupError> {
    let options: PgConnectOptions = url.parse().map_err(|_| DbError::Address { url: without_password(url) })?;
    Ok(PgConnection::connect_with(&options.disable_statement_logging()).await.map_err(DbError::from)?)
}

/// Runs a tool to its end; its standard error is the error message.
fn finish(program: &'static str, command: &mut Command) -> Result<(), BackupError> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|source| BackupError::NoProgram { program, source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(BackupError::Program {
            program,
            message: String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> (String, Option<String>) {
        let server = Server::parse(url).unwrap();
        (server.url, server.password)
    }

    #[test]
    fn a_password_is_never_an_argument() {
        let bare = "postgres://me@db.example:5433/spy".to_owned();
        let found = server("postgres://me:a%2Fb%25+c@db.example:5433/spy");
        assert_eq!(found, (bare.clone(), Some("a/b%+c".to_owned())));
        assert_eq!(server("postgres://me@db.example:5433/spy?password=p%26q"), (bare.clone(), Some("p&q".to_owned())));
        assert_eq!(server(&bare), (bare, None));
    }

    #[test]
    fn parameters_get_the_names_that_the_tools_know_and_sqlx_parameters_are_left_out() {
        let url = "postgresql://me@db/spy?ssl-mode=require&statement-cache-capacity=10&sslrootcert=/ca.pem";
        assert_eq!(server(url).0, "postgresql://me@db/spy?sslmode=require&sslrootcert=%2Fca.pem");
        assert_eq!(
            server("postgres:///spy?host=/var/run/postgresql").0,
            "postgres:///spy?host=%2Fvar%2Frun%2Fpostgresql"
        );
    }

    #[test]
    fn another_address_is_refused_without_its_password() {
        let Err(error) = Server::parse("mysql://me:secret@db/spy") else { panic!("it is taken") };
        assert!(error.to_string().contains("mysql://***@db/spy"), "{error}");
    }
}
