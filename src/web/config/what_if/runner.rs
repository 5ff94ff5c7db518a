//! "Test on the last 24 h": runs a what-if beside the bot and keeps the last few results (spec 11).
//!
//! Two tests run at a time, because each reads much of the database; a third is refused. Results are kept in memory only:
//! a visitor reads them at once, so a restart may lose them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::view::WhatIfResult;
use crate::db::Db;
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::web::config::change::FieldChange;
use crate::web::config::editor::TypedForm;
use crate::what_if;
use crate::what_if::{Progress, WhatIf, WhatIfError};

const RUNNING_MAX: usize = 2;
const RUNS_KEPT: usize = 8;

/// The tests of this process.
#[derive(Default)]
pub struct WhatIfRuns {
    list: Mutex<RunList>,
}

/// The running tests and the last finished ones, newest last.
#[derive(Default)]
struct RunList {
    last_id: u64,
    runs: VecDeque<WhatIfRun>,
}

struct WhatIfRun {
    id: u64,
    asked: RunRequest,
    /// The form that started the test, to be shown again unchanged.
    typed: Option<TypedForm>,
    progress: Arc<Progress>,
    outcome: Option<RunOutcome>,
}

/// The request of a test, as pages show it beside the result.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct RunRequest {
    /// The leader whose overrides the candidate changes; null for the global values.
    pub user: Option<FollowedUserId>,
    /// The kind of the tested portfolio.
    pub portfolio_scope: PortfolioScope,
    /// The portfolio's leader.
    pub followed_user_id: Option<FollowedUserId>,
    /// Hostile text.
    pub portfolio_label: Option<String>,
    /// When the test began.
    pub begun_at: Timestamp,
    /// The start of the window.
    pub from: Timestamp,
    /// The end of the window.
    pub to: Timestamp,
    /// The fields that the candidate changes.
    pub changes: Vec<FieldChange>,
    /// Fields of `changes` whose effect cannot be shown with recorded groups and books.
    pub not_seen: Vec<&'static str>,
}

enum RunOutcome {
    Done(Arc<WhatIfResult>),
    Cancelled,
    /// The cause is in the log.
    Failed,
}

/// The state of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunState {
    Running,
    Done,
    Cancelled,
    Failed,
}

/// A test with its state and, once it is done, its result.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct WhatIfView {
    /// The number of the test.
    pub id: u64,
    /// The state of the test.
    pub state: RunState,
    #[serde(flatten)]
    pub asked: RunRequest,
    /// Groups decided so far, and the number of groups in the window; zero until they are counted.
    pub done: u64,
    /// The number of groups in the window.
    pub groups: u64,
    /// The result; null until the test is done.
    #[schema(value_type = Option<WhatIfResult>)]
    pub result: Option<Arc<WhatIfResult>>,
}

/// The maximum number of tests runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyRuns;

impl WhatIfRuns {
    /// Starts a test on the current Actix arbiter and returns its first state.
    ///
    /// # Errors
    /// [`TooManyRuns`] while the maximum number of tests runs; nothing is started then.
    pub fn begin(
        self: &Arc<Self>,
        db: &Db,
        what_if: WhatIf,
        asked: RunRequest,
        typed: Option<TypedForm>,
    ) -> Result<WhatIfView, TooManyRuns> {
        let progress = Arc::new(Progress::default());
        let view = self.list().add(asked, typed, progress.clone())?;
        let (runs, db, id) = (self.clone(), db.clone(), view.id);
        actix::spawn(async move {
            // The test is a separate task, so that a panic in it becomes a failed outcome.
            let outcome = match actix::spawn(async move { run_and_name(&db, what_if, &progress).await }).await {
                Ok(Ok(findings)) => RunOutcome::Done(Arc::new(findings)),
                Ok(Err(WhatIfError::Cancelled)) => RunOutcome::Cancelled,
                Ok(Err(error)) => failed(id, &error),
                Err(error) => failed(id, &error),
            };
            runs.list().end(id, outcome);
        });
        Ok(view)
    }

