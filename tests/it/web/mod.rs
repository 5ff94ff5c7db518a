//! The answers over HTTP, for people and for supervisors.

pub(super) mod health;
pub(super) mod secrets;
pub(super) mod sign_in;

use polymarketspy::app::App;
use polymarketspy::testkit::test_client;

/// Returns the answer of a JSON route to a person who has signed in by the link.
pub(super) async fn json(app: &App, path: &str) -> serde_json::Value {
    let client = test_client();
    let link = app.login_link().unwrap();
    let signed_in = client.get(link).send().await.unwrap();
    let cookie = signed_in.cookies().unwrap()[0].clone().into_owned();
    let origin = link.split("/login/").next().unwrap();
    let mut answer = client.get(format!("{origin}{path}")).cookie(cookie).send().await.unwrap();
    answer.json().limit(4 << 20).await.unwrap()
}
