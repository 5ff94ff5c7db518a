//! One rate limit for all Polymarket hosts together, with two queues: interactive requests go before bulk requests.
//!
//! Permits come from `governor`. The two queues are ours, because a rate limiter has no priorities. Only the head of each
//! queue asks for a permit, and the head of the bulk queue waits while any interactive request is waiting.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::endpoint::Priority;

/// Hands out permits for requests, at most a fixed rate.
#[derive(Debug)]
pub struct Limiter {
    permits: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
    clock: TokioClock,
    /// Time between two permits at the full rate.
    interval: Duration,
    interactive: Line,
    bulk: Line,
    #[cfg(test)]
    given: std::sync::Mutex<Vec<Given>>,
}

/// A permit, for tests: when the request asked for it and when it received it. They are recorded in the order given.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub struct Given {
    pub priority: Priority,
    pub asked: crate::domain::money::units::Timestamp,
    pub received: crate::domain::money::units::Timestamp,
}

/// One queue of requests that wait for a permit.
#[derive(Debug, Default)]
struct Line {
    waiting: AtomicUsize,
    /// Held by the head of the queue; the mutex is fair, so requests are served in order.
    head: Mutex<()>,
}

impl Limiter {
    /// Creates a limiter. Zero counts as one: a limiter without permits would be a mistake.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let one_or = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let clock = TokioClock { start: Instant::now() };
        let quota = Quota::per_second(one_or(per_second)).allow_burst(one_or(burst));
        Self {
            permits: RateLimiter::direct_with_clock(quota, clock),
            clock,
            interval: Duration::from_secs(1) / one_or(per_second).get(),
            interactive: Line::default(),
            bulk: Line::default(),
            #[cfg(test)]
            given: std::sync::Mutex::default(),
        }
    }

    /// Waits for a permit. Dropping the future leaves the queue.
    pub async fn acquire(&self, priority: Priority) {
        let line = self.line(priority);
        let _place = Place::take(&line.waiting);
        let _head = line.head.lock().await;
        while let Some(wait) = self.wait_of_the_head(priority) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Returns how many requests of this priority are waiting.
    pub fn waiting(&self, priority: Priority) -> usize {
        self.line(priority).waiting.load(Ordering::SeqCst)
    }

    /// Takes a permit and returns `None`, or returns how long the head of the queue has to wait.
    fn wait_of_the_head(&self, priority: Priority) -> Option<Duration> {
        if priority == Priority::Bulk && self.waiting(Priority::Interactive) > 0 {
            return Some(self.interval);
        }
        #[cfg(test)]
        let asked = crate::clock::Clock::System.now();
        let early = self.permits.check().err().map(|early| early.wait_time_from(self.clock.now()));
        #[cfg(test)]
        if early.is_none() {
            let received = crate::clock::Clock::System.now();
            self.given.lock().unwrap().push(Given { priority, asked, received });
        }
        early
    }

    #[cfg(test)]
    pub fn given(&self) -> Vec<Given> {
        self.given.lock().unwrap().clone()
    }

    fn line(&self, priority: Priority) -> &Line {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Bulk => &self.bulk,
        }
    }
}

/// A place in a queue; dropping it leaves the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tokio's time, which tests can pause.
#[derive(Debug, Clone, Copy)]
struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    async fn drained(per_second: u32, burst: u32) -> Limiter {
        let limiter = Limiter::new(per_second, burst);
        for _ in 0..burst {
            limiter.acquire(Priority::Bulk).await;
        }
        limiter
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_then_the_rate_holds() {
        let begin = Instant::now();
        let limiter = drained(20, 40).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        for _ in 0..60 {
            limiter.acquire(Priority::Bulk).await;
        }
        let took = begin.elapsed().as_millis();
        assert!((2_950..=3_100).contains(&took), "60 calls after the burst took {took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_interactive_call_takes_the_next_permit_before_any_bulk_call() {
        let local = LocalSet::new();
        let served = Rc::new(RefCell::new(Vec::new()));
        let limiter = Rc::new(drained(20, 1).await);
        let call = |name: &'static str, priority| {
            let (limiter, served) = (limiter.clone(), served.clone());
            async move {
                limiter.acquire(priority).await;
                served.borrow_mut().push(name);
            }
        };
        local
            .run_until(async {
                let mut calls = Vec::new();
                for name in ["bulk 1", "bulk 2", "bulk 3"] {
                    calls.push(spawn_local(call(name, Priority::Bulk)));
                }
                tokio::task::yield_now().await;
                assert_eq!(limiter.waiting(Priority::Bulk), 3);
                for name in ["book 1", "book 2"] {
                    calls.push(spawn_local(call(name, Priority::Interactive)));
                }
                for call in calls {
                    call.await.unwrap();
                }
            })
            .await;
        assert_eq!(*served.borrow(), ["book 1", "book 2", "bulk 1", "bulk 2", "bulk 3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_gives_up_leaves_the_queue() {
        let limiter = Arc::new(drained(1, 1).await);
        let gave_up = tokio::time::timeout(Duration::from_millis(10), limiter.acquire(Priority::Interactive)).await;
        assert!(gave_up.is_err());
        assert_eq!(limiter.waiting(Priority::Interactive), 0);
        limiter.acquire(Priority::Bulk).await;
    }

    #[test]
    fn clones_on_several_threads_share_one_rate() {
        let limiter = Arc::new(Limiter::new(100, 1));
        let begin = std::time::Instant::now();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let limiter = limiter.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    runtime.block_on(async {
                        for _ in 0..5 {
                            limiter.acquire(Priority::Bulk).await;
                        }
                    });
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(begin.elapsed() >= Duration::from_millis(185), "20 permits at 100 a second took {:?}", begin.elapsed());
    }
}
