//! `polymarketspy admin`: the e-mail addresses that may sign in with GitHub.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::database::open;
use super::terminal::say_json;
use super::{database::AUDIT_WHO, exit_code};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Inserted;
use crate::domain::money::email::Email;

pub const HELP: &str = "A removed address is signed out at once. The bot adds the e-mail in ADMIN_EMAIL again at every \
start.\n\nExit codes: 0 success, 2 failed.";

#[derive(Args)]
pub struct AdminArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Allows an e-mail address to sign in; GitHub must have verified it.
    Add(WhoArguments),
    /// Lists the addresses that may sign in.
    List(ListArguments),
    /// Removes an address; it can no longer sign in.
    Remove(WhoArguments),
}

#[derive(Args)]
struct WhoArguments {
    #[arg(value_name = "E-MAIL")]
    email: Email,
}

#[derive(Args)]
struct ListArguments {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub async fn admin(settings: &Settings, arguments: AdminArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let now = Clock::System.now();
    let mut code = ExitCode::SUCCESS;
    match arguments.command {
        Command::Add(WhoArguments { email }) => match db.allow_admin(&email, AUDIT_WHO, now).await? {
            Inserted::New(()) => println!("{email} may sign in."),
            Inserted::Known => println!("{email} is already allowed to sign in."),
        },
        Command::List(ListArguments { json: true }) => drop(say_json(&db.admins().await?)?),
        Command::List(ListArguments { json: false }) => {
            println!("{:<40}  SINCE", "E-MAIL");
            for admin in db.admins().await? {
                println!("{:<40}  {}", admin.email, admin.created_at);
            }
        }
        Command::Remove(WhoArguments { email }) => match db.forbid_admin(&email, AUDIT_WHO, now).await? {
            true => println!("{email} can no longer sign in, and is signed out."),
            false => {
                eprintln!("error: {email} was not allowed to sign in");
                code = ExitCode::from(exit_code::NOT_DONE);
            }
        },
    }
    db.close().await;
    Ok(code)
}
