//! Watches that the database file is the one that this process opened.
//!
//! Sends   a failure that ends the process, when the file was removed from its place or another one is there.
//! Timer   a look every five seconds.
//! Truth   the device and the inode of the path, against those of the open file.
//!
//! A process keeps a file that it has open, wherever its name went: the bot would work on, and with its end all of it
//! would be gone. So the database is copied to a new file beside it, and the process ends.

use std::{path::Path, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Supervised};

use super::supervise::{IoError, Observed, SupervisorContext, observable, spawn_io, start_supervised};
use crate::clock::Clock;
use crate::db::{DatabaseFile, Db, DbError, FilePlace};
use crate::domain::money::units::Timestamp;

const EVERY: Duration = Duration::from_secs(5);
/// Copying a large database takes some seconds for each gigabyte.
const COPY_WITHIN: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct FileWatchDeps {
    pub db: Db,
    pub file: DatabaseFile,
    pub clock: Clock,
    /// Ends the process.
    pub supervisor: SupervisorContext,
}

pub struct FileWatch {
    deps: FileWatchDeps,
    /// Whether the file is gone: the copy is made once.
    is_gone: bool,
    last_look: Option<Timestamp>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Look;

impl FileWatch {
    pub fn start(deps: FileWatchDeps) -> Addr<Self> {
        let supervisor = deps.supervisor.clone();
        start_supervised(&supervisor, "file_watch", Self { deps, is_gone: false, last_look: None })
    }

    fn observed(&self) -> Observed {
        Observed { state: serde_json::json!({ "gone": self.is_gone }), last_activity: self.last_look }
    }

    fn lost(&mut self, place: FilePlace, ctx: &mut Context<Self>) {
        self.is_gone = true;
        let happened = match place {
            FilePlace::Other => "was replaced by another file",
            FilePlace::Ours | FilePlace::Missing => "was removed",
        };
        let path = self.deps.file.path().display().to_string();
        tracing::error!(path, happened, "the database file is not in its place; what it held is being saved beside it");
        let saved = format!("{path}.saved-{}", self.deps.clock.now().millis());
        let (db, copy) = (self.deps.db.clone(), saved.clone());
        let copying = async move {
            let copied = tokio::time::timeout(COPY_WITHIN, db.copy_to(Path::new(&copy))).await;
            copied.unwrap_or(Err(DbError::Raced))
        };
        spawn_io(ctx, copying, move |watch: &mut Self, copied, _| {
            watch.deps.supervisor.end(last_line(&path, happened, &saved, copied.as_ref().err()));
        });
    }
}

/// Returns what the process says at its end.
fn last_line(path: &str, happened: &str, saved: &str, failed: Option<&IoError<DbError>>) -> String {
    match failed {
        None => format!(
            "the database file `{path}` {happened} while the bot ran; what it held is in `{saved}`: move that file to \
             `{path}`, with no `-wal` or `-shm` file beside it, and start the bot again"
        ),
        Some(error) => format!(
            "the database file `{path}` {happened} while the bot ran, and what it held could not be saved: {error}; \
             restore a backup (RUNBOOKS.md, \"Restore from a backup\")"
        ),
    }
}

impl Actor for FileWatch {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(EVERY, |_, ctx| ctx.notify(Look));
    }
}

impl Supervised for FileWatch {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self { deps: self.deps.clone(), is_gone: false, last_look: None };
    }
}

observable!(FileWatch);

impl Handler<Look> for FileWatch {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        if self.is_gone {
            return;
        }
        self.last_look = Some(self.deps.clock.now());
        let place = self.deps.file.place();
        if place != FilePlace::Ours {
            self.lost(place, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::TestDb;
    use crate::testkit::wait::within;

    /// Has the watch look after `change`; returns what the process would say at its end.
    async fn said_after(change: impl FnOnce(&Path)) -> (String, TestDb) {
        let test_db = TestDb::sqlite().await;
        let (supervisor, mut failures) = SupervisorContext::new(Clock::System);
        let file = test_db.db.file().unwrap().clone();
        test_db.db.put_checkpoint("kept", "yes", Clock::System.now()).await.unwrap();
        let deps = FileWatchDeps { db: test_db.db.clone(), file: file.clone(), clock: Clock::System, supervisor };
        let watch = FileWatch::start(deps);
        watch.send(Look).await.unwrap();
        assert!(failures.try_recv().is_err(), "the file is in its place");
        change(file.path());
        watch.send(Look).await.unwrap();
        (within(failures.recv()).await.unwrap().to_string(), test_db)
    }

    #[actix_web::test]
    async fn a_removed_database_is_saved_beside_its_place_and_the_process_ends_with_what_to_do() {
        let (said, test_db) = said_after(|path| std::fs::remove_file(path).unwrap()).await;
        let path = test_db.db.file().unwrap().path();
        assert!(said.contains("was removed") && said.contains("start the bot again"), "{said}");
        assert!(!path.exists(), "it is not made again");
        let saved = said.split('`').nth(3).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(saved).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let copy = Db::connect(&format!("sqlite:{saved}")).await.unwrap();
        assert_eq!(copy.checkpoint("kept").await.unwrap().as_deref(), Some("yes"));
        copy.close().await;
    }

    #[actix_web::test]
    async fn a_replaced_database_ends_the_process_and_the_other_file_is_left_alone() {
        let (said, test_db) = said_after(|path| {
            let other = path.with_extension("other");
            std::fs::write(&other, "another file").unwrap();
            std::fs::rename(&other, path).unwrap();
        })
        .await;
        assert!(said.contains("was replaced by another file"), "{said}");
        assert_eq!(std::fs::read(test_db.db.file().unwrap().path()).unwrap(), b"another file");
    }

    #[actix_web::test]
    async fn it_restarts_after_a_panic_and_looks_on() {
        use crate::actors::supervise::fault_injection::{InjectPanic, provoke, restarts};
        let test_db = TestDb::sqlite().await;
        let (supervisor, mut failures) = SupervisorContext::new(Clock::System);
        let file = test_db.db.file().unwrap().clone();
        let deps = FileWatchDeps { db: test_db.db.clone(), file: file.clone(), clock: Clock::System, supervisor };
        let watch = FileWatch::start(deps);
        provoke("file_watch", InjectPanic::InHandler);
        within(async {
            while restarts("file_watch") == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        std::fs::remove_file(file.path()).unwrap();
        watch.send(Look).await.unwrap();
        assert!(within(failures.recv()).await.unwrap().to_string().contains("was removed"));
    }
}
