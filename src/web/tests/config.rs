//! The configuration page and its JSON: what it shows, saves, refuses, undoes and tests.

use super::*;
use crate::domain::config::effective::StoredConfig;

/// A visitor of the configuration page, with the CSRF token of its forms and the cookie of the last answer.
struct ConfigVisitor<'a> {
    web: &'a TestWeb,
    csrf: String,
    cookie: String,
}

impl<'a> ConfigVisitor<'a> {
    async fn at(web: &'a TestWeb) -> Self {
        let body = web.get("/config").await.body;
        let start = body.find(r#"name="csrf" value=""#).unwrap() + r#"name="csrf" value=""#.len();
        let csrf = body[start..].split('"').next().unwrap().to_owned();
        Self { web, csrf, cookie: web.cookie.clone() }
    }

    fn request(&self, method: &str, path: &str) -> awc::ClientRequest {
        let origin = format!("http://{}", self.web.server().addr);
        let method = method.parse().unwrap();
        let request = self.web.client.request(method, self.web.url(path));
        request.insert_header(("cookie", self.cookie.as_str())).insert_header(("origin", origin))
    }

    async fn form(&mut self, path: &str, pairs: &[(&str, &str)]) -> TestResponse {
        let pairs: Vec<_> = pairs.iter().copied().chain([("csrf", self.csrf.as_str())]).collect();
        let answer = TestResponse::read(self.request("POST", path).send_form(&pairs).await.unwrap()).await;
        if answer.headers.get("set-cookie").is_some() {
            self.cookie = cookie(&answer.headers);
        }
        answer
    }

    /// Reads the page that the answer to a form redirects to.
    async fn follow(&self, answer: &TestResponse) -> TestResponse {
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        TestResponse::read(self.request("GET", answer.header("location")).send().await.unwrap()).await
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> TestResponse {
        let request = self.request(method, path).insert_header(("x-csrf-token", self.csrf.as_str()));
        let request = request.insert_header(("content-type", "application/json"));
        TestResponse::read(request.send_body(body.to_owned()).await.unwrap()).await
    }

    async fn config(&self) -> StoredConfig {
        self.web.db.directory().await.unwrap().config
    }

    /// Returns the actions of the audit log, newest first.
    async fn audited(&self) -> Vec<String> {
        let rows = self.web.db.audits(None, None, 100).await.unwrap();
        rows.into_iter().map(|row| row.audit.action).collect()
    }
}

fn hidden(body: &str, name: &str) -> String {
    let start = body.find(&format!(r#"name="{name}" value=""#)).unwrap_or_else(|| panic!("{name} is not in {body}"));
    body[start..].split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// Returns the path and the fields that the undo button of the flash message would post.
fn undo_form(body: &str) -> (String, Vec<(String, String)>) {
    let toast = body.split(r#"class="toast""#).nth(1).expect("a flash message").split("</form>").next().unwrap();
    let action = toast.split("action=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let fields = toast.split(r#"name=""#).skip(1).map(|rest| {
        let name = rest.split('"').next().unwrap().to_owned();
        let value = rest.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        (name, value)
    });
    (action, fields.filter(|(name, _)| name != "csrf").collect())
}

#[actix_web::test]
async fn every_field_is_shown_with_unit_bounds_and_default() {
    let web = TestWeb::empty().await;
    let page = web.get("/config").await;
    assert_eq!(page.status, StatusCode::OK);
    for field in StoredConfig::fields() {
        assert!(page.body.contains(&format!(r#"id="field-{}""#, field.name)), "{}", field.name);
        assert!(page.body.contains(&format!(r#"<label for="field-{}">"#, field.name)), "{}", field.name);
    }
    let text = page.text();
    for expected in [
        "Guardrails What a copy must satisfy.",
        "The widest spread that is traded. 0.00¢ to 100.00¢. ¢ default",
        "All are the defaults.",
        "follow a trader first",
        "Test without saving",
        "Nothing was changed yet.",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(page.body.contains(r#"name="maxSpreadMicros" value="2.00""#));
    assert!(!page.body.contains(" style=") && !page.body.contains("hx-on") && !page.body.contains("onclick="));
}

#[actix_web::test]
async fn a_leader_inherits_every_field_without_an_override() {
    let web = TestWeb::full().await;
    let visitor = ConfigVisitor::at(&web).await;
    let saved = visitor.json("POST", "/api/config/user/1", r#"{"sizing": {"copyPctNotionalBps": 250}}"#).await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.body);
    let page = web.get("/config?user=1").await;
    let text = page.text();
    assert!(text.contains("inherits 2.00¢"), "{text}");
    assert!(text.contains("own · everybody's 1.00 % inherit"), "{text}");
    assert!(page.body.contains(r#"name="copyPctNotionalBps" value="2.50""#));
    assert!(page.body.contains(r#"name="maxSpreadMicros" value="""#));
    assert!(!page.body.contains("field-pollingIntervalMs"), "a leader has no system settings");
    assert!(!page.body.contains("<script>alert") && page.body.contains("&lt;script&gt;"));
    assert_eq!(web.get("/config?user=99").await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn a_typed_value_is_saved_confirmed_audited_and_can_be_undone() {
    let web = TestWeb::full().await;
    let mut visitor = ConfigVisitor::at(&web).await;
    let typed = [
        ("maxSpreadMicros", "1.5"),
        ("was.maxSpreadMicros", "2.00"),
        ("minTradeNotionalMicros", "5.00"),
        ("was.minTradeNotionalMicros", "5.00"),
        ("applyTakerFees", "off"),
        ("was.applyTakerFees", "on"),
    ];
    let answer = visitor.form("/config", &typed).await;
    let page = visitor.follow(&answer).await;
    let told = "Saved for everybody: Spread, at most 2.00¢ → 1.50¢; Taker fees on → off.";
    assert!(page.text().contains(told), "{}", page.text());
    let config = visitor.config().await;
    assert_eq!((config.guardrails.max_spread.micros(), config.sizing.apply_taker_fees), (15_000, false));
    assert_eq!(visitor.audited().await[0], "save_config");
    let text = page.text();
    assert!(text.contains("Configuration saved Everybody Spread, at most 2.00¢ → 1.50¢ Taker fees on → off"), "{text}");
    assert!(text.contains("changed · default 2.00¢ reset"), "{text}");

    let (action, fields) = undo_form(&page.body);
    assert_eq!(action, "/config/restore");
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = visitor.form(&action, &fields).await;
    let page = visitor.follow(&answer).await;
    assert!(page.text().contains("Undone for everybody: Spread, at most 1.50¢ → 2.00¢"), "{}", page.text());
    assert_eq!(visitor.config().await, StoredConfig::default());
    let saves = visitor.audited().await.into_iter().filter(|action| action == "save_config").count();
    assert_eq!(saves, 2, "an undo is a change like any other");
}

#[actix_web::test]
async fn an_emptied_field_removes_the_leaders_override() {
    let web = TestWeb::full().await;
    let mut visitor = ConfigVisitor::at(&web).await;
    let typed = [("user", "1"), ("maxSpreadMicros", "3"), ("was.maxSpreadMicros", "")];
    let answer = visitor.form("/config", &typed).await;
    assert_eq!(answer.header("location"), "/config?user=1");
    let page = visitor.follow(&answer).await;
    assert!(page.text().contains("Spread, at most inherited → 3.00¢."), "{}", page.text());
    assert_eq!(hidden(&page.body, "was.maxSpreadMicros"), "3.00");
    let overrides = async || web.db.directory().await.unwrap().overrides.len();
    assert_eq!(overrides().await, 1);
    let answer =
        visitor.form("/config", &[("user", "1"), ("maxSpreadMicros", ""), ("was.maxSpreadMicros", "3.00")]).await;
    let page = visitor.follow(&answer).await;
    assert!(page.text().contains("Spread, at most 3.00¢ → inherited."), "{}", page.text());
    assert_eq!(overrides().await, 0);
    // A form with nothing typed changes nothing.
    let audited = visitor.audited().await.len();
    let answer = visitor.form("/config", &[("user", "1"), ("maxSpreadMicros", ""), ("was.maxSpreadMicros", "")]).await;
    assert!(visitor.follow(&answer).await.text().contains("Nothing was changed."));
    assert_eq!(visitor.audited().await.len(), audited);
}

#[actix_web::test]
async fn an_invalid_value_is_refused_by_name_and_stays_in_the_form() {
    let web = TestWeb::full().await;
    let mut visitor = ConfigVisitor::at(&web).await;
    let typed = [
        ("maxSpreadMicros", "2.00001"),
        ("was.maxSpreadMicros", "2.00"),
        ("jitterMsMax", "<b>soon"),
        ("was.jitterMsMax", "250"),
        ("maxOverMidMicros", "1"),
        ("was.maxOverMidMicros", "1.50"),
    ];
    for path in ["/config", "/config/test"] {
        let page = visitor.form(path, &typed).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        let text = page.text();
        assert!(text.contains("Nothing was saved: 2 fields are not what they can be."), "{text}");
        assert!(text.contains("maxSpreadMicros is `2.00001`, which is too fine"), "{text}");
        assert!(page.body.contains(r#"value="2.00001" inputmode="decimal""#), "what was typed stays");
        assert!(page.body.contains(r#"name="maxOverMidMicros" value="1""#));
        assert!(page.body.contains("&lt;b&gt;soon") && !page.body.contains("<b>soon"));
        assert!(
            page.body.contains(
                r#"aria-describedby="help-jitterMsMax from-jitterMsMax wrong-jitterMsMax" aria-invalid="true""#
            )
        );
    }
    assert_eq!(visitor.config().await, StoredConfig::default());
    assert!(!visitor.audited().await.contains(&"save_config".to_owned()));
    assert_eq!(visitor.form("/config", &[("user", "many")]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(visitor.form("/config", &[("user", "99")]).await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn json_returns_stored_default_and_effective_values_and_changes_them() {
    let web = TestWeb::full().await;
    let visitor = ConfigVisitor::at(&web).await;
    let saved =
        visitor.json("POST", "/api/config/global", r#"{"guardrails": {"maxSpreadMicros": 15000}}"#).await.json();
    assert_eq!(saved["config"]["guardrails"]["maxSpreadMicros"], 15_000);
    assert_eq!(saved["changes"][0]["before"], 20_000);
    visitor.json("POST", "/api/config/user/1", r#"{"guardrails": {"dailyLossLimitBps": 100}}"#).await;
    let view = web.get("/api/config").await.json();
    assert_eq!(view["default"]["guardrails"]["maxSpreadMicros"], 20_000);
    assert_eq!(view["stored"]["global"], serde_json::json!({"guardrails": {"maxSpreadMicros": 15_000}}));
    assert_eq!(view["stored"]["users"]["1"]["guardrails"], serde_json::json!({"dailyLossLimitBps": 100}));
    assert_eq!(view["effective"]["global"]["guardrails"]["maxSpreadMicros"], 15_000);
    let of_user = &view["effective"]["users"]["1"];
    assert_eq!(of_user["EXEC_USER"]["guardrails"]["dailyLossLimitBps"], 100);
    assert_eq!(
        of_user["EXEC_GLOBAL"]["guardrails"]["dailyLossLimitBps"], 300,
        "limits of the shared bankroll are global"
    );
    assert_eq!(view["fields"].as_array().unwrap().len(), StoredConfig::fields().count());
    // The page shows the same.
    assert!(web.get("/config").await.body.contains(r#"name="maxSpreadMicros" value="1.50""#));

    let back = visitor.json("POST", "/api/config/global", r#"{"guardrails": {"maxSpreadMicros": null}}"#).await.json();
    assert_eq!(back["config"]["guardrails"]["maxSpreadMicros"], 20_000);
    let refused = async |path: &str, body: &str, expected: &str| {
        let answer = visitor.json("POST", path, body).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (StatusCode::BAD_REQUEST, "application/problem+json")
        );
        assert!(answer.json()["detail"].as_str().unwrap().contains(expected), "{}", answer.body);
    };
    refused("/api/config/global", r#"{"guardrails": {"maxSpreadMicros": -1}}"#, "`maxSpreadMicros` is `-1`").await;
    refused("/api/config/global", r#"{"guardrails": {"maxSpread": 1}}"#, "`maxSpread` is not a field of guardrails")
        .await;
    refused("/api/config/user/1", r#"{"system": {"pollingIntervalMs": 500}}"#, "`pollingIntervalMs`").await;
    refused("/api/config/test", r#"{"sizing": {"copyPctNotionalBps": "2"}}"#, "`copyPctNotionalBps` must be").await;
    refused("/api/config/test", r#"{"from": "yesterday"}"#, "`from` must be an ISO 8601 time").await;
    refused("/api/config/test", r#"{"portfolio": "OURS"}"#, "`portfolio` must be").await;
    refused("/api/config/test", r#"{"from": "2999-01-01T00:00:00Z"}"#, "`from` must be before `to`").await;
    refused("/api/config/test", r#"{"since": 1}"#, "`since` is not a field of config").await;
    assert_eq!(visitor.json("POST", "/api/config/user/99", "{}").await.status, StatusCode::NOT_FOUND);
    assert_eq!(visitor.json("POST", "/api/config/test", r#"{"user": 99}"#).await.status, StatusCode::NOT_FOUND);
    assert_eq!(visitor.json("GET", "/api/config/test/77", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(web.get_signed_out("/api/config").await.status, StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn a_test_answers_at_once_and_its_result_can_be_read_again() {
    let web = TestWeb::full().await;
    let visitor = ConfigVisitor::at(&web).await;
    let body = r#"{"system": {"copyEngineEnabled": false, "pollingIntervalMs": 500}}"#;
    let begun = visitor.json("POST", "/api/config/test", body).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.body);
    let id = begun.json()["id"].as_u64().unwrap();
    assert_eq!(begun.header("location"), format!("/api/config/test/{id}"));
    let done = loop {
        let view = web.get(&format!("/api/config/test/{id}")).await.json();
        if view["state"] != "RUNNING" {
            break view;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((&done["state"], &done["done"], &done["groups"]), (&"DONE".into(), &2.into(), &2.into()), "{done}");
    assert_eq!(done["portfolio_scope"], "EXEC_GLOBAL");
    assert_eq!(done["not_seen"], serde_json::json!(["pollingIntervalMs"]));
    let result = &done["result"];
    assert_eq!(
        (&result["n_groups"], &result["n_without_book"], &result["n_recorded"]),
        (&2.into(), &2.into(), &2.into())
    );
    assert_eq!(result["candidate"]["skipped"], 2);
    let paused = result["by_reason"].as_array().unwrap().iter().find(|row| row["reason_code"] == "ENGINE_PAUSED");
    assert_eq!(paused.unwrap()["difference"], 2);
    assert_eq!(result["changes"].as_array().unwrap().len(), 2);
    assert_eq!(result["changes"][0]["candidate"]["reason_codes"], serde_json::json!(["ENGINE_PAUSED"]));
    assert_eq!(result["changes"][0]["followed_user_label"], HOSTILE);
    assert_eq!(visitor.config().await, StoredConfig::default(), "nothing was saved");

    // The page tells the same, with links to the recorded attempts.
    let page = web.get(&format!("/config/test/{id}")).await;
    let text = page.text();
    for expected in [
        "Test: 2 values changed",
        "Copying on → off",
        "Engine paused 0 2 +2",
        "For 2 of the groups no book was kept",
        "cannot show: Polling interval.",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(page.body.contains(&format!("/attempts/{}", result["changes"][0]["attempt_id"].as_str().unwrap())));
    assert!(!page.body.contains("<script>alert"));
    // The script that waits for the test reads its part of the page alone.
    let part =
        web.get_with(&format!("/config/test/{id}"), &[("hx-request", "true"), ("hx-target", "section#trial")]).await;
    assert!(part.body.trim_start().starts_with(r#"<section class="panel trial" id="trial""#), "{}", part.body);
    // Cancelling a test that has ended changes nothing.
    let cancelled = visitor.json("DELETE", &format!("/api/config/test/{id}"), "").await;
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (StatusCode::OK, &"DONE".into()));
}

#[actix_web::test]
async fn the_form_tests_what_it_holds_and_keeps_it() {
    let web = TestWeb::full().await;
    let mut visitor = ConfigVisitor::at(&web).await;
    let typed = [("user", "1"), ("maxSpreadMicros", "3"), ("was.maxSpreadMicros", ""), ("window", "7d")];
    let answer = visitor.form("/config/test", &typed).await;
    let page = visitor.follow(&answer).await;
    assert!(page.text().contains("Test: 1 value changed"), "{}", page.text());
    assert!(page.body.contains(r#"name="maxSpreadMicros" value="3""#), "what was typed stays");
    assert_eq!(hidden(&page.body, "was.maxSpreadMicros"), "", "and is not saved");
    assert!(page.body.contains(r#"<option value="7d" selected>"#));
    let custom = [("window", "custom"), ("from", "2026-02-01T10:00"), ("to", "2026-01-01T10:00")];
    let page = visitor.form("/config/test", &custom).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text().contains("From must be before to, and before now."), "{}", page.text());
    let page = visitor.form("/config/test", &[("window", "custom"), ("from", "soon")]).await;
    assert!(page.text().contains("`from` must be a time such as 2026-01-15T12:00."), "{}", page.text());
}

#[actix_web::test]
async fn a_new_opening_bankroll_says_that_open_accounts_keep_theirs() {
    let web = TestWeb::full().await;
    portfolio::book_lot(&web, FollowedUserId(1)).await;
    let mut visitor = ConfigVisitor::at(&web).await;
    let typed = [("initialBankrollMicros", "20000.00"), ("was.initialBankrollMicros", "10000.00")];
    let answer = visitor.form("/config", &typed).await;
    let text = visitor.follow(&answer).await.text();
    assert!(text.contains("Accounts that are open keep theirs: `polymarketspy account deposit` moves cash"), "{text}");
    assert!(web.get("/portfolio").await.text().contains("Opening deposit +10,000.00"));
    let typed = [("jitterMsMax", "300"), ("was.jitterMsMax", "250")];
    let answer = visitor.form("/config", &typed).await;
    assert!(!visitor.follow(&answer).await.text().contains("account deposit"));
}

#[actix_web::test]
async fn choices_and_tags_are_typed_saved_and_undone() {
    let web = TestWeb::full().await;
    let mut visitor = ConfigVisitor::at(&web).await;
    let page = web.get("/config").await;
    assert!(page.text().contains("separated by commas, 50 at most; none for no tag."), "{}", page.text());
    assert_eq!(
        (hidden(&page.body, "was.exitSizing"), hidden(&page.body, "was.onlyCategories")),
        ("NOTIONAL".to_owned(), "none".to_owned())
    );
    let typed = [
        ("exitSizing", "PROPORTIONAL"),
        ("was.exitSizing", "NOTIONAL"),
        ("onlyCategories", "NBA politics"),
        ("was.onlyCategories", "none"),
    ];
    let answer = visitor.form("/config", &typed).await;
    let page = visitor.follow(&answer).await;
    assert!(
        page.text().contains("NOTIONAL → PROPORTIONAL") && page.text().contains("none → nba, politics"),
        "{}",
        page.text()
    );
    assert_eq!(hidden(&page.body, "was.onlyCategories"), "nba, politics");
    assert_eq!(visitor.config().await.sizing.only_categories.list(), ["nba", "politics"]);
    let (action, fields) = undo_form(&page.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = visitor.form(&action, &fields).await;
    visitor.follow(&answer).await;
    assert_eq!(visitor.config().await, StoredConfig::default());
    let wrong = visitor.form("/config", &[("onlyCategories", "a;b"), ("was.onlyCategories", "none")]).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("onlyCategories has the tag `a;b`"), "{}", wrong.text());
}
