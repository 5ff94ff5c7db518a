//! `polymarketspy token`: API tokens, with which scripts read the dashboard's data or use its controls.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::database::open;
use super::terminal::{clean, say_json};
use super::{database::AUDIT_WHO, exit_code};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Inserted;
use crate::db::TokenScope;
use crate::domain::money::units::Timestamp;
use crate::token;

pub const HELP: &str = "Send a token in the header `Authorization: Bearer <token>`. It is shown only once; only its hash is \
stored.\n\nExit codes: 0 success, 2 failed.";

/// Shows where a found token belongs, and lets secret scanners of repositories search for it.
const PREFIX: &str = "pmspy_";
const NAME_CHARACTERS_MAX: usize = 60;

#[derive(Args)]
pub struct TokenArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Creates a token and shows it once.
    New(NewArguments),
    /// Lists the tokens with their last use.
    List(ListArguments),
    /// Revokes a token.
    Revoke(RevokeArguments),
}

#[derive(Args)]
struct NewArguments {
    /// Name of the token in the audit log.
    #[arg(value_parser = name)]
    name: String,
    /// `read`: pages, JSON, exports and live updates. `write`: also every control.
    #[arg(long, value_parser = scope, default_value = "read", value_name = "SCOPE")]
    scope: TokenScope,
}

#[derive(Args)]
struct ListArguments {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RevokeArguments {
    /// Name of the token.
    name: String,
}

pub async fn token(settings: &Settings, arguments: TokenArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let now = Clock::System.now();
    let code = match arguments.command {
        Command::New(NewArguments { name, scope }) => {
            let secret = format!("{PREFIX}{}", token::random_text()?);
            match db.insert_token(&name, &token::hex(&token::hash(&secret)), scope, AUDIT_WHO, now).await? {
                Inserted::New(_) => println!("{secret}"),
                Inserted::Known => bail!("there is a working token `{name}`; choose another name or revoke that one"),
            }
            ExitCode::SUCCESS
        }
        Command::List(ListArguments { json: true }) => {
            say_json(&db.tokens().await?)?;
            ExitCode::SUCCESS
        }
        Command::List(ListArguments { json: false }) => {
            println!("{:<24}  {:<5}  {:<20}  {:<20}  REVOKED", "NAME", "SCOPE", "MADE", "LAST USED");
            let shown = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
            for token in db.tokens().await? {
                let (name, scope) = (clean(&token.name), token.scope.as_str().to_ascii_lowercase());
                let [made, used, revoked] = [Some(token.created_at), token.last_used_at, token.revoked_at].map(shown);
                println!("{name:<24}  {scope:<5}  {made:<20}  {used:<20}  {revoked}");
            }
            ExitCode::SUCCESS
        }
        Command::Revoke(RevokeArguments { name }) => match db.revoke_token(&name, AUDIT_WHO, now).await? {
            true => {
                println!("The token is revoked.");
                ExitCode::SUCCESS
            }
            false => {
                eprintln!("error: there is no working token `{}`", clean(&name));
                ExitCode::from(exit_code::NOT_DONE)
            }
        },
    };
    db.close().await;
    Ok(code)
}

fn name(text: &str) -> Result<String, String> {
    let is_odd = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
    match text.is_empty() || text.len() > NAME_CHARACTERS_MAX || text.contains(is_odd) {
        true => Err(format!("a name has 1 to {NAME_CHARACTERS_MAX} letters, digits, `-`, `_` and `.`")),
        false => Ok(text.to_owned()),
    }
}

fn scope(text: &str) -> Result<TokenScope, String> {
    text.to_ascii_uppercase().parse().map_err(|_| "a scope is `read` or `write`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_and_a_scope_one_of_two() {
        assert!(name("nightly-export.2").is_ok());
        for wrong in ["", "two words", "a\u{1b}[31m", &"x".repeat(61)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(scope("read"), Ok(TokenScope::Read));
        assert!(scope("admin").is_err());
    }
}
