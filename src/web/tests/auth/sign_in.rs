//! Signing in with GitHub, by HTTP against the simulator's GitHub. `tests/browser` does the same in Chromium.

use crate::config::{GithubSettings, RedisSettings, Secret};
use crate::domain::money::email::Email;
use crate::simulator::routes::github::{CLIENT_ID, CLIENT_SECRET};
use crate::simulator::{Fault, FaultKind, Host, Simulator, SimulatorHandle, SimulatorSettings};
use crate::web::tests::*;

const ADA: &str = "ada@example.org";

/// A web server that signs visitors in with a simulated GitHub.
struct SignInServer {
    web: TestWeb,
    github: SimulatorHandle,
}

/// A browser that visits the site, with its cookie as it changes.
struct Browser<'a> {
    site: &'a SignInServer,
    cookie: String,
}

impl SignInServer {
    async fn new() -> Self {
        Self::with_sessions_in(RedisSettings::default()).await
    }

    async fn with_sessions_in(redis: RedisSettings) -> Self {
        let github = Simulator::start(SimulatorSettings::default()).unwrap();
        let settings = WebSettings {
            session_secret: Some(Secret::new("s".repeat(64))),
            github: Some(GithubSettings {
                client_id: CLIENT_ID.to_owned(),
                client_secret: Secret::new(CLIENT_SECRET),
                base_url: github.github_base(),
                api_base_url: format!("{}/api/v3", github.github_base()),
            }),
            admin_email: Some(Email::parse(ADA).unwrap()),
            ..WebSettings::at("127.0.0.1:0".parse().unwrap())
        };
        let polymarket = no_polymarket();
        Self { web: TestWeb::signed_out_with(&settings, &polymarket, redis).await, github }
    }

    fn browser(&self) -> Browser<'_> {
        Browser { site: self, cookie: String::new() }
    }

    /// Returns the newest row of the audit log: the action and the reason.
    async fn newest(&self) -> (String, String) {
        let audit = self.web.db.audits(None, None, 1).await.unwrap().remove(0).audit;
        (audit.action, audit.after_json.unwrap_or_default())
    }
}

impl Browser<'_> {
    async fn get(&mut self, path: &str) -> TestResponse {
        let answer = self.site.web.send("get", path, &[("cookie", &self.cookie)]).await;
        if answer.headers.contains_key("set-cookie") {
            self.cookie = cookie(&answer.headers);
        }
        answer
    }

    /// Goes to GitHub, presses `button` there, and returns the path that GitHub sends the browser back to.
    async fn sent_back(&mut self, button: (&str, &str)) -> String {
        let away = self.get("/login/github").await;
        assert_eq!(away.status, StatusCode::SEE_OTHER, "{}", away.body);
        let (page, query) = away.header("location").split_once('?').unwrap();
        assert!(query.contains("code_challenge_method=S256") && query.contains("state="), "{query}");
        let fields = form_urlencoded::parse(query.as_bytes()).into_owned().chain([(button.0.into(), button.1.into())]);
        let fields: Vec<(String, String)> = fields.collect();
        let answer = self.site.web.client.post(page).send_form(&fields).await.unwrap();
        let back = answer.headers().get("location").unwrap().to_str().unwrap();
        back.strip_prefix(&self.site.web.origin()).expect("back to us").to_owned()
    }

    async fn signs_in_as(&mut self, login: &str) -> TestResponse {
        let back = self.sent_back(("login", login)).await;
        self.get(&back).await
    }

    async fn is_in(&mut self) -> bool {
        self.get("/api/overview").await.status == StatusCode::OK
    }
}

#[actix_web::test]
async fn a_verified_e_mail_on_the_list_comes_in_the_first_or_the_second_in_any_case() {
    let site = SignInServer::new().await;
    for login in ["ada", "grace"] {
        let mut browser = site.browser();
        assert!(browser.get("/login").await.text().contains("Sign in with GitHub"));
        let answer = browser.signs_in_as(login).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, "/"),
            "{login}: {}",
            answer.text()
        );
        assert!(browser.is_in().await, "{login}");
        let row = site.web.db.audits(Some("sign_in"), None, 1).await.unwrap().remove(0).audit;
        assert_eq!(row.who, ADA, "{login}");
    }
}

#[actix_web::test]
async fn no_other_e_mail_comes_in_and_the_log_says_why() {
    let site = SignInServer::new().await;
    for login in ["mallory", "eve"] {
        let mut browser = site.browser();
        let answer = browser.signs_in_as(login).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{login}");
        assert!(
            answer.text().contains("None of your verified e-mails at GitHub may come in here"),
            "{}",
            answer.text()
        );
        assert!(!browser.is_in().await, "{login}");
        let (action, why) = site.newest().await;
        assert_eq!(action, "sign_in_refused");
        assert!(why.contains("no verified e-mail that may come in"), "{why}");
    }
}

#[actix_web::test]
async fn a_sign_in_that_was_not_begun_here_leads_nowhere() {
    let site = SignInServer::new().await;
    let mut victim = site.browser();
    let mut attacker = site.browser();
    // The victim is led to the end of the attacker's sign-in.
    let back = attacker.sent_back(("login", "ada")).await;
    assert_eq!(victim.get(&back).await.status, StatusCode::FORBIDDEN);
    assert!(!victim.is_in().await);
    assert!(site.newest().await.1.contains("not begun in this browser"));
    // A made-up state, in a browser that has begun one.
    let back = victim.sent_back(("login", "ada")).await;
    let forged = format!("{}&state=forged", back.split("&state=").next().unwrap());
    assert_eq!(victim.get(&forged).await.status, StatusCode::FORBIDDEN);
    // That used up the sign-in: even the right state does not count any more.
    assert_eq!(victim.get(&back).await.status, StatusCode::FORBIDDEN);
    assert!(!victim.is_in().await);
}

