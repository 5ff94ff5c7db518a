//! A small server that answers from a script and records the requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::middleware::Compress;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use crate::clock::Clock;
use crate::polymarket::http::breaker::BreakerSettings;
use crate::polymarket::http::client::Polymarket;
use crate::polymarket::http::settings::{LimitSettings, PolymarketSettings};

/// One answer of the script.
#[derive(Debug, Clone)]
pub enum Answer {
    Body(u16, String),
    /// Status, `Retry-After`, body.
    Later(u16, &'static str, &'static str),
    /// No answer, ever.
    Hang,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub url: String,
    pub body: String,
    pub user_agents: usize,
}

#[derive(Clone, Default)]
struct Script {
    /// A text and an answer, for the first request whose URL contains the text.
    answers: Arc<Mutex<VecDeque<(String, Answer)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

pub struct Server {
    script: Script,
    base: String,
    handle: ServerHandle,
}

impl Server {
    pub async fn start() -> Self {
        let script = Script::default();
        let shared = script.clone();
        let app = move || {
            let script = web::Data::new(shared.clone());
            App::new().app_data(script).wrap(Compress::default()).default_service(web::to(answer))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let base = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { script, base, handle }
    }

    pub fn on(&self, url_part: &str, answer: Answer) -> &Self {
        self.script.answers.lock().unwrap().push_back((url_part.to_owned(), answer));
        self
    }

    pub fn on_body(&self, url_part: &str, body: &str) -> &Self {
        self.on(url_part, Answer::Body(200, body.to_owned()))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().unwrap().clone()
    }

    pub fn urls(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.url).collect()
    }

    pub fn settings(&self) -> PolymarketSettings {
        PolymarketSettings {
            limits: LimitSettings {
                backoff_base: Duration::from_millis(2),
                breaker: BreakerSettings {
                    open_for: Duration::from_millis(40),
                    rest_base: Duration::from_millis(2),
                    ..BreakerSettings::default()
                },
                ..LimitSettings::default()
            },
            ..PolymarketSettings::new(&self.base, &self.base, &self.base)
        }
    }

    pub fn client(&self) -> Polymarket {
        Polymarket::new(self.settings(), Clock::System)
    }

    /// Returns a client that does not retry.
    pub fn client_of_one_try(&self) -> Polymarket {
        let mut settings = self.settings();
        settings.limits.tries = 1;
        Polymarket::new(settings, Clock::System)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The call itself sends the command, so there is no need to await the end.
        drop(self.handle.stop(false));
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, script: web::Data<Script>) -> HttpResponse {
    let url = request.uri().to_string();
    script.asked.lock().unwrap().push(Asked {
        method: request.method().to_string(),
        url: url.clone(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        user_agents: request.headers().get_all("user-agent").count(),
    });
    let next = {
        let mut answers = script.answers.lock().unwrap();
        let place = answers.iter().position(|(part, _)| url.contains(part.as_str()));
        place.and_then(|place| answers.remove(place)).map(|(_, answer)| answer)
    };
    let status = |status| HttpResponse::build(StatusCode::from_u16(status).unwrap());
    match next {
        Some(Answer::Body(code, body)) => status(code).content_type("application/json").body(body),
        Some(Answer::Later(code, after, body)) => status(code).insert_header((RETRY_AFTER, after)).body(body),
        Some(Answer::Hang) => std::future::pending().await,
        None => HttpResponse::NotFound().body(r#"{"error":"not in the script"}"#),
    }
}
