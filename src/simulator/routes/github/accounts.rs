//! The invented accounts, as the API prints them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::simulator::http::request::Host;
use crate::simulator::http::response::Answer;

/// The account and scope of a token.
#[derive(Clone)]
pub struct Access {
    pub account: &'static Account,
    /// Granted scopes, with commas between them.
    pub scope: String,
}

/// One invented account.
pub struct Account {
    pub login: &'static str,
    id: u64,
    name: &'static str,
    pub emails: &'static [Email],
}

/// An e-mail address of an account.
pub struct Email {
    address: &'static str,
    verified: bool,
    /// Only the first address, the primary one, has a visibility.
    public: bool,
}

/// For tests of an access list with `ada@example.org`: Ada may sign in, Grace may by her second address, which is written
/// differently, Mallory may not, and Eve only claims the address.
pub const ACCOUNTS: [Account; 4] = [
    Account { login: "ada", id: 1815, name: "Ada", emails: &[private("ada@example.org")] },
    Account {
        login: "grace",
        id: 1906,
        name: "Grace",
        emails: &[private("grace@elsewhere.example"), private("Ada@Example.org")],
    },
    Account {
        login: "mallory",
        id: 1988,
        name: "Mallory <script>",
        emails: &[Email { public: true, ..private("mallory@example.org") }],
    },
    Account { login: "eve", id: 1984, name: "Eve", emails: &[Email { verified: false, ..private("ada@example.org") }] },
];

const fn private(address: &'static str) -> Email {
    Email { address, verified: true, public: false }
}

impl Email {
    /// Returns the address as the sign-in page prints it.
    pub fn label(&self) -> String {
        if self.verified { self.address.to_owned() } else { format!("{} (not verified)", self.address) }
    }
}

/// Returns the answer of `/user`.
pub fn user(access: &Access) -> Answer {
    let Account { login, id, name, emails } = access.account;
    let public = emails.iter().find(|email| email.public).map(|email| email.address);
    Answer::json(&json!({
        "login": login,
        "id": id,
        "node_id": STANDARD.encode(format!("04:User{id}")),
        "avatar_url": "",
        "gravatar_id": "",
        "type": "User",
        "user_view_type": "public",
        "site_admin": false,
        "name": name,
        "company": null,
        "blog": "",
        "location": null,
        "email": public,
        "hireable": null,
        "bio": null,
        "public_repos": 0,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": "2011-01-25T18:44:36Z",
        "updated_at": "2026-11-01T08:00:00Z",
    }))
}

/// Returns the answer of `/user/emails`.
pub fn emails(access: &Access) -> Answer {
    if !access.scope.split(',').any(|scope| matches!(scope, "user" | "user:email")) {
        return Answer::error(Host::GitHub, 404, "Not Found");
    }
    let json = |(index, email): (usize, &Email)| {
        let visibility = (index == 0).then_some(if email.public { "public" } else { "private" });
        json!({"email": email.address, "primary": index == 0, "verified": email.verified, "visibility": visibility})
    };
    Answer::json(&access.account.emails.iter().enumerate().map(json).collect::<Vec<_>>())
}
