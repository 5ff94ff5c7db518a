//! `GET /api/openapi.json`: it describes exactly our JSON routes, and their real answers fit it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

mod schema_check;

use super::*;
use crate::db::health_key;
use crate::domain::events::event::ActivityKind;
use crate::web::openapi::document;
use crate::web::server::routes::{CLOSED, OPEN};
use schema_check::Schemas;

/// Returns the method and the path of every JSON route.
fn api_routes() -> BTreeSet<(String, String)> {
    let routes = OPEN.iter().chain(CLOSED).filter(|(_, path)| path.starts_with("/api/"));
    routes.map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect()
}

/// Returns the schema of an answer with `status`, or that of the errors without their own.
fn answer_schema<'d>(document: &'d Value, method: &str, path: &str, status: StatusCode) -> &'d Value {
    let answers = &document["paths"][path][method]["responses"];
    let answer = answers.get(status.as_str()).unwrap_or(&answers["default"]);
    let contents = answer["content"].as_object().unwrap_or_else(|| panic!("{method} {path} has no answer {status}"));
    &contents.values().next().expect("an answer has one content")["schema"]
}

/// Fails unless the answer fits the description of its route and status.
fn assert_described(document: &Value, (method, path): (&str, &str), answer: &TestResponse) {
    let schema = answer_schema(document, method, path, answer.status);
    let problems = Schemas(document).problems(schema, &answer.json());
    assert!(problems.is_empty(), "{method} {path} {}:\n{}\n{}", answer.status, problems.join("\n"), answer.body);
    let is_error = answer.status.is_client_error() || answer.status.is_server_error();
    let content_type = if is_error { "application/problem+json" } else { "application/json" };
    assert_eq!(answer.header("content-type"), content_type, "{method} {path}");
}

/// Reads every GET route, with the id that each path needs.
async fn assert_reads(web: &TestWeb, attempt: Option<AttemptId>, test: u64) {
    let document = document();
    let mut problems = Vec::new();
    for (method, path) in api_routes().iter().filter(|(method, _)| method == "get") {
        let id = match path.as_str() {
            "/api/copy-attempts/{id}" => attempt.map_or_else(|| "none".to_owned(), |id| id.to_string()),
            "/api/config/test/{id}" => test.to_string(),
            path if path.contains("market") => market_id().to_string(),
            _ => "1".to_owned(),
        };
        let answer = web.get(&path.replace("{id}", &id)).await;
        let is_missing = path == "/api/copy-attempts/{id}" && attempt.is_none();
        assert_eq!(answer.status, if is_missing { StatusCode::NOT_FOUND } else { StatusCode::OK }, "{path}");
        let schema = answer_schema(&document, method, path, answer.status);
        let found = Schemas(&document).problems(schema, &answer.json());
        problems.extend(found.into_iter().map(|problem| format!("{path} {problem}")));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Sends a change and returns the answer, which fits the description.
async fn change(web: &TestWeb, method: &str, (path, id): (&str, &str), body: Value) -> TestResponse {
    let (origin, csrf) = (web.origin(), web.csrf().await);
    let address = web.url(&path.replace("{id}", id));
    let request = web.client.request(method.to_ascii_uppercase().parse().unwrap(), address);
    let request = request.insert_header(("cookie", web.cookie.as_str())).insert_header(("origin", origin));
    let request = request.insert_header(("x-csrf-token", csrf));
    let answer = TestResponse::read(request.send_json(&body).await.unwrap()).await;
    assert_described(&document(), (method, path), &answer);
    answer
}

/// Begins a test of a configuration and waits for its end. Returns its number.
async fn finished_test(web: &TestWeb) -> u64 {
    let body = json!({"sizing": {"copyPctNotionalBps": 700}, "guardrails": {"maxSpreadMicros": 60_000}});
    let begun = change(web, "post", ("/api/config/test", ""), body).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.body);
    let id = begun.json()["id"].as_u64().unwrap();
    while web.get(&format!("/api/config/test/{id}")).await.json()["state"] == "RUNNING" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    id
}

#[test]
fn the_described_routes_are_those_of_the_server() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())))
        .collect();
    assert_eq!(described, api_routes());
    assert!(described.len() > 25, "the list is that of the server");
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn every_field_and_parameter_is_explained() {
    let document = document();
    let schemas = Schemas(&document);
    let is_explained = |schema: &Value| {
        schema["description"]
            .as_str()
            .or(schemas.resolve(schema)["description"].as_str())
            .is_some_and(|text| !text.is_empty())
    };
    let mut bare = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if !is_explained(schema) {
            bare.push(name.clone());
        }
        let parts = ["allOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten();
        for part in parts.chain([schema]) {
            for (field, schema) in part["properties"].as_object().into_iter().flatten() {
                if !is_explained(schema) {
                    bare.push(format!("{name}.{field}"));
                }
            }
        }
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            bare.extend(parameters.filter(|p| !is_explained(p)).map(|p| format!("{path} {p}")));
        }
    }
    assert!(bare.is_empty(), "without a description: {bare:#?}");
}

