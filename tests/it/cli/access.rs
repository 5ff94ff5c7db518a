//! `token` and `admin`: API tokens and administrators from the command line.

use super::*;

#[actix::test]
async fn a_token_is_shown_once_listed_without_itself_and_revoked_by_name() {
    let bot = TestBot::new().await;
    let made = run(&bot, &["token", "new", "nightly", "--scope", "write"]);
    let secret = told(&made).trim().to_owned();
    assert!(secret.starts_with("pmspy_") && secret.len() == 49, "{secret}");
    let again = run(&bot, &["token", "new", "nightly"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(complaint(&again).contains("there is a working token `nightly`"), "{}", complaint(&again));

    let listed = run(&bot, &["token", "list", "--json"]);
    assert!(!told(&listed).contains(&secret[6..]), "the list contains no secret");
    let token = &answer(&listed)[0];
    assert_eq!(
        (&token["name"], &token["scope"], &token["last_used_at"]),
        (&"nightly".into(), &"WRITE".into(), &serde_json::Value::Null)
    );

    assert_eq!(run(&bot, &["token", "revoke", "nightly"]).status.code(), Some(0));
    assert_eq!(run(&bot, &["token", "revoke", "nightly"]).status.code(), Some(2));
    assert!(answer(&run(&bot, &["token", "list", "--json"]))[0]["revoked_at"].is_string());
    assert_eq!(run(&bot, &["token", "new", "nightly"]).status.code(), Some(0), "the name is free again");
    let scope = run(&bot, &["token", "new", "other", "--scope", "admin"]);
    assert!(complaint(&scope).contains("a scope is `read` or `write`"), "{}", complaint(&scope));
}

#[actix::test]
async fn the_list_of_admins_is_changed_and_audited() {
    let bot = TestBot::new().await;
    assert_eq!(run(&bot, &["admin", "add", "Ada@Example.org"]).status.code(), Some(0));
    assert_eq!(answer(&run(&bot, &["admin", "list", "--json"]))[0]["email"], "ada@example.org");
    assert_eq!(run(&bot, &["admin", "add", "nobody"]).status.code(), Some(2));
    assert_eq!(run(&bot, &["admin", "remove", "ada@example.org"]).status.code(), Some(0));
    assert_eq!(run(&bot, &["admin", "remove", "ada@example.org"]).status.code(), Some(2));
    let rows = bot.db.audits(None, None, 2).await.unwrap();
    let done: Vec<(String, String)> = rows.into_iter().map(|row| (row.audit.action, row.audit.subject)).collect();
    let of = |action: &str| (action.to_owned(), "admin:ada@example.org".to_owned());
    assert_eq!(done, [of("admin_remove"), of("admin_add")]);
}

#[actix::test]
async fn the_doctor_reports_that_no_account_may_sign_in() {
    let bot = TestBot::new().await;
    let finding = |output: &Output| {
        let all = answer(output);
        let finding = all.as_array().unwrap().iter().find(|finding| finding["check"] == "sign-in").unwrap().clone();
        (finding["state"].as_str().unwrap().to_owned(), finding["detail"].as_str().unwrap().to_owned())
    };
    let (state, said) = finding(&run(&bot, &["doctor", "--json"]));
    assert!(state == "fine" && said.contains("one-time link"), "{said}");
    let secret = "s".repeat(64);
    let with_github = |arguments: &[&str]| {
        let mut command = command(&bot, arguments);
        command.envs([("GITHUB_CLIENT_ID", "spy"), ("GITHUB_CLIENT_SECRET", "x"), ("SESSION_SECRET", &secret)]);
        command.output().unwrap()
    };
    let (state, said) = finding(&with_github(&["doctor", "--json"]));
    assert!(state == "warning" && said.contains("no e-mail may sign in"), "{said}");
    let (state, _) = finding(&with_github(&["doctor", "--json", "--admin-email", "ada@example.org"]));
    assert_eq!(state, "fine");
}
