//! The schemas of types that do not derive one: those of the domain, the database and the health report, which know
//! nothing of OpenAPI, and the bodies that are read field by field.

use utoipa::openapi::schema::{AdditionalProperties, SchemaFormat};
use utoipa::openapi::{
    ArrayBuilder, ComponentsBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::db::{ChainLag, RowNumbers, SeenFill};
use crate::domain::accounting::closed_lots::ClosedLotCounts;
use crate::domain::accounting::ledger::{EntryType, PortfolioScope};
use crate::domain::config::effective::{
    ConfigPatch, ConfigVersion, EffectiveConfig, ExitSizing, Field, FieldUnit, StoredConfig, Tags, UserOverrides,
};
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::check::{Check, CheckName, CheckUnit, ReasonCode, Verdict};
use crate::domain::decision::exit::{ExitBasis, NotionalBecause};
use crate::domain::decision::explanation::{DecisionKind, Explanation};
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, AttemptId, EventId, FollowedUserId, GroupId, MarketId, Wallet};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::health::actor_state::ConfirmationStats;
use crate::health::assessment::Status;
use crate::queue::Queue;

/// Schemas of which any field may be missing.
pub const PARTIAL: &[&str] = &[
    "ConfigPatch",
    "ConfigBody",
    "WhatIfBody",
    "GuardrailsPatch",
    "SizingPatch",
    "SystemPatch",
    "FollowForm",
    "ChangeForm",
    "PeakForm",
    "PauseForm",
    "CloseForm",
];

/// The body of a change of the configuration.
pub struct ConfigBody;
/// The body of a test of a configuration.
pub struct WhatIfBody;

/// Describes types by an [`ObjectBuilder`], and lists them as components.
macro_rules! described {
    ($($name:ty => $object:expr;)+) => {
        $(
            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    $object.into()
                }
            }

            impl ToSchema for $name {}
        )+

        fn add_described(components: ComponentsBuilder) -> ComponentsBuilder {
            components$(.schema_from::<$name>())+
        }
    };
}

