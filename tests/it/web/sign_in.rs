//! Sessions of people who sign in with GitHub, stored in a real Redis.

use std::net::SocketAddr;

use awc::Client;
use polymarketspy::app::{App, AppSettings, Role};
use polymarketspy::clock::Clock;
use polymarketspy::config::{GithubSettings, Secret, WebSettings};
use polymarketspy::domain::money::email::Email;
use polymarketspy::simulator::routes::github::{CLIENT_ID, CLIENT_SECRET};
use polymarketspy::testkit::{TestBot, test_client};

/// A visitor who has signed in at the simulated GitHub.
pub struct CurrentUser {
    pub came_in: bool,
    /// The value of the session cookie.
    pub cookie: String,
    /// The secrets of the sign-in: cookies, state and code.
    pub held: Vec<String>,
}

impl CurrentUser {
    /// Signs in at the bot of this address as one of the simulated people.
    pub async fn through_github(base: &str, login: &str) -> Self {
        Self::with(&test_client(), base, login).await
    }

    /// Signs in through this client, which follows no redirects.
    pub async fn with(client: &Client, base: &str, login: &str) -> Self {
        let away = client.get(format!("{base}/login/github")).send().await.unwrap();
        let begun = away.cookies().unwrap()[0].clone();
        let (page, query) =
            header(&away, "location").split_once('?').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let mut fields: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        fields.push(("login".to_owned(), login.to_owned()));
        let sent_back = client.post(page).send_form(&fields).await.unwrap();
        let back = header(&sent_back, "location");
        let came = client.get(&back).cookie(begun.clone()).send().await.unwrap();
        let cookie = came.cookies().unwrap()[0].value().to_owned();
        let carried = form_urlencoded::parse(back.split_once('?').unwrap().1.as_bytes()).into_owned();
        let mut held: Vec<String> = carried.map(|(_, value)| value).collect();
        held.extend([begun.value().to_owned(), cookie.clone()]);
        Self {
            came_in: header(&came, "location") == "/",
            cookie,
            held: held.into_iter().filter(|text| text.len() > 8).collect(),
        }
    }
}

fn header<S>(answer: &awc::ClientResponse<S>, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn web(bot: &TestBot, bind: SocketAddr) -> App {
    let github = bot.exchange.github_base();
    let mut settings = AppSettings { role: Role::Web, ..AppSettings::new(bot.settings()) };
    settings.web = WebSettings {
        session_secret: Some(Secret::new("s".repeat(64))),
        github: Some(GithubSettings {
            client_id: CLIENT_ID.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET),
            api_base_url: format!("{github}/api/v3"),
            base_url: github,
        }),
        admin_email: Some(Email::parse("ada@example.org").unwrap()),
        ..WebSettings::at(bind)
    };
    App::build(&settings, Clock::System).await.unwrap()
}

/// Returns the status of the bot's answer to a request with this cookie.
async fn status(app: &App, cookie: &str) -> u16 {
    let (base, port) = (app.url().unwrap(), app.address().unwrap().port());
    let request = test_client().get(format!("{base}/api/overview"));
    let answer = request.insert_header(("cookie", format!("polymarketspy-{port}={cookie}"))).send().await.unwrap();
    answer.status().as_u16()
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn a_session_in_redis_holds_in_every_web_process_until_redis_forgets_it() {
        let mut bot = TestBot::shared().await;
        let one = web(&bot, "127.0.0.1:0".parse().unwrap()).await;
        // The cookie's name contains the port, so both processes must have the same one. Behind one public name it has
        // none.
        let beside = SocketAddr::from(([127, 0, 0, 2], one.address().unwrap().port()));
        let other = web(&bot, beside).await;
        let visitor = CurrentUser::through_github(one.url().unwrap(), "ada").await;
        assert!(visitor.came_in);
        assert_eq!((status(&one, &visitor.cookie).await, status(&other, &visitor.cookie).await), (200, 200));

        let redis = bot.redis.as_mut().unwrap();
        let keys: Vec<String> = redis.command(&["KEYS", "polymarketspy:session:*"]).await;
        assert_eq!(keys.len(), 1, "{keys:?}");
        let lives: i64 = redis.command(&["TTL", &keys[0]]).await;
        assert!((86_000..=86_400).contains(&lives), "{lives} s");
        let kept: String = redis.command(&["GET", &keys[0]]).await;
        assert!(kept.contains("ada@example.org"), "{kept}");

        redis.stop();
        assert_eq!(status(&one, &visitor.cookie).await, 503, "without Redis the session cannot be read");
        redis.start_again();
        assert_eq!((status(&one, &visitor.cookie).await, status(&other, &visitor.cookie).await), (401, 401));
        let again = CurrentUser::through_github(other.url().unwrap(), "ada").await;
        assert_eq!(status(&one, &again.cookie).await, 200);
        one.stop().await;
        other.stop().await;
    }
}