#[actix_web::test]
async fn the_description_is_served_behind_the_sign_in() {
    let web = TestWeb::empty().await;
    assert_eq!(web.get("/api/openapi.json").await.json(), document());
    assert_eq!(web.get_signed_out("/api/openapi.json").await.status, StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn real_answers_fit_their_description() {
    let mut web = TestWeb::full().await;
    web.db.put_checkpoint(&health_key(None), &status::report(web.now), web.now).await.unwrap();
    status::bury_two(&web).await;
    portfolio::book_lot(&web, FollowedUserId(1)).await;
    let kinds = [ActivityKind::Merge, ActivityKind::Redeem, ActivityKind::Other("REWARD".to_owned())];
    let rows = (1..).zip(kinds).map(|(n, kind)| trades::activity(FollowedUserId(1), n, kind, web.now));
    trades::record_activities(&web, rows.collect()).await;
    let book = explanation::book(web.now.plus_millis(900));
    let attempt = explanation::explained(&web, DecisionKind::Execute, Some(book)).await;
    let exit = web.get(&format!("/api/copy-attempts/{}", explanation::explained_exit(&web).await)).await;
    assert_eq!(exit.json()["explain_json"]["exit"]["sizing"], "PROPORTIONAL");
    assert_described(&document(), ("get", "/api/copy-attempts/{id}"), &exit);
    web.post("/control/pause", &[("paused", "true")]).await;
    let test = finished_test(&web).await;
    assert_reads(&web, Some(attempt), test).await;
}

#[actix_web::test]
async fn real_answers_about_a_leader_and_a_market_with_history_fit_too() {
    let (web, user) = user::with_leader().await;
    assert_eq!(user, FollowedUserId(1));
    web.db.save_market(&market()).await.unwrap();
    let test = finished_test(&web).await;
    assert_reads(&web, None, test).await;
    let web = markets::with_position().await;
    let test = finished_test(&web).await;
    assert_reads(&web, None, test).await;
}

#[actix_web::test]
async fn answers_to_changes_fit_their_description() {
    let web = TestWeb::full().await;
    let market = market_id().to_string();
    let ok = async |method: &str, path: &str, id: &str, body: Value| {
        let answer = change(&web, method, (path, id), body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
    };
    ok("post", "/api/control/pause", "", json!({"paused": true})).await;
    ok("post", "/api/control/peak", "", json!({"portfolio": "EXEC_GLOBAL"})).await;
    ok("post", "/api/users/{id}", "1", json!({"label": "Ilse", "enabled": false})).await;
    ok("post", "/api/markets/{id}", &market, json!({"blacklisted": true})).await;
    ok("post", "/api/config/global", "", json!({"guardrails": {"maxSpreadMicros": 15_000}, "system": {}})).await;
    ok("post", "/api/config/user/{id}", "1", json!({"sizing": {"copyPctNotionalBps": 700}})).await;
    let chosen = json!({"exitSizing": "PROPORTIONAL", "onlyCategories": ["politics", "nba"], "venueOrderRules": false});
    ok("post", "/api/config/user/{id}", "1", json!({"sizing": chosen})).await;
    ok("post", "/api/config/global", "", json!({"sizing": {"notCategories": ["sports"]}})).await;
    let test = finished_test(&web).await.to_string();
    ok("post", "/api/config/test/{id}/cancel", &test, json!({})).await;
    ok("delete", "/api/config/test/{id}", &test, json!({})).await;
    for path in ["/api/config", "/api/audit", "/api/users", "/api/markets"] {
        assert_described(&document(), ("get", path), &web.get(path).await);
    }
    // Polymarket does not answer in this test.
    let answer = change(&web, "post", ("/api/users", ""), json!({"trader": wallet().as_str()})).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

#[actix_web::test]
async fn errors_fit_their_description() {
    let web = TestWeb::full().await;
    let document = document();
    for (method, path) in api_routes() {
        // Whatever the route is, a signed-out visitor gets the status alone, or a problem.
        let answer = web.send(&method, &path.replace("{id}", "1"), &[("origin", &web.origin())]).await;
        assert_described(&document, (&method, &path), &answer);
    }
    for (path, sent, status) in [
        ("/api/trades", "/api/trades?limit=many", StatusCode::BAD_REQUEST),
        ("/api/copy-attempts", "/api/copy-attempts?nonsense=1", StatusCode::BAD_REQUEST),
        ("/api/users/{id}", "/api/users/99", StatusCode::NOT_FOUND),
        ("/api/series/portfolio", "/api/series/portfolio?of=ours", StatusCode::BAD_REQUEST),
    ] {
        let answer = web.get(sent).await;
        assert_eq!(answer.status, status, "{sent}");
        assert_described(&document, ("get", path), &answer);
    }
    let answer = change(&web, "post", ("/api/control/pause", ""), json!({"pausd": true})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn a_route_knows_every_described_parameter() {
    let web = TestWeb::full().await;
    for (path, item) in document()["paths"].as_object().unwrap() {
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let answer = web.get(&format!("{}?{name}=", path.replace("{id}", "1"))).await;
            assert!(!answer.body.contains("unknown field"), "{path} does not know `{name}`: {}", answer.body);
        }
    }
}

#[test]
fn the_checker_finds_a_wrong_schema() {
    let find = |schema: &str, change: &dyn Fn(&mut Value), expected: &str| {
        let mut document = document();
        change(&mut document["components"]["schemas"]["PeakAnswer"]);
        let answer = json!({"portfolio": "EXEC_GLOBAL", "before_micros": 5, "peak_micros": -7});
        let problems = Schemas(&document).problems(&json!({"$ref": schema}), &answer);
        match expected {
            "" => assert!(problems.is_empty(), "{problems:?}"),
            expected => assert!(problems.iter().any(|problem| problem.contains(expected)), "{problems:?}"),
        }
    };
    let peak = "#/components/schemas/PeakAnswer";
    find(peak, &|_| {}, "");
    find(peak, &|schema| drop(schema["properties"].as_object_mut().unwrap().remove("portfolio")), "lacks this key");
    find(peak, &|schema| schema["properties"]["portfolio"] = json!({"type": "integer"}), "is of the type string");
    find(peak, &|schema| schema["required"] = json!(["at"]), "\"at\" is missing");
    find(peak, &|schema| schema["properties"]["portfolio"] = json!({"enum": ["ALL"]}), "is not one of");
    find(peak, &|schema| schema["properties"]["peak_micros"] = json!({"minimum": 0}), "is below 0");
    find(peak, &|schema| schema["properties"]["portfolio"] = json!({"format": "date-time"}), "the format");
    find(peak, &|schema| schema["not"] = json!({}), "does not know the keyword `not`");
    find(peak, &|schema| schema["oneOf"] = json!([{"type": "null"}, {"type": "array"}]), "not \"null\"");
    find("#/components/schemas/Chart", &|_| {}, "is missing");
    let of_list = |rules: Value, list: Value| Schemas(&Value::Null).problems(&rules, &list).join("; ");
    assert_eq!(of_list(json!({"minItems": 2, "maxItems": 2, "uniqueItems": true}), json!(["a", "b"])), "");
    assert!(of_list(json!({"minItems": 2}), json!(["a"])).contains("fewer than 2"));
    assert!(of_list(json!({"maxItems": 1}), json!(["a", "b"])).contains("more than 1"));
    assert!(of_list(json!({"uniqueItems": true}), json!(["a", "b", "a"])).contains("twice"));
    assert_eq!(of_list(json!({"items": {"maxLength": 2}}), json!(["äö"])), "");
    assert!(of_list(json!({"items": {"maxLength": 2}}), json!(["abc"])).contains("longer than 2"));
}

#[test]
fn the_page_for_people_lists_the_same_routes() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (method, path) = (cells.next()?.to_ascii_lowercase(), cells.next()?.trim_matches('`').to_owned());
        let about = cells.next()?.trim_end_matches(" |");
        path.starts_with("/api/").then(|| ((method, path), about.to_owned()))
    };
    let rows: BTreeMap<(String, String), String> = page.lines().filter_map(row).collect();
    let listed: BTreeSet<_> = rows.keys().cloned().collect();
    assert_eq!(listed, api_routes());
    let document = document();
    for ((method, path), about) in rows {
        assert_eq!(document["paths"][&path][&method]["summary"], about, "{method} {path}");
    }
}
