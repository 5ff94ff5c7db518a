//! `polymarketspy admin`: whose e-mail may sign in with GitHub.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::migrate::open;
use super::terminal::say_json;
use super::{COULD_NOT, WHO};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Inserted;
use crate::domain::money::email::Email;

pub const HELP: &str = "Whoever is removed is signed out at once. The e-mail in ADMIN_EMAIL is added again at every \
start of the bot.\n\nExit codes: 0 done, 2 it could not be done.";

#[derive(Args)]
pub struct AdminArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lets an e-mail sign in that GitHub has verified.
    Add(WhoArguments),
    /// Lists them.
    List(ListArguments),
    /// Lets it sign in no longer.
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
        Command::Add(WhoArguments { email }) => match db.allow_admin(&email, WHO, now).await? {
            Inserted::New(()) => println!("{email} may sign in."),
            Inserted::Known => println!("{email} may sign in already."),
        },
        Command::List(ListArguments { json: true }) => drop(say_json(&db.admins().await?)?),
        Command::List(ListArguments { json: false }) => {
            println!("{:<40}  SINCE", "E-MAIL");
            for admin in db.admins().await? {
                println!("{:<40}  {}", admin.email, admin.created_at);
            }
        }
        Command::Remove(WhoArguments { email }) => match db.forbid_admin(&email, WHO, now).await? {
            true => println!("{email} may sign in no longer, and is signed out."),
            false => {
                eprintln!("error: {email} was not allowed to sign in");
                code = ExitCode::from(COULD_NOT);
            }
        },
    }
    db.close().await;
    Ok(code)
}
