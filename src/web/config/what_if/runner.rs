//! "Test on the last 24 h": runs a what-if beside the bot and keeps the last few results (spec section 11).
//!
//! Two at a time, because each reads much of the database; who comes third is told so. Runs live in memory: they are
//! answers to a question of now, and a restart is no time for them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::view::Findings;
use crate::db::Db;
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::web::config::change::FieldChange;
use crate::web::config::editor::Typed;
use crate::what_if;
use crate::what_if::{Progress, WhatIf, WhatIfError};

const RUNNING_MAX: usize = 2;
const KEPT: usize = 8;

/// The tests of this process, the newest last.
#[derive(Default)]
pub struct WhatIfRuns {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    last_id: u64,
    trials: VecDeque<WhatIfRun>,
}

struct WhatIfRun {
    id: u64,
    asked: Asked,
    /// The form that asked for it, to be shown again as it was.
    typed: Option<Typed>,
    progress: Arc<Progress>,
    outcome: Option<EventOutcome>,
}

/// What a test was asked for, as pages show it again.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Asked {
    /// Whose values the candidate changes; null is everybody's.
    pub user: Option<FollowedUserId>,
    pub portfolio_scope: PortfolioScope,
    /// The portfolio's leader.
    pub followed_user_id: Option<FollowedUserId>,
    /// Hostile text.
    pub portfolio_label: Option<String>,
    pub begun_at: Timestamp,
    pub from: Timestamp,
    pub to: Timestamp,
    /// What the candidate changes.
    pub changes: Vec<FieldChange>,
    /// Fields of these that no test on recorded groups and books can show.
    pub not_seen: Vec<&'static str>,
}

enum EventOutcome {
    Done(Arc<Findings>),
    Cancelled,
    /// Logged with its cause.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TrialState {
    Running,
    Done,
    Cancelled,
    Failed,
}

/// How a test stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WhatIfView {
    pub id: u64,
    pub state: TrialState,
    #[serde(flatten)]
    pub asked: Asked,
    /// Groups decided, and how many there are; zero until they are counted.
    pub done: u64,
    pub groups: u64,
    pub result: Option<Arc<Findings>>,
}

/// As many tests run as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyTrials;

impl WhatIfRuns {
    /// Begins a test on the current arbiter.
    ///
    /// # Errors
    /// `TooManyTrials`; nothing was begun then.
    pub fn begin(
        self: &Arc<Self>,
        db: &Db,
        what_if: WhatIf,
        asked: Asked,
        typed: Option<Typed>,
    ) -> Result<WhatIfView, TooManyTrials> {
        let progress = Arc::new(Progress::default());
        let view = self.kept().take_in(asked, typed, progress.clone())?;
        let (trials, db, id) = (self.clone(), db.clone(), view.id);
        actix::spawn(async move {
            // A task of its own, so that a panic in it is an outcome too.
            let outcome = match actix::spawn(async move { lived(&db, what_if, &progress).await }).await {
                Ok(Ok(findings)) => EventOutcome::Done(Arc::new(findings)),
                Ok(Err(WhatIfError::Cancelled)) => EventOutcome::Cancelled,
                Ok(Err(error)) => failed(id, &error),
                Err(error) => failed(id, &error),
            };
            trials.kept().end(id, outcome);
        });
        Ok(view)
    }

    /// How it stands, and the form that asked for it.
    pub fn view(&self, id: u64) -> Option<(WhatIfView, Option<Typed>)> {
        self.kept().trials.iter().find(|trial| trial.id == id).map(|trial| (trial.view(), trial.typed.clone()))
    }

    /// Tells a test to end, which it does at its next page. One that has ended stays as it is.
    pub fn cancel(&self, id: u64) -> Option<WhatIfView> {
        let kept = self.kept();
        let trial = kept.trials.iter().find(|trial| trial.id == id)?;
        trial.progress.cancel();
        Some(trial.view())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take_in(
        &mut self,
        asked: Asked,
        typed: Option<Typed>,
        progress: Arc<Progress>,
    ) -> Result<WhatIfView, TooManyTrials> {
        if self.trials.iter().filter(|trial| trial.outcome.is_none()).count() >= RUNNING_MAX {
            return Err(TooManyTrials);
        }
        self.last_id += 1;
        let trial = WhatIfRun { id: self.last_id, asked, typed, progress, outcome: None };
        let view = trial.view();
        self.trials.push_back(trial);
        while self.trials.len() > KEPT
            && let Some(oldest) = self.trials.iter().position(|trial| trial.outcome.is_some())
        {
            self.trials.remove(oldest);
        }
        Ok(view)
    }

    fn end(&mut self, id: u64, outcome: EventOutcome) {
        if let Some(trial) = self.trials.iter_mut().find(|trial| trial.id == id) {
            trial.outcome = Some(outcome);
        }
    }
}

impl WhatIfRun {
    fn view(&self) -> WhatIfView {
        let state = match &self.outcome {
            None => TrialState::Running,
            Some(EventOutcome::Done(_)) => TrialState::Done,
            Some(EventOutcome::Cancelled) => TrialState::Cancelled,
            Some(EventOutcome::Failed) => TrialState::Failed,
        };
        let result = match &self.outcome {
            Some(EventOutcome::Done(findings)) => Some(findings.clone()),
            _ => None,
        };
        let (done, groups) = (self.progress.done(), self.progress.groups());
        WhatIfView { id: self.id, state, asked: self.asked.clone(), done, groups, result }
    }
}

async fn lived(db: &Db, what_if: WhatIf, progress: &Arc<Progress>) -> Result<Findings, WhatIfError> {
    let portfolio = what_if.portfolio;
    let findings = what_if::run(db, what_if, progress).await?;
    Ok(Findings::load(db, portfolio, findings).await?)
}

fn failed(id: u64, error: &(dyn std::error::Error + 'static)) -> EventOutcome {
    tracing::error!(test = id, error, "a configuration test failed");
    EventOutcome::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
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
        let mut kept = Kept::default();
        let begin = |kept: &mut Kept| kept.take_in(asked(), None, Arc::default()).map(|view| view.id);
        assert_eq!((begin(&mut kept), begin(&mut kept)), (Ok(1), Ok(2)));
        assert_eq!(begin(&mut kept), Err(TooManyTrials));
        kept.end(1, EventOutcome::Cancelled);
        for id in 3..20 {
            assert_eq!(begin(&mut kept), Ok(id));
            kept.end(id, EventOutcome::Failed);
        }
        assert_eq!(kept.trials.len(), KEPT);
        assert!(kept.trials.iter().any(|trial| trial.id == 2), "one that runs is not forgotten");
    }
}
