//! `polymarketspy config`: sizing and guardrails of copies. A running bot uses a change within a second.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::database::AUDIT_WHO;
use super::database::open;
use super::terminal::{Column, Table, say, say_json};
use super::users::one_user;
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Db, Directory, FollowedUser};
use crate::domain::config::effective::{Field, FieldValue, StoredConfig, System, UserOverrides};

mod fields;

use fields::{field_named, full_name, parse_change, unit_text, value_json};

#[derive(Args)]
pub struct ConfigArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows every field, or the bare value of one.
    #[command(after_help = "Exit codes: 0 shown, 2 failed.")]
    Get(GetArguments),
    /// Changes fields: all of them, or none if one is invalid.
    #[command(after_help = SET_HELP)]
    Set(SetArguments),
    /// Shows what differs from the defaults, or for a trader from the global values. Exits with 1 when anything does.
    #[command(after_help = "Exit codes: 0 nothing differs, 1 something differs, 2 failed.")]
    Diff(DiffArguments),
}

/// What a change of the opening bankroll does not do.
const OPEN_ACCOUNTS_KEEP_THEIRS: &str = "Accounts that are open keep the bankroll they opened with; `polymarketspy \
account deposit` and `account withdraw` move cash of an open account.";

const SET_HELP: &str = "Examples:\n  \
config set maxSpreadMicros=15000 sizing.copyPctNotionalBps=200\n  \
config set --user 'Quiet Harbour' maxTradeNotionalMicros=50000000\n  \
config set --user 7 maxTradeNotionalMicros=inherit\n  \
config set copyEngineEnabled=false      (pauses every decision)\n  \
config set opensEnabled=false           (stops new positions, exits go on)\n  \
config set --user 7 exitSizing=PROPORTIONAL onlyCategories=politics,nba\n\n\
…Micros are millionths of a USDC or of a share's price (15000 is 1.5 cents), …Bps hundredths of a percent, …Ms \
milliseconds. `config get` lists fields, units and defaults. In the shared portfolio the exposure limits (total, per \
market) and the three loss limits are always the global ones, whatever a trader's own values are.\n\n\
Exit codes: 0 saved, or nothing to change; 2 refused, and nothing was saved.";

#[derive(Args)]
struct GetArguments {
    /// A name such as `guardrails.maxSpreadMicros`, or its last part.
    field: Option<String>,
    /// The value that applies to this trader: id, wallet or label.
    #[arg(long, value_name = "TRADER")]
    user: Option<String>,
    /// Prints JSON: `field`, `value`, `default`, `source`, `unit`, `min`, `max`, `about`.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SetArguments {
    /// A field and its new value; `default` resets a global field, `inherit` resets a trader's field to the global value.
    #[arg(required = true, value_name = "FIELD=VALUE")]
    changes: Vec<String>,
    /// Only for this trader: id, wallet or label.
    #[arg(long, value_name = "TRADER")]
    user: Option<String>,
}

#[derive(Args)]
struct DiffArguments {
    /// Compares this trader's own values with the global ones: id, wallet or label.
    #[arg(long, value_name = "TRADER")]
    user: Option<String>,
    /// Prints JSON: `field`, `value`, and `default` or `global`.
    #[arg(long)]
    json: bool,
}

/// One field with the value that applies, and the source of that value.
#[derive(Serialize)]
struct FieldView {
    field: String,
    value: Value,
    default: Value,
    source: Source,
    unit: &'static str,
    min: Value,
    max: Value,
    about: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Default,
    Global,
    User,
}

/// The configuration of the whole bot, or of one trader.
struct ConfigOf {
    global: StoredConfig,
    /// The trader, with the fields that they override.
    user: Option<(FollowedUser, UserOverrides)>,
}

pub async fn config(settings: &Settings, arguments: ConfigArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Get(arguments) => get(settings, arguments).await,
        Command::Set(arguments) => set(settings, arguments).await,
        Command::Diff(arguments) => diff(settings, arguments).await,
    }
}