described! {
    UsdcMicros => integer("An amount in millionths of a USDC. Negative for a loss or a payment.");
    ShareMicros => integer("A number of shares in millionths of a share.");
    PriceMicros => integer("The price of one share in millionths of a USDC, 0 to 1000000, or a distance of prices.");
    Bps => integer("A part in hundredths of a percent: 10000 is 100 %.");
    FollowedUserId => integer("The number of a followed user.");
    Timestamp => text("A time in UTC with milliseconds.")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2026-01-15T12:34:56.789Z"]);
    AssetId => text("An outcome token: a decimal number of up to 78 digits, as text.").pattern(Some("^[0-9]{1,78}$"));
    MarketId => text("A market, by its condition id.").pattern(Some("^0x[0-9a-f]{64}$"));
    Wallet => text("An account address in lower case.").pattern(Some("^0x[0-9a-f]{40}$"));
    EventId => uuid("A trade or another row of activity.");
    GroupId => uuid("A group of fills that is decided as one.");
    AttemptId => uuid("A copy attempt.");
    ConfigVersion => text("A version of the settings: the hash of their content.").pattern(Some("^[0-9a-f]{16}$"));
    FollowState => words("How a leader is followed: read and copied; read, with exits copied only; neither.",
        FollowState::ALL.iter().map(|word| word.as_str()));
    Side => words("Bought or sold.", Side::ALL.iter().map(|word| word.as_str()));
    PortfolioScope => words("The kind of portfolio: the leader's shadow, our copies of one leader, our shared one.",
        PortfolioScope::ALL.iter().map(|word| word.as_str()));
    EntryType => words("The kind of a ledger entry.", EntryType::ALL.iter().map(|word| word.as_str()));
    ReasonCode => words("The reason for a skip (spec 7).", ReasonCode::ALL.iter().map(|word| word.as_str()));
    DecisionKind => words("Copied or skipped.", DecisionKind::ALL.iter().map(|word| word.as_str()));
    Verdict => words("The result of a check. It is unknown when an earlier check left nothing to look at.",
        Verdict::ALL.iter().map(|word| word.as_str()));
    CheckName => words("A check of a decision.", CheckName::ALL.iter().map(|word| word.as_str()));
    CheckUnit => words("The unit of the value and the limit of a check.", CheckUnit::ALL.iter().map(|word| word.as_str()));
    FieldUnit => words("The unit of a setting.", FieldUnit::ALL.iter().map(|word| word.as_str()));
    Queue => words("A queue of jobs.", Queue::ALL.iter().map(|word| word.as_str()));
    Status => words("`ok`; `degraded`: it works, but something needs a look; `down`: the database does not answer.",
        ["ok", "degraded", "down"]);
    Check => object("One check of a decision, as it was recorded.", [
        ("name", one::<CheckName>(), "The check."),
        ("unit", one::<CheckUnit>(), "The unit of `value` and `limit`."),
        ("value", nullable(number()), "The value that the check saw, in its unit; null when it is unknown."),
        ("limit", nullable(number()), "The allowed value, in the same unit."),
        ("verdict", one::<Verdict>(), "The result."),
        ("code", one::<ReasonCode>(), "The reason code when this check fails."),
    ]);
    Explanation => object("The record of a decision, as it was stored.", [
        ("decided_at", one::<Timestamp>(), "When we decided."),
        ("checks", many::<Check>(), "The checks, in the order in which they were made."),
        ("raw_notional_micros", maybe::<UsdcMicros>(),
            "The leader's notional times the copied part, before minimum and cap; null where the group is no trade."),
        ("cap_notional_micros", maybe::<UsdcMicros>(), "The largest allowed target; null where the group is no trade."),
        ("best_bid_micros", maybe::<PriceMicros>(), "The best bid of the book."),
        ("best_ask_micros", maybe::<PriceMicros>(), "The best ask of the book."),
        ("mid_micros", maybe::<PriceMicros>(), "The middle between best bid and best ask."),
        ("limit_price_micros", maybe::<PriceMicros>(), "The worst price that the copy accepted."),
        ("target_share_micros", maybe::<ShareMicros>(), "The shares that the copy aimed for."),
        ("taker_delay_ms", number(), "How long the venue holds an order in this market, in milliseconds, added to the \
            wait before the book was fetched. Missing where it is not known and where no book is needed."),
        ("order_notional_micros", one::<UsdcMicros>(),
            "The cash of a BUY, cut to whole cents as the venue takes it. Missing where its order rules are off."),
        ("order_share_micros", one::<ShareMicros>(),
            "The shares of a SELL, cut to hundredths as the venue takes them. Missing where its order rules are off."),
        ("exit", one::<ExitBasis>(), "How an exit was sized. Missing where the settings say NOTIONAL."),
        ("fee_micros", number(), "The fee, in millionths of a USDC; for a skip, the fee that it would have paid."),
    ]);
    ExitSizing => words("How a sale is sized: like a purchase, or by the part that the leader sold.",
        ExitSizing::ALL.iter().map(|word| word.as_str()));
    NotionalBecause => words("The reason for NOTIONAL: the leader's rows came too late, or what they held is not known.",
        NotionalBecause::ALL.iter().map(|word| word.as_str()));
    ExitBasis => object("How an exit was sized where the settings say PROPORTIONAL.", [
        ("sizing", one::<ExitSizing>(), "How it was sized in the end."),
        ("their_holding_micros", maybe::<ShareMicros>(),
            "What the leader held just before it; of a MERGE, of the outcome with the fewest. Null when it is not known."),
        ("because", maybe::<NotionalBecause>(), "The reason for NOTIONAL; null for PROPORTIONAL."),
    ]);
    ClosedLotCounts => object("Closed lots by their result.", [
        ("won", number(), "Number of lots that made money."),
        ("lost", number(), "Number of lots that lost money."),
        ("even", number(), "Number of lots with a result of exactly zero."),
    ]);
    SeenFill => object("The times of a fill.", [
        ("event_time", one::<Timestamp>(), "When it happened."),
        ("detect_time", one::<Timestamp>(), "When we saw it first."),
    ]);
    RowNumbers => object("The highest row id of each large table, which is the count where rows are never deleted.", [
        ("ledger_entry", number(), "Ledger entries."),
        ("executable_fill", number(), "Levels that copies took."),
        ("audit_log", number(), "Rows of the audit log."),
        ("dead_letter", number(), "Dead letters."),
    ]);
    ConfirmationStats => object("How the chain did against the API in the last day.", [
        ("lead", maybe::<ChainLag>(), "Null while both have not shown a single fill."),
        ("unconfirmed", number(), "Number of fills seen on chain and not at the API within five minutes."),
    ]);
    ChainLag => object("How long after the chain the API showed the same fill; negative when the API was first.", [
        ("n_fills", number(), "Number of fills seen on both."),
        ("p50_ms", number(), "The median, in milliseconds."),
        ("p90_ms", number(), "The 90th percentile, in milliseconds."),
        ("n_api_first", number(), "Number of fills that the API showed first."),
    ]);
    StoredConfig => object("All settings.", sections(""));
    EffectiveConfig => object("The settings that a decision uses.", sections(""))
        .property("version", with_description(one::<ConfigVersion>(), "Identifies exactly these values."));
    UserOverrides => object("The settings in which a leader differs from the global ones.",
        sections("Patch").into_iter().take(2));
    ConfigPatch => object("The settings that differ from the defaults.", sections("Patch"));
    ConfigBody => object("New values for some settings. A null resets a setting: to its default, or for a leader to the \
        global value. A leader has no `system`.", sections("Patch"));
    WhatIfBody => object("A candidate configuration, and what to test it on.", sections("Patch"))
        .property("user", with_description(maybe::<FollowedUserId>(),
            "The leader whose settings change; the global ones when missing."))
        .property("portfolio", with_description(any(&[one::<FollowedUserId>(),
            words("The shared portfolio.", ["GLOBAL", "EXEC_GLOBAL"]).into()]),
            "The portfolio to test in: a leader's own, or the shared one; that of `user` when missing."))
        .property("from", with_description(maybe::<Timestamp>(), "The start of the window; 24 hours before its end when missing."))
        .property("to", with_description(maybe::<Timestamp>(), "The end of the window; now when missing."));
}