#[actix_web::test]
async fn a_code_counts_once_and_a_cancelled_one_never() {
    let site = SignInServer::new().await;
    let mut browser = site.browser();
    let back = browser.sent_back(("login", "ada")).await;
    let kept = browser.cookie.clone();
    assert_eq!(browser.get(&back).await.header("location"), "/");
    // A copy of the browser, from before the sign-in, sends the same code again.
    let mut copy = site.browser();
    copy.cookie = kept;
    let answer = copy.get(&back).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text().contains("GitHub does not accept this sign-in"), "{}", answer.text());
    assert!(!copy.is_in().await);

    let mut other = site.browser();
    let back = other.sent_back(("cancel", "1")).await;
    let answer = other.get(&back).await;
    assert!(answer.text().contains("The sign-in was cancelled at GitHub"), "{}", answer.text());
    assert!(!other.is_in().await);
}

#[actix_web::test]
async fn a_github_that_fails_is_reported_and_lets_no_visitor_in() {
    let site = SignInServer::new().await;
    let mut browser = site.browser();
    let back = browser.sent_back(("login", "ada")).await;
    site.github.with(|exchange| exchange.fault(Fault::once(Host::GitHub, "access_token", FaultKind::Status(500))));
    let answer = browser.get(&back).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().contains("GitHub does not answer as it should"), "{}", answer.text());
    assert!(!browser.is_in().await);
}

#[actix_web::test]
async fn an_e_mail_that_is_taken_off_the_list_is_signed_out_at_once() {
    let site = SignInServer::new().await;
    let mut browser = site.browser();
    browser.signs_in_as("ada").await;
    assert!(browser.is_in().await);
    assert!(site.web.db.forbid_admin(&Email::parse(ADA).unwrap(), "test", site.web.now).await.unwrap());
    assert!(!browser.is_in().await);
    assert_eq!(browser.signs_in_as("ada").await.status, StatusCode::FORBIDDEN);
}

#[actix_web::test]
async fn signing_out_everywhere_ends_every_browser_of_that_person() {
    let site = SignInServer::new().await;
    let (mut one, mut other) = (site.browser(), site.browser());
    one.signs_in_as("ada").await;
    other.signs_in_as("ada").await;
    site.web.db.end_sessions(ADA, Clock::System.now()).await.unwrap();
    assert!(!one.is_in().await && !other.is_in().await);
    tokio::time::sleep(Duration::from_millis(2)).await;
    one.signs_in_as("ada").await;
    assert!(one.is_in().await && !other.is_in().await);
}

#[actix_web::test]
async fn starting_a_sign_in_again_and_again_is_rate_limited() {
    let site = SignInServer::new().await;
    let mut browser = site.browser();
    let mut last = StatusCode::OK;
    for _ in 0..22 {
        last = browser.get("/login/github").await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[actix_web::test]
async fn there_is_no_login_link_when_github_is_configured() {
    let site = SignInServer::new().await;
    assert!(site.web.server().login_link.is_none());
    assert_eq!(TestWeb::empty().await.get("/login/github").await.status, StatusCode::NOT_FOUND);
}

/// Returns a port on which nothing listens.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[actix_web::test]
async fn without_redis_a_sign_in_is_answered_with_the_reason_and_health_is_degraded() {
    // The second accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [(closed_port(), "Connection refused"), (silent.local_addr().unwrap().port(), "timed out")];
    for (port, cause) in ports {
        let redis = RedisSettings { url: Some(Secret::new(format!("redis://127.0.0.1:{port}/"))) };
        let site = SignInServer::with_sessions_in(redis).await;
        let mut browser = site.browser();
        let begun = std::time::Instant::now();
        let answer = browser.get("/login/github").await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let text = answer.text();
        assert!(
            text.contains("ign-ins are kept in Redis, and it does not work now:") && text.contains(cause),
            "{text}"
        );
        let begun = std::time::Instant::now();
        let health = browser.get("/api/health").await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!((health.status, &health.json()["status"]), (StatusCode::OK, &"degraded".into()));
        assert_eq!(browser.get("/login").await.status, StatusCode::OK, "a page without a session needs no Redis");
    }
}

mod on_redis {
    use super::*;
    use crate::testkit::TestRedis;

    #[actix_web::test]
    async fn pages_say_that_redis_is_away_and_go_on_when_it_is_back() {
        let mut redis = TestRedis::start();
        let site = SignInServer::with_sessions_in(RedisSettings { url: Some(Secret::new(redis.url())) }).await;
        let mut browser = site.browser();
        browser.signs_in_as("ada").await;
        assert!(browser.is_in().await);
        redis.stop();
        for (path, status) in [("/", 503), ("/api/overview", 503), ("/api/health", 200)] {
            let begun = std::time::Instant::now();
            let answer = browser.get(path).await;
            assert!(begun.elapsed() < Duration::from_secs(2), "{path}: {:?}", begun.elapsed());
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
            match path {
                "/api/health" => assert_eq!(answer.json(), serde_json::json!({ "status": "degraded" })),
                _ => {
                    assert!(answer.body.contains("ns are kept in Redis, and it does not work now:"), "{}", answer.body)
                }
            }
        }
        redis.start_again();
        assert_eq!(browser.get("/api/overview").await.status, StatusCode::UNAUTHORIZED, "the test's Redis forgets");
        browser.signs_in_as("ada").await;
        assert!(browser.is_in().await);
    }
}
