//! The network between a simulated machine and the exchange: delays, losses, answers out of order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::trace::Trace;
use crate::polymarket::{InProcess, Upstream, WireAnswer, WireRequest};
use crate::simulator::{CalledSimulator, Host, Request, Wait};

/// How the network behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// Time of one way, in milliseconds, between the two values.
    pub way_ms: (u64, u64),
    /// The share of requests, in 0..1, that are lost on their way or whose answer is.
    pub lost: f64,
    /// The share of answers, in 0..1, that take up to `slow_ms` longer, so that later ones overtake them.
    pub slow: f64,
    pub slow_ms: u64,
}

impl Weather {
    pub const FAIR: Self = Self { way_ms: (5, 60), lost: 0.0, slow: 0.0, slow_ms: 0 };
    /// No request comes through.
    pub const CUT: Self = Self { lost: 1.0, ..Self::FAIR };
}

/// A network with one exchange at its other end.
#[derive(Clone)]
pub struct Network {
    exchange: CalledSimulator,
    state: Arc<Mutex<(StdRng, Weather)>>,
    trace: Arc<Trace>,
}

/// What the network does to one request.
struct Passage {
    out: Duration,
    back: Duration,
    lost_out: bool,
    lost_back: bool,
}

impl Network {
    pub fn new(seed: u64, exchange: CalledSimulator, trace: Arc<Trace>) -> Self {
        let state = (StdRng::seed_from_u64(seed ^ 0x9e7), Weather::FAIR);
        Self { exchange, state: Arc::new(Mutex::new(state)), trace }
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = weather;
    }

    /// Returns the network as the bot's client uses it.
    pub fn transport(&self) -> InProcess {
        let network = self.clone();
        InProcess::new(move |request| {
            let network = network.clone();
            Box::pin(async move { network.carry(request).await })
        })
    }

    async fn carry(&self, request: WireRequest) -> Result<WireAnswer, String> {
        let passage = self.passage();
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let asked = Request {
            host: match request.upstream {
                Upstream::DataApi => Host::Data,
                Upstream::Clob => Host::Clob,
                Upstream::Gamma => Host::Gamma,
            },
            post: request.body.is_some(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: request.body.unwrap_or_default().into_bytes(),
        };
        tokio::time::sleep(passage.out).await;
        if passage.lost_out {
            self.trace.note(format_args!("lost request {}", asked.path));
            return Err("the connection was reset".to_owned());
        }
        self.exchange.tick();
        let (answer, wait) = self.exchange.answer(&asked);
        self.trace.note(format_args!("{} {} {}", answer.status, asked.url(), answer.body.len()));
        match wait {
            Wait::Not => {}
            Wait::Millis(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Wait::ForEver => std::future::pending().await,
        }
        tokio::time::sleep(passage.back).await;
        if passage.lost_back {
            return Err("the connection was reset before the answer".to_owned());
        }
        let headers = answer.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(WireAnswer { status: answer.status, headers, body: answer.body })
    }

    fn passage(&self) -> Passage {
        let (dice, weather) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let way = |dice: &mut StdRng| dice.random_range(weather.way_ms.0..=weather.way_ms.1);
        let (out, mut back) = (way(dice), way(dice));
        if dice.random_bool(weather.slow) {
            back += dice.random_range(0..=weather.slow_ms);
        }
        let lost = dice.random_bool(weather.lost);
        let lost_out = lost && dice.random_bool(0.5);
        let (out, back) = (Duration::from_millis(out), Duration::from_millis(back));
        Passage { out, back, lost_out, lost_back: lost && !lost_out }
    }
}