/// Returns all components: the described types and those of the routes.
pub fn components() -> ComponentsBuilder {
    let mut components = add_described(ComponentsBuilder::new());
    for section in ["guardrails", "sizing", "system"] {
        let name = component_of(section);
        components = components.schema(name.clone(), settings(section, false));
        components = components.schema(format!("{name}Patch"), settings(section, true));
    }
    components.schemas_from_iter(super::paths::components())
}

/// Returns a reference to the component of `T`.
pub fn one<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// Returns a list of components `T`.
pub fn many<T: ToSchema>() -> RefOr<Schema> {
    ArrayBuilder::new().items(one::<T>()).into()
}

fn maybe<T: ToSchema>() -> RefOr<Schema> {
    nullable(one::<T>())
}

fn nullable(schema: RefOr<Schema>) -> RefOr<Schema> {
    any(&[ObjectBuilder::new().schema_type(Type::Null).into(), schema])
}

/// Returns the schema of a value that fits one of `schemas`.
pub fn any(schemas: &[RefOr<Schema>]) -> RefOr<Schema> {
    schemas.iter().cloned().fold(OneOfBuilder::new(), OneOfBuilder::item).into()
}

fn number() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).into()
}

fn integer(about: &str) -> ObjectBuilder {
    let int64 = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(int64)).description(Some(about))
}

fn text(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(about))
}

fn uuid(about: &str) -> ObjectBuilder {
    text(about).format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

fn words(about: &str, words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    text(about).enum_values(Some(words))
}

/// Returns an object of fields, each with its description.
pub fn object<'a>(about: &str, fields: impl IntoIterator<Item = (&'a str, RefOr<Schema>, &'a str)>) -> ObjectBuilder {
    fields.into_iter().fold(ObjectBuilder::new().description(Some(about)), |object, (name, schema, about)| {
        object.property(name, with_description(schema, about))
    })
}

/// Returns `schema` with a description of its use. A reference keeps that of its component beside it.
fn with_description(schema: RefOr<Schema>, about: &str) -> RefOr<Schema> {
    let about = about.to_owned();
    match schema {
        RefOr::Ref(mut reference) => {
            reference.description = about;
            RefOr::Ref(reference)
        }
        RefOr::T(mut schema) => {
            match &mut schema {
                Schema::Array(array) => array.description = Some(about),
                Schema::Object(object) => object.description = Some(about),
                Schema::OneOf(choice) => choice.description = Some(about),
                _ => {}
            }
            RefOr::T(schema)
        }
    }
}

/// Returns the three sections of the configuration. `suffix` chooses whole sections or `Patch`es.
fn sections(suffix: &str) -> Vec<(&'static str, RefOr<Schema>, &'static str)> {
    let section = |(name, about): (&'static str, &'static str)| {
        (name, RefOr::Ref(Ref::from_schema_name(format!("{}{suffix}", component_of(name)))), about)
    };
    [
        ("guardrails", "The limits of copying."),
        ("sizing", "The size of a copy."),
        ("system", "The settings of the whole bot."),
    ]
    .map(section)
    .into()
}

/// Returns the name of the component of a section: `Guardrails`.
fn component_of(section: &str) -> String {
    let (first, rest) = section.split_at(1);
    first.to_ascii_uppercase() + rest
}

/// Returns a section: every field with its unit and range. In a patch a null resets the field.
fn settings(section: &str, is_patch: bool) -> Schema {
    let mut object = ObjectBuilder::new()
        .description(Some(format!("The settings of `{section}`{}.", if is_patch { ", some of them" } else { "" })))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    for field in StoredConfig::fields().filter(|field| field.section == section) {
        let schema = setting(field);
        object = object.property(field.name, if is_patch { nullable(schema) } else { schema });
    }
    object.into()
}

fn list_of_tags(about: &str, field: &Field) -> ArrayBuilder {
    let most = usize::try_from(field.max).ok();
    let tag = text("A tag as Gamma writes its slug, in lower case.").max_length(Some(Tags::LONGEST));
    ArrayBuilder::new().items(tag).max_items(most).unique_items(true).description(Some(about))
}

fn setting(field: &Field) -> RefOr<Schema> {
    let about = format!("{} Unit: {}.", field.about, field.unit);
    match field.unit {
        FieldUnit::Flag => {
            let flag = ObjectBuilder::new().schema_type(Type::Boolean).description(Some(about));
            flag.default(Some((field.default != 0).into())).into()
        }
        FieldUnit::Choice => {
            let choice = words(&about, field.choices.iter().copied());
            choice.default(Some(field.word(field.default).into())).into()
        }
        FieldUnit::Tags => list_of_tags(&about, field).into(),
        _ => {
            let integer = integer(&about).minimum(Some(field.min)).maximum(Some(field.max));
            integer.default(Some(field.default.into())).into()
        }
    }
}