async fn get(settings: &Settings, arguments: GetArguments) -> anyhow::Result<ExitCode> {
    let field = arguments.field.as_deref().map(field_named).transpose()?;
    let db = open(settings).await?;
    let config = ConfigOf::read(&db, arguments.user.as_deref()).await?;
    db.close().await;
    let Some(field) = field else {
        let views: Vec<FieldView> = config.values().iter().map(|(field, value)| config.view(field, value)).collect();
        if arguments.json {
            say_json(&views)?;
        } else {
            say(&fields_text(&views))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let found = config.values().into_iter().find(|(other, _)| *other == field);
    let Some((field, value)) = found else {
        bail!("config field `{}` is a setting of the whole bot, not of one user", field.name)
    };
    if arguments.json {
        say_json(&config.view(field, &value))?;
    } else {
        say(&value_json(field, &value).to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(settings: &Settings, arguments: SetArguments) -> anyhow::Result<ExitCode> {
    let change = parse_change(&arguments.changes)?;
    let (db, now) = (open(settings).await?, Clock::System.now());
    let (before, after) = match &arguments.user {
        None => {
            let (before, after) = db.change_global(&change, AUDIT_WHO, now).await?;
            (before.values(), after.values())
        }
        Some(trader) => {
            let change = change.for_user()?;
            let user = one_user(&db, trader.trim()).await?;
            let (before, after) = db.change_overrides(user.id, &change, AUDIT_WHO, now).await?;
            let global = db.directory().await?.config;
            (with_overrides(&global, &before), with_overrides(&global, &after))
        }
    };
    db.close().await;
    let changed = before.iter().zip(&after).filter(|(old, new)| old != new);
    let lines: Vec<String> = changed
        .map(|((field, old), (_, new))| {
            format!("{}: {} → {}", full_name(field), value_json(field, old), value_json(field, new))
        })
        .collect();
    if lines.is_empty() {
        say("Nothing changed: every field has this value already.")?;
    } else {
        let bankroll = before.iter().zip(&after).any(|(old, new)| old != new && old.0.name == "initialBankrollMicros");
        let note = if bankroll { format!("\n{OPEN_ACCOUNTS_KEEP_THEIRS}") } else { String::new() };
        say(&format!("{}\nSaved. A running bot uses it within a second or two.{note}", lines.join("\n")))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn diff(settings: &Settings, arguments: DiffArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let config = ConfigOf::read(&db, arguments.user.as_deref()).await?;
    db.close().await;
    let (beside, head) = if config.user.is_some() { ("global", "GLOBAL") } else { ("default", "DEFAULT") };
    let differing: Vec<(&Field, FieldValue, FieldValue)> = config.differing();
    if arguments.json {
        let rows = differing.iter().map(|(field, value, other)| {
            serde_json::json!({
                "field": full_name(field), "value": value_json(field, value), beside: value_json(field, other),
            })
        });
        say_json(&rows.collect::<Vec<_>>())?;
    } else if differing.is_empty() {
        let from = if config.user.is_some() { "global values" } else { "defaults" };
        say(&format!("Nothing differs from the {from}."))?;
    } else {
        let mut table = Table::new([Column::Left("FIELD"), Column::Right("VALUE"), Column::Right(head)]);
        for (field, value, other) in &differing {
            let (value, other) = (value_json(field, value), value_json(field, other));
            table.row([full_name(field), value.to_string(), other.to_string()]);
        }
        say(&table.text())?;
    }
    Ok(if differing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl ConfigOf {
    async fn read(db: &Db, trader: Option<&str>) -> anyhow::Result<Self> {
        let Directory { config: global, overrides, .. } = db.directory().await?;
        let user = match trader {
            None => None,
            Some(trader) => {
                let user = one_user(db, trader.trim()).await?;
                let own = overrides.get(&user.id).cloned().unwrap_or_default();
                Some((user, own))
            }
        };
        Ok(Self { global, user })
    }

    /// Returns every field that can be set here, with the value that applies.
    fn values(&self) -> Vec<(&'static Field, FieldValue)> {
        match &self.user {
            None => self.global.values(),
            Some((_, own)) => with_overrides(&self.global, own),
        }
    }

    /// Returns the fields whose value differs, with that value and the default or global one.
    fn differing(&self) -> Vec<(&'static Field, FieldValue, FieldValue)> {
        let global = self.global.values();
        let global_of =
            |field: &Field| global.iter().find(|(other, _)| *other == field).map(|(_, value)| value.clone());
        let behind = |field: &Field| match self.user {
            None => field.default_value(),
            Some(_) => global_of(field).unwrap_or_else(|| field.default_value()),
        };
        let pairs = self.values().into_iter().map(|(field, value)| (field, value, behind(field)));
        pairs.filter(|(_, value, other)| value != other).collect()
    }

    fn view(&self, field: &'static Field, value: &FieldValue) -> FieldView {
        let own = self.user.as_ref().is_some_and(|(_, own)| own.values().iter().any(|(other, _)| *other == field));
        let source = match (own, *value == field.default_value()) {
            (true, _) => Source::User,
            (false, true) => Source::Default,
            (false, false) => Source::Global,
        };
        FieldView {
            field: full_name(field),
            value: value_json(field, value),
            default: value_json(field, &field.default_value()),
            source,
            unit: field.unit.as_str(),
            min: value_json(field, &FieldValue::Number(field.min)),
            max: value_json(field, &FieldValue::Number(field.max)),
            about: field.about,
        }
    }
}

fn with_overrides(global: &StoredConfig, own: &UserOverrides) -> Vec<(&'static Field, FieldValue)> {
    let guardrails = global.guardrails.with(&own.guardrails);
    let config = StoredConfig { guardrails, sizing: global.sizing.with(&own.sizing), system: global.system.clone() };
    config.values().into_iter().filter(|(field, _)| field.section != System::SECTION).collect()
}

fn fields_text(views: &[FieldView]) -> String {
    let mut table = Table::new([
        Column::Left("FIELD"),
        Column::Right("VALUE"),
        Column::Right("DEFAULT"),
        Column::Left("UNIT"),
        Column::Left("FROM"),
        Column::Left("WHAT IT IS"),
    ]);
    for view in views {
        let from = match view.source {
            Source::Default => "default",
            Source::Global => "global",
            Source::User => "user",
        };
        let (value, default) = (view.value.to_string(), view.default.to_string());
        table.row([&view.field, &value, &default, &unit_text(view.unit), from, view.about]);
    }
    table.text()
}
