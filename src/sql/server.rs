//! The PostgreSQL server behind a pool of connections: whether it answers, and which sessions may still write.
//!
//! The pool of sqlx alone retries a refused connection until its time is up, and then says only that the time is up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, PgPool, Postgres};
use tokio::time::Instant;

use super::error::{DbError, Kind, is_read_only, kind_of};
use super::write_state::WriteState;

/// The pool may use this long to find or make a connection before the server is asked whether it answers at all.
const POOL_PATIENCE: Duration = Duration::from_secs(1);
/// A server that takes longer to accept a connection counts as away.
const ANSWER_WITHIN: Duration = Duration::from_millis(700);
/// The first connection of a process may take longer: a server that was idle for long is slow to answer.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_millis(1_700);
/// While the server is away, it is asked again at most this often; other callers get the last answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a caller waits for one of the connections while the server answers and all of them are in use.
const QUEUE_PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS_MAX: u32 = 12;

/// The server, as the connections of this process see it. Cheap to share.
#[derive(Debug)]
pub struct Server {
    options: PgConnectOptions,
    away: Mutex<Option<Away>>,
    read_only: Arc<ReadOnlySeen>,
    pub(super) writes: WriteState,
}

/// The last answer to "are you there", when it was no.
#[derive(Debug)]
struct Away {
    asked_at: Instant,
    kind: std::io::ErrorKind,
    text: String,
}

/// When a session refused a write because it is read-only. Older sessions are not used again: a server that was
/// demoted, or a setting that was changed, shows in new sessions only.
#[derive(Debug, Default)]
struct ReadOnlySeen(Mutex<Option<Instant>>);

impl Server {
    /// Asks the server once whether it answers, and returns it with a pool that connects when it is used.
    ///
    /// # Errors
    /// [`DbError::NoServer`] with the address and the cause.
    pub(super) async fn connect(options: PgConnectOptions) -> Result<(PgPool, Arc<Self>), DbError> {
        let (away, read_only) = (Mutex::default(), Arc::<ReadOnlySeen>::default());
        let server =
            Self { options: options.clone(), away, read_only: read_only.clone(), writes: WriteState::default() };
        let at = server.address();
        server.ask(FIRST_ANSWER_WITHIN).await.map_err(|cause| DbError::NoServer { at, cause })?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(POOL_PATIENCE)
            .test_before_acquire(false)
            .before_acquire(move |_, connection| {
                let is_usable = read_only.is_younger(connection.age);
                Box::pin(async move { Ok(is_usable) })
            })
            .connect_lazy_with(options);
        Ok((pool, Arc::new(server)))
    }

    /// Returns a connection. Waits while all are in use, and not when the server is away.
    ///
    /// # Errors
    /// The cause, when the server does not answer; `PoolTimedOut` when all connections stay in use.
    pub(crate) async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.fail_if_away().await?;
        let begun = Instant::now();
        loop {
            match pool.acquire().await {
                Err(sqlx::Error::PoolTimedOut) => {}
                Err(error @ sqlx::Error::Io(_)) => return Err(self.went_away(error)),
                done => return done,
            }
            // Either all connections are in use, or none can be made: the server's answer shows which.
            self.ask(ANSWER_WITHIN).await?;
            if begun.elapsed() >= QUEUE_PATIENCE {
                return Err(sqlx::Error::PoolTimedOut);
            }
        }
    }

    /// Asks the server, by a new connection, whether it answers.
    ///
    /// # Errors
    /// The cause, when it does not.
    pub(super) async fn answers(&self) -> Result<(), sqlx::Error> {
        self.ask(ANSWER_WITHIN).await
    }

    /// Looks at the outcome of a statement or a commit in a transaction.
    pub(super) fn watch<T>(&self, outcome: &Result<T, sqlx::Error>) {
        let Err(error) = outcome else { return };
        if is_read_only(error) {
            self.read_only.seen();
        }
        self.writes.failed(error);
    }

    /// Asks an absent server again, at most every half second.
    async fn fail_if_away(&self) -> Result<(), sqlx::Error> {
        let known = {
            let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
            match &*away {
                None => return Ok(()),
                Some(away) if away.asked_at.elapsed() < ASK_AGAIN_AFTER => Some(away.error()),
                Some(_) => None,
            }
        };
        match known {
            Some(error) => Err(error),
            None => self.ask(ANSWER_WITHIN).await,
        }
    }

    /// Opens one connection outside of the pool, to learn whether the server answers.
    async fn ask(&self, within: Duration) -> Result<(), sqlx::Error> {
        let answer = tokio::time::timeout(within, PgConnection::connect_with(&self.options)).await;
        let error = match answer {
            Ok(Ok(connection)) => {
                // An error while it closes does not matter: it answered.
                let _ = tokio::time::timeout(within, connection.close()).await;
                *self.away.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let text = format!("no answer within {} ms", within.as_millis());
                sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
            }
        };
        Err(self.went_away(error))
    }

    /// Remembers why the server cannot be used, unless it is only full.
    fn went_away(&self, error: sqlx::Error) -> sqlx::Error {
        if kind_of(&error) == Kind::Unreachable {
            let (kind, text) = match &error {
                sqlx::Error::Io(cause) => (cause.kind(), cause.to_string()),
                other => (std::io::ErrorKind::Other, other.to_string()),
            };
            let away = Away { asked_at: Instant::now(), kind, text };
            *self.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(away);
        }
        error
    }

    /// Returns where the server is, without a name or a password.
    fn address(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }
}

impl Away {
    fn error(&self) -> sqlx::Error {
        sqlx::Error::Io(std::io::Error::new(self.kind, self.text.clone()))
    }
}

impl ReadOnlySeen {
    fn seen(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns whether a session of this age was opened after the last refusal.
    fn is_younger(&self, age: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|at| age < at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_absent_server_is_named_with_the_cause_and_without_the_password() {
        let options: PgConnectOptions = "postgres://me:secret@127.0.0.1:1/x".parse().unwrap();
        let begun = Instant::now();
        let error = Server::connect(options).await.unwrap_err();
        let text = error.to_string();
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(text.contains("127.0.0.1:1") && text.contains("Connection refused"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert!(error.is_transient());
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_older_than_the_last_refusal_are_not_used_again() {
        let seen = ReadOnlySeen::default();
        assert!(seen.is_younger(Duration::from_secs(3_600)));
        seen.seen();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(seen.is_younger(Duration::from_secs(4)));
        assert!(!seen.is_younger(Duration::from_secs(5)));
        assert!(!seen.is_younger(Duration::from_secs(6)));
    }
}