    /// Returns the state of a test and the form that started it.
    pub fn view(&self, id: u64) -> Option<(WhatIfView, Option<TypedForm>)> {
        self.list().runs.iter().find(|run| run.id == id).map(|run| (run.view(), run.typed.clone()))
    }

    /// Asks a test to stop; it stops before it reads the next page of groups. A finished test is not changed.
    pub fn cancel(&self, id: u64) -> Option<WhatIfView> {
        let list = self.list();
        let run = list.runs.iter().find(|run| run.id == id)?;
        run.progress.cancel();
        Some(run.view())
    }

    fn list(&self) -> MutexGuard<'_, RunList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunList {
    fn add(
        &mut self,
        asked: RunRequest,
        typed: Option<TypedForm>,
        progress: Arc<Progress>,
    ) -> Result<WhatIfView, TooManyRuns> {
        if self.runs.iter().filter(|run| run.outcome.is_none()).count() >= RUNNING_MAX {
            return Err(TooManyRuns);
        }
        self.last_id += 1;
        let run = WhatIfRun { id: self.last_id, asked, typed, progress, outcome: None };
        let view = run.view();
        self.runs.push_back(run);
        while self.runs.len() > RUNS_KEPT
            && let Some(oldest) = self.runs.iter().position(|run| run.outcome.is_some())
        {
            self.runs.remove(oldest);
        }
        Ok(view)
    }

    fn end(&mut self, id: u64, outcome: RunOutcome) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.id == id) {
            run.outcome = Some(outcome);
        }
    }
}

impl WhatIfRun {
    fn view(&self) -> WhatIfView {
        let state = match &self.outcome {
            None => RunState::Running,
            Some(RunOutcome::Done(_)) => RunState::Done,
            Some(RunOutcome::Cancelled) => RunState::Cancelled,
            Some(RunOutcome::Failed) => RunState::Failed,
        };
        let result = match &self.outcome {
            Some(RunOutcome::Done(findings)) => Some(findings.clone()),
            _ => None,
        };
        let (done, groups) = (self.progress.done(), self.progress.groups());
        WhatIfView { id: self.id, state, asked: self.asked.clone(), done, groups, result }
    }
}

async fn run_and_name(db: &Db, what_if: WhatIf, progress: &Arc<Progress>) -> Result<WhatIfResult, WhatIfError> {
    let portfolio = what_if.portfolio;
    let findings = what_if::run(db, what_if, progress).await?;
    Ok(WhatIfResult::load(db, portfolio, findings).await?)
}

fn failed(id: u64, error: &(dyn std::error::Error + 'static)) -> RunOutcome {
    tracing::error!(test = id, error, "a configuration test failed");
    RunOutcome::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> RunRequest {
        RunRequest {
            user: None,
            portfolio_scope: PortfolioScope::ExecGlobal,
            followed_user_id: None,
            portfolio_label: None,
            begun_at: Timestamp::EPOCH,
            from: Timestamp::EPOCH,
            to: Timestamp::EPOCH,
            changes: Vec::new(),
            not_seen: Vec::new(),
        }
    }

    #[test]
    fn two_run_a_third_is_told_to_wait_and_the_last_few_are_kept() {
        let mut list = RunList::default();
        let begin = |list: &mut RunList| list.add(asked(), None, Arc::default()).map(|view| view.id);
        assert_eq!((begin(&mut list), begin(&mut list)), (Ok(1), Ok(2)));
        assert_eq!(begin(&mut list), Err(TooManyRuns));
        list.end(1, RunOutcome::Cancelled);
        for id in 3..20 {
            assert_eq!(begin(&mut list), Ok(id));
            list.end(id, RunOutcome::Failed);
        }
        assert_eq!(list.runs.len(), RUNS_KEPT);
        assert!(list.runs.iter().any(|run| run.id == 2), "one that runs is not forgotten");
    }
}
