//! The effective configuration of a decision, computed in one place (spec 4).
//!
//! In    the global values, a user's overrides, the portfolio's scope.
//! Out   [`EffectiveConfig`] with a version derived from its content; patches that change the stored values.
//! Fails [`ConfigError`] with the name of the field, for texts; computing the effective values cannot fail.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::field::{RawValue, config_section, serialize_values, unknown_field};
use super::value::ConfigValue;
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::money::units::{Bps, PriceMicros, UsdcMicros};

pub use super::field::{ConfigError, Field, FieldUnit};
pub use super::value::{ExitSizing, FieldValue, Tags};

/// The namespace of config versions. Changing it would give every stored configuration another version.
const VERSIONS: Uuid = Uuid::from_u128(0x706f_6c79_6d61_726b_6574_7370_7900_0002);

config_section! {
    /// What a copy must satisfy (spec 4.1).
    Guardrails, GuardrailPatch, "guardrails" {
        /// How much worse than the leader's average price a level may be.
        max_worsening_vs_their_fill: PriceMicros = "maxWorseningVsTheirFillMicros", Price, 10_000, 0..=1_000_000;
        /// How far from the middle of the book a level may be.
        max_over_mid: PriceMicros = "maxOverMidMicros", Price, 15_000, 0..=1_000_000;
        /// The widest spread that is traded.
        max_spread: PriceMicros = "maxSpreadMicros", Price, 20_000, 0..=1_000_000;
        /// How much of the target must stand in the book within the limit price.
        min_depth_multiplier: Bps = "minDepthMultiplierBps", Bps, 12_500, 0..=1_000_000;
        /// No position is opened in a market that closes sooner than this.
        no_new_opens_within_minutes_to_close: i64 = "noNewOpensWithinMinutesToClose", Minutes, 30, 0..=525_600;
        /// How long after a group closes its book is fetched.
        decision_latency_ms: i64 = "decisionLatencyMs", Millis, 750, 0..=60_000;
        /// The most that is added to the latency by chance.
        jitter_ms_max: i64 = "jitterMsMax", Millis, 250, 0..=60_000;
        /// The part of the equity that may stand in positions.
        max_total_exposure: Bps = "maxTotalExposureBps", Bps, 7_000, 0..=10_000;
        /// The part of the equity that may stand in one market.
        max_exposure_per_market: Bps = "maxExposurePerMarketBps", Bps, 500, 0..=10_000;
        /// The part of the global equity that may follow one leader.
        max_exposure_per_user: Bps = "maxExposurePerUserBps", Bps, 2_000, 0..=10_000;
        /// The loss since midnight UTC that stops new positions.
        daily_loss_limit: Bps = "dailyLossLimitBps", Bps, 300, 0..=10_000;
        /// The loss since Monday that stops new positions.
        weekly_loss_limit: Bps = "weeklyLossLimitBps", Bps, 800, 0..=10_000;
        /// The fall from the highest equity that stops new positions.
        max_drawdown_limit: Bps = "maxDrawdownLimitBps", Bps, 1_200, 0..=10_000;
        /// How old a fill may be when it is first seen and still be copied.
        max_signal_age_seconds: i64 = "maxSignalAgeSeconds", Seconds, 900, 0..=31_536_000;
    }
}

config_section! {
    /// How large a copy is (spec 4.2).
    Sizing, SizingPatch, "sizing" {
        /// The part of the leader's notional that a copy aims at.
        copy_pct_notional: Bps = "copyPctNotionalBps", Bps, 100, 0..=100_000;
        /// A smaller copy is raised to this.
        min_trade_notional: UsdcMicros = "minTradeNotionalMicros", Usdc, 5_000_000, 0..=1_000_000_000_000;
        /// A larger copy is lowered to this.
        max_trade_notional: UsdcMicros = "maxTradeNotionalMicros", Usdc, 250_000_000, 0..=1_000_000_000_000;
        /// The part of the equity that one copy may cost.
        max_trade_bankroll: Bps = "maxTradeBankrollBps", Bps, 75, 0..=10_000;
        /// Whether copies pay the taker fee of their market.
        apply_taker_fees: bool = "applyTakerFees", Flag, 1, 0..=1;
        /// How a sale is sized: NOTIONAL like a purchase, PROPORTIONAL by the share of their holding that the leader sold.
        exit_sizing: ExitSizing = "exitSizing", Choice, 0, 0..=1, before 0;
        /// Whether orders are cut to cents and hundredths of a share, and refused below 1 USDC, as the venue does.
        venue_order_rules: bool = "venueOrderRules", Flag, 1, 0..=1, before 0;
        /// No position is opened when the leader paid less than this for a share.
        min_price: PriceMicros = "minPriceMicros", Price, 0, 0..=1_000_000, before 0;
        /// No position is opened when the leader paid more than this for a share.
        max_price: PriceMicros = "maxPriceMicros", Price, 1_000_000, 0..=1_000_000, before 1_000_000;
        /// No position is opened for a trade of the leader that is smaller than this.
        min_leader_notional: UsdcMicros = "minLeaderNotionalMicros", Usdc, 0, 0..=1_000_000_000_000_000, before 0;
        /// No position is opened in a market that closes later than this, or at an unknown time. 0 sets no limit.
        max_minutes_to_close: i64 = "maxMinutesToClose", Minutes, 0, 0..=1_000_000, before 0;
        /// Positions are opened only in markets with one of these tags; with none listed, in all markets.
        only_categories: Tags = "onlyCategories", Tags, 0, 0..=50, before 0;
        /// No position is opened in a market with one of these tags.
        not_categories: Tags = "notCategories", Tags, 0, 0..=50, before 0;
    }
}

config_section! {
    /// The switches of the whole bot (spec 4.3).
    System, SystemPatch, "system" {
        /// False pauses every decision.
        copy_engine_enabled: bool = "copyEngineEnabled", Flag, 1, 0..=1;
        /// False stops new positions and lets exits go on.
        opens_enabled: bool = "opensEnabled", Flag, 1, 0..=1, before 1;
        /// The part of the groups whose books are fetched again later, to show what a delay costs.
        book_sample: Bps = "bookSampleBps", Bps, 0, 0..=10_000, before 0;
        /// How long a group takes fills after its first.
        aggregation_window_ms: i64 = "aggregationWindowMs", Millis, 2_000, 1..=60_000;
        /// How often a leader's activity is asked for.
        polling_interval_ms: i64 = "pollingIntervalMs", Millis, 30_000, 100..=3_600_000;
        /// How far back a start looks at least.
        backfill_minutes: i64 = "backfillMinutes", Minutes, 15, 0..=43_200;
        /// What each portfolio of ours opens with.
        initial_bankroll: UsdcMicros = "initialBankrollMicros", Usdc, 10_000_000_000, 1_000_000..=1_000_000_000_000_000;
    }
}

impl Sizing {
    fn check(&self) -> Result<(), ConfigError> {
        let (min, max) = (self.min_price.micros(), self.max_price.micros());
        if min <= max {
            return Ok(());
        }
        let problem = format!("is `{min}`, which is above the `{max}` of maxPriceMicros that it would count with");
        Err(ConfigError { field: "minPriceMicros".to_owned(), problem })
    }
}

/// The global configuration as stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StoredConfig {
    pub guardrails: Guardrails,
    pub sizing: Sizing,
    pub system: System,
}

/// The fields in which one user differs from the global values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct UserOverrides {
    pub guardrails: GuardrailPatch,
    pub sizing: SizingPatch,
}

/// New values for some fields of some sections: `{guardrails?, sizing?, system?}`, each partial.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ConfigPatch {
    pub guardrails: GuardrailPatch,
    pub sizing: SizingPatch,
    pub system: SystemPatch,
}

/// A change as an operator writes it: fields that are set, and fields that are reset to the value they would inherit
/// (the default, or for a user the global value).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigChange {
    pub set: ConfigPatch,
    pub unset: Vec<&'static Field>,
}

/// The configuration of a decision, and a version that identifies exactly this content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectiveConfig {
    pub guardrails: Guardrails,
    pub sizing: Sizing,
    pub system: System,
    pub version: ConfigVersion,
}

/// A hash of a configuration's content, written as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigVersion(u64);

/// Returns the configuration of a decision for one leader in one kind of portfolio.
///
/// The leader's overrides count in both scopes, but they cannot change the limits of the shared bankroll: in
/// `EXEC_GLOBAL` the two exposure limits and the three loss limits are the global ones.
///
/// Spec 7 ("Settings of a decision").
pub fn effective(global: &StoredConfig, user: Option<&UserOverrides>, scope: PortfolioScope) -> EffectiveConfig {
    let overrides = user.cloned().unwrap_or_default();
    let mut guardrails = global.guardrails.with(&overrides.guardrails);
    if scope == PortfolioScope::ExecGlobal {
        guardrails = Guardrails {
            max_total_exposure: global.guardrails.max_total_exposure,
            max_exposure_per_market: global.guardrails.max_exposure_per_market,
            daily_loss_limit: global.guardrails.daily_loss_limit,
            weekly_loss_limit: global.guardrails.weekly_loss_limit,
            max_drawdown_limit: global.guardrails.max_drawdown_limit,
            ..guardrails
        };
    }
    EffectiveConfig::new(guardrails, global.sizing.with(&overrides.sizing), global.system.clone())
}

impl EffectiveConfig {
    /// Returns the configuration with the version of its content.
    pub fn new(guardrails: Guardrails, sizing: Sizing, system: System) -> Self {
        let version = ConfigVersion::of(&canonical_json(&guardrails, &sizing, &system));
        Self { guardrails, sizing, system, version }
    }
}

impl Default for EffectiveConfig {
    fn default() -> Self {
        Self::new(Guardrails::default(), Sizing::default(), System::default())
    }
}

impl StoredConfig {
    /// Returns every field of the configuration, in the order of the spec.
    pub fn fields() -> impl Iterator<Item = &'static Field> {
        Guardrails::FIELDS.iter().chain(Sizing::FIELDS).chain(System::FIELDS)
    }

    /// Returns these values with the fields that `patch` sets.
    pub fn with(&self, patch: &ConfigPatch) -> Self {
        Self {
            guardrails: self.guardrails.with(&patch.guardrails),
            sizing: self.sizing.with(&patch.sizing),
            system: self.system.with(&patch.system),
        }
    }

    /// Returns these values after `change`. A field that is reset has its default.
    pub fn changed(&self, change: &ConfigChange) -> Self {
        let own = ConfigPatch {
            guardrails: self.guardrails.patch(),
            sizing: self.sizing.patch(),
            system: self.system.patch(),
        };
        Self::default().with(&own.changed(change))
    }

    /// Checks the fields that are read together: the global ones, and those of each leader with these overrides.
    ///
    /// # Errors
    /// [`ConfigError`] when the lowest price of a copy is above the highest.
    pub fn check<'a>(&self, overrides: impl IntoIterator<Item = &'a UserOverrides>) -> Result<(), ConfigError> {
        self.sizing.check()?;
        overrides.into_iter().try_for_each(|own| self.sizing.with(&own.sizing).check())
    }

    /// Returns every field with its value, in the order of [`Self::fields`].
    pub fn values(&self) -> Vec<(&'static Field, FieldValue)> {
        [self.guardrails.values(), self.sizing.values(), self.system.values()].concat()
    }
}

impl UserOverrides {
    /// Returns these overrides with the fields that `patch` sets.
    ///
    /// # Errors
    /// [`ConfigError`] when the patch sets a field of `system`, which a user cannot override.
    pub fn with(&self, patch: &ConfigPatch) -> Result<Self, ConfigError> {
        match patch.system.values().first() {
            Some((field, _)) => Err(not_of_a_user(field)),
            None => Ok(Self {
                guardrails: self.guardrails.with(&patch.guardrails),
                sizing: self.sizing.with(&patch.sizing),
            }),
        }
    }

    /// Returns these overrides after `change`. Its `system` part is ignored, because a user cannot override `system`.
    pub fn changed(&self, change: &ConfigChange) -> Self {
        let patch = ConfigPatch {
            guardrails: self.guardrails.clone(),
            sizing: self.sizing.clone(),
            system: SystemPatch::default(),
        };
        let ConfigPatch { guardrails, sizing, .. } = patch.changed(change);
        Self { guardrails, sizing }
    }

    pub fn is_empty(&self) -> bool {
        self.guardrails.is_empty() && self.sizing.is_empty()
    }

    /// Returns the overridden fields with their values.
    pub fn values(&self) -> Vec<(&'static Field, FieldValue)> {
        [self.guardrails.values(), self.sizing.values()].concat()
    }
}

impl ConfigPatch {
    /// Reads `{guardrails?, sizing?, system?}`.
    ///
    /// # Errors
    /// [`ConfigError`] with the name of the first section or field that is wrong; nothing is applied then.
    pub fn parse_from<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Self, ConfigError> {
        let raw = RawValue::parse("config", text)?;
        let mut patch = Self::default();
        for (section, value) in raw.fields("config")? {
            match section.as_str() {
                Guardrails::SECTION => patch.guardrails = GuardrailPatch::from_raw(value)?,
                Sizing::SECTION => patch.sizing = SizingPatch::from_raw(value)?,
                System::SECTION => patch.system = SystemPatch::from_raw(value)?,
                other => return Err(unknown_field("config", other)),
            }
        }
        Ok(patch)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns this patch after `change`.
    pub fn changed(&self, change: &ConfigChange) -> Self {
        let names = || change.unset.iter().map(|field| field.name);
        Self {
            guardrails: names().fold(self.guardrails.with(&change.set.guardrails), GuardrailPatch::without),
            sizing: names().fold(self.sizing.with(&change.set.sizing), SizingPatch::without),
            system: names().fold(self.system.with(&change.set.system), SystemPatch::without),
        }
    }
}

impl ConfigChange {
    /// Reads `{guardrails?, sizing?, system?}`. A null field is reset to the value it would inherit. Top-level keys in
    /// `beside` are ignored; the caller parses them.
    ///
    /// # Errors
    /// [`ConfigError`] with the name of the first section or field that is wrong; nothing is applied then.
    pub fn parse_from<'de, D: serde::Deserializer<'de>>(text: D, beside: &[&str]) -> Result<Self, ConfigError> {
        let raw = RawValue::parse("config", text)?;
        let mut change = Self::default();
        for (section, value) in raw.fields("config")? {
            match section.as_str() {
                Guardrails::SECTION => {
                    let set = change.unset_nulls(Guardrails::SECTION, Guardrails::FIELDS, value)?;
                    change.set.guardrails = GuardrailPatch::from_raw(&set)?;
                }
                Sizing::SECTION => {
                    let set = change.unset_nulls(Sizing::SECTION, Sizing::FIELDS, value)?;
                    change.set.sizing = SizingPatch::from_raw(&set)?;
                }
                System::SECTION => {
                    let set = change.unset_nulls(System::SECTION, System::FIELDS, value)?;
                    change.set.system = SystemPatch::from_raw(&set)?;
                }
                other if beside.contains(&other) => {}
                other => return Err(unknown_field("config", other)),
            }
        }
        Ok(change)
    }

    /// Adds the null fields of a section to `unset` and returns the other fields, which are to be set.
    fn unset_nulls(
        &mut self,
        section: &str,
        fields: &'static [Field],
        value: &RawValue,
    ) -> Result<RawValue, ConfigError> {
        let mut set = Vec::new();
        for (name, value) in value.fields(section)? {
            match value {
                RawValue::Null => {
                    let field = fields.iter().find(|field| field.name == name);
                    self.unset.push(field.ok_or_else(|| unknown_field(section, name))?);
                }
                other => set.push((name.clone(), other.clone())),
            }
        }
        Ok(RawValue::Map(set))
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.unset.is_empty()
    }

    /// Returns a change that sets the fields of a patch and resets none.
    pub fn setting(set: ConfigPatch) -> Self {
        Self { set, unset: Vec::new() }
    }

    /// Returns the change unchanged, checked to be one that a user's overrides can take.
    ///
    /// # Errors
    /// [`ConfigError`] when it touches a field of `system`, which a user cannot override.
    pub fn for_user(self) -> Result<Self, ConfigError> {
        UserOverrides::default().with(&self.set)?;
        match self.unset.iter().find(|field| field.section == System::SECTION) {
            Some(field) => Err(not_of_a_user(field)),
            None => Ok(self),
        }
    }
}

impl<'de> Deserialize<'de> for ConfigPatch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse_from(deserializer).map_err(serde::de::Error::custom)
    }
}

impl ConfigVersion {
    fn of(canonical: &str) -> Self {
        Self(Uuid::new_v5(&VERSIONS, canonical.as_bytes()).as_u64_pair().0)
    }
}

impl fmt::Display for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for ConfigVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn not_of_a_user(field: &Field) -> ConfigError {
    ConfigError { field: field.name.to_owned(), problem: "is a setting of the whole bot, not of one user".to_owned() }
}

/// Returns the content as compact JSON with the fields in the order of the spec. The version is the hash of this text.
///
/// A field that is younger than stored attempts is left out while decisions are made as they were before it existed, so
/// that equal decisions have equal versions across an upgrade.
fn canonical_json(guardrails: &Guardrails, sizing: &Sizing, system: &System) -> String {
    let sections = [
        (Guardrails::SECTION, guardrails.values()),
        (Sizing::SECTION, sizing.values()),
        (System::SECTION, system.values()),
    ];
    let mut text = String::from("{");
    for (place, (section, values)) in sections.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{section}\":{{");
        let counted = values.iter().filter(|(field, value)| !field.is_as_before(value));
        for (place, (field, value)) in counted.enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let _ = write!(text, "{comma}\"{}\":", field.name);
            let _ = match (field.unit, value) {
                // The characters of a tag need no escapes.
                (_, FieldValue::Tags(tags)) => write!(text, "[\"{}\"]", tags.list().join("\",\"")),
                (FieldUnit::Flag, FieldValue::Number(number)) => write!(text, "{}", *number != 0),
                (FieldUnit::Choice, FieldValue::Number(number)) => write!(text, "\"{}\"", field.word(*number)),
                (_, FieldValue::Number(number)) => write!(text, "{number}"),
            };
        }
        text.push('}');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> (String, String) {
        let error = ConfigPatch::parse(json).unwrap_err();
        (error.field, error.problem)
    }

    #[test]
    fn defaults_match_the_spec_and_their_text_never_changes() {
        assert_eq!(
            serde_json::to_string(&StoredConfig::default()).unwrap(),
            concat!(
                r#"{"guardrails":{"maxWorseningVsTheirFillMicros":10000,"maxOverMidMicros":15000,"#,
                r#""maxSpreadMicros":20000,"minDepthMultiplierBps":12500,"noNewOpensWithinMinutesToClose":30,"#,
                r#""decisionLatencyMs":750,"jitterMsMax":250,"maxTotalExposureBps":7000,"#,
                r#""maxExposurePerMarketBps":500,"maxExposurePerUserBps":2000,"dailyLossLimitBps":300,"#,
                r#""weeklyLossLimitBps":800,"maxDrawdownLimitBps":1200,"maxSignalAgeSeconds":900},"#,
                r#""sizing":{"copyPctNotionalBps":100,"minTradeNotionalMicros":5000000,"#,
                r#""maxTradeNotionalMicros":250000000,"maxTradeBankrollBps":75,"applyTakerFees":true,"#,
                r#""exitSizing":"NOTIONAL","venueOrderRules":true,"minPriceMicros":0,"maxPriceMicros":1000000,"#,
                r#""minLeaderNotionalMicros":0,"maxMinutesToClose":0,"onlyCategories":[],"notCategories":[]},"#,
                r#""system":{"copyEngineEnabled":true,"opensEnabled":true,"bookSampleBps":0,"aggregationWindowMs":2000,"pollingIntervalMs":30000,"#,
                r#""backfillMinutes":15,"initialBankrollMicros":10000000000}}"#,
            )
        );
    }

    #[test]
    fn a_version_identifies_exactly_this_content() {
        // The defaults before the younger fields existed: every copy was decided without the rules of the venue.
        let old = |json: &str| effective(&with(json), None, PortfolioScope::ExecUser);
        let before = old(r#"{"sizing":{"venueOrderRules":false}}"#);
        assert_eq!(before.version.to_string(), "ce4012bad1295396");
        let now = EffectiveConfig::default();
        assert_ne!(now.version, before.version);
        let text = canonical_json(&now.guardrails, &now.sizing, &now.system);
        assert!(
            text.contains(r#""applyTakerFees":true,"venueOrderRules":true},"system":{"copyEngineEnabled":true,"ag"#)
        );
        let filtered = old(r#"{"sizing":{"onlyCategories":["b","A"],"exitSizing":"PROPORTIONAL"}}"#);
        let text = canonical_json(&filtered.guardrails, &filtered.sizing, &filtered.system);
        assert!(text.contains(r#""exitSizing":"PROPORTIONAL","venueOrderRules":true,"onlyCategories":["a","b"]}"#));
    }

    fn with(json: &str) -> StoredConfig {
        StoredConfig::default().with(&ConfigPatch::parse(json).unwrap())
    }

    /// Returns a value of the field that is not its default, as JSON.
    fn another(field: &Field) -> String {
        match (field.unit, field.default == field.min) {
            (FieldUnit::Flag, _) => (field.default == 0).to_string(),
            (FieldUnit::Choice, _) => format!("\"{}\"", field.word(1)),
            (FieldUnit::Tags, _) => r#"["nba"]"#.to_owned(),
            (_, true) => field.max.to_string(),
            (_, false) => field.min.to_string(),
        }
    }

    #[test]
    fn every_field_changes_the_version() {
        let mut seen = std::collections::BTreeSet::from([EffectiveConfig::default().version]);
        for field in StoredConfig::fields() {
            let other = another(field);
            let json = format!(r#"{{"{}":{{"{}":{other}}}}}"#, field.section, field.name);
            let config = StoredConfig::default().with(&ConfigPatch::parse(&json).unwrap());
            assert!(seen.insert(effective(&config, None, PortfolioScope::ExecUser).version), "{json}");
        }
    }

    #[test]
    fn every_field_takes_its_range_and_refuses_its_neighbours_by_name() {
        let no_number = [FieldUnit::Flag, FieldUnit::Choice, FieldUnit::Tags];
        for field in StoredConfig::fields().filter(|field| !no_number.contains(&field.unit)) {
            assert!((field.min..=field.max).contains(&field.default), "{}", field.name);
            let json = |number: i64| format!(r#"{{"{}":{{"{}":{number}}}}}"#, field.section, field.name);
            for good in [field.min, field.default, field.max] {
                let patched = StoredConfig::default().with(&ConfigPatch::parse(&json(good)).unwrap());
                let number = patched.values().into_iter().find(|(other, _)| *other == field).unwrap().1;
                assert_eq!(number, FieldValue::Number(good), "{}", field.name);
            }
            for bad in [field.min - 1, field.max + 1] {
                let problem = format!("is `{bad}`, which is not within {} and {}", field.min, field.max);
                assert_eq!(refusal(&json(bad)), (field.name.to_owned(), problem));
            }
        }
    }

    #[test]
    fn a_text_that_fits_no_field_is_refused_with_the_fields_name() {
        let check = |json: &str, field: &str, problem: &str| {
            assert_eq!(refusal(json), (field.to_owned(), problem.to_owned()), "{json}");
        };
        check(r#"{"limits":{}}"#, "limits", "is not a field of config");
        check(r#"{"guardrails":{"maxSpread":1}}"#, "maxSpread", "is not a field of guardrails");
        check(r#"{"guardrails":{"copyPctNotionalBps":1}}"#, "copyPctNotionalBps", "is not a field of guardrails");
        check(r#"{"guardrails":{"max_spread":1}}"#, "max_spread", "is not a field of guardrails");
        check(r#"{"sizing":{"applyTakerFees":1}}"#, "applyTakerFees", "must be true or false, not a number");
        check(r#"{"sizing":{"applyTakerFees":"true"}}"#, "applyTakerFees", "must be true or false, not a text");
        check(r#"{"sizing":{"exitSizing":"HALF"}}"#, "exitSizing", "is `HALF`, which is not NOTIONAL or PROPORTIONAL");
        check(r#"{"sizing":{"exitSizing":1}}"#, "exitSizing", "must be NOTIONAL or PROPORTIONAL, not a number");
        check(r#"{"sizing":{"onlyCategories":"nba"}}"#, "onlyCategories", "must be a list of texts, not a text");
        let one_is_a_number = "must be a list of texts, and has a number in it";
        check(r#"{"sizing":{"notCategories":["nba",1]}}"#, "notCategories", one_is_a_number);
        let no_slug = "has the tag `a b`, which is not 1 to 64 letters, digits, `-`, `_` and `.`";
        check(r#"{"sizing":{"notCategories":["a b"]}}"#, "notCategories", no_slug);
        let many: Vec<String> = (0..51).map(|n| format!("t{n}")).collect();
        let many = serde_json::json!({"sizing": {"onlyCategories": many}}).to_string();
        check(&many, "onlyCategories", "has 51 tags, which is more than 50");
        let number = |value: &str, kind: &str| {
            let json = format!(r#"{{"guardrails":{{"maxSpreadMicros":{value}}}}}"#);
            check(&json, "maxSpreadMicros", &format!("must be a whole number, not {kind}"));
        };
        number(r#""20000""#, "a text");
        number("20000.0", "a fraction");
        number("null", "null");
        number("true", "true or false");
        number("[20000]", "a list");
        number(r#"{"micros":20000}"#, "an object");
        let huge = "is `9223372036854775807`, which is not within 0 and 1000000";
        check(r#"{"guardrails":{"maxSpreadMicros":18446744073709551615}}"#, "maxSpreadMicros", huge);
        check(r#"{"system":{"backfillMinutes":1,"backfillMinutes":2}}"#, "backfillMinutes", "is given twice");
        check(r#"{"system":7}"#, "system", "must be an object, not a number");
        check("[]", "config", "must be an object, not a list");
        for broken in ["", "{", r#"{"system":{}"#, r#"{"system":{}} x"#, "<html>"] {
            let (field, problem) = refusal(broken);
            assert!(field == "config" && problem.starts_with("is not readable"), "{broken}: {problem}");
        }
        assert_eq!(
            GuardrailPatch::parse(r#"{"maxSpreadMicros":-1}"#).unwrap_err().to_string(),
            "config field `maxSpreadMicros` is `-1`, which is not within 0 and 1000000"
        );
    }

    #[test]
    fn a_patch_has_only_its_own_fields_and_the_newer_patch_wins() {
        let first = GuardrailPatch::parse(r#"{"maxSpreadMicros":1,"jitterMsMax":2}"#).unwrap();
        let second = GuardrailPatch::parse(r#"{"jitterMsMax":3}"#).unwrap();
        let both = first.with(&second);
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"{"maxSpreadMicros":1,"jitterMsMax":3}"#);
        assert_eq!(serde_json::from_str::<GuardrailPatch>(r#"{"maxSpreadMicros":1,"jitterMsMax":3}"#).unwrap(), both);
        assert!(ConfigPatch::parse("{}").unwrap().is_empty());
        let stored: Guardrails = serde_json::from_str(r#"{"jitterMsMax":3}"#).unwrap();
        assert_eq!(stored, Guardrails { jitter_ms_max: 3, ..Guardrails::default() });
    }

    #[test]
    fn a_user_overrides_field_by_field_but_not_the_whole_bot() {
        let patch = ConfigPatch::parse(r#"{"guardrails":{"maxSpreadMicros":1},"sizing":{"copyPctNotionalBps":2}}"#);
        let overrides = UserOverrides::default().with(&patch.unwrap()).unwrap();
        let config = effective(&StoredConfig::default(), Some(&overrides), PortfolioScope::ExecUser);
        let guardrails = Guardrails { max_spread: PriceMicros::new(1).unwrap(), ..Guardrails::default() };
        assert_eq!(config.guardrails, guardrails);
        assert_eq!(config.sizing, Sizing { copy_pct_notional: Bps(2), ..Sizing::default() });
        let system = ConfigPatch::parse(r#"{"system":{"copyEngineEnabled":false}}"#).unwrap();
        assert_eq!(overrides.with(&system).unwrap_err().field, "copyEngineEnabled");
    }

    #[test]
    fn a_field_that_is_reset_inherits_its_value_again() {
        let field = |name| StoredConfig::fields().find(|field| field.name == name).unwrap();
        let all: Vec<&Field> = StoredConfig::fields().collect();
        for field in &all {
            let json = format!(r#"{{"{}":{{"{}":{}}}}}"#, field.section, field.name, another(field));
            let set = ConfigPatch::parse(&json).unwrap();
            let others =
                ConfigChange { set: set.clone(), unset: all.iter().copied().filter(|other| other != field).collect() };
            assert_eq!(ConfigPatch::default().changed(&others), set, "{json}");
            let back = ConfigChange { unset: vec![field], ..ConfigChange::default() };
            assert!(set.changed(&back).is_empty(), "{json}");
        }
        let back = |name| ConfigChange { unset: vec![field(name)], ..ConfigChange::default() };
        assert_eq!(back("copyEngineEnabled").for_user().unwrap_err().field, "copyEngineEnabled");
        assert_eq!(back("maxSpreadMicros").for_user(), Ok(back("maxSpreadMicros")));
    }

    #[test]
    fn the_lowest_price_is_never_above_the_highest() {
        let own = |json: &str| UserOverrides::default().with(&ConfigPatch::parse(json).unwrap()).unwrap();
        let low = own(r#"{"sizing":{"maxPriceMicros":300000}}"#);
        assert_eq!(StoredConfig::default().check([&low]), Ok(()));
        let global = with(r#"{"sizing":{"minPriceMicros":300000}}"#);
        assert_eq!(global.check([&low]), Ok(()), "both ends are allowed");
        let above = with(r#"{"sizing":{"minPriceMicros":300001}}"#);
        assert_eq!(
            above.check([&low]).unwrap_err().to_string(),
            "config field `minPriceMicros` is `300001`, which is above the `300000` of maxPriceMicros that it would count with"
        );
        assert!(above.check([]).is_ok());
        assert!(with(r#"{"sizing":{"minPriceMicros":2,"maxPriceMicros":1}}"#).check([]).is_err());
    }

    #[test]
    fn the_shared_bankroll_keeps_the_global_limits() {
        let all_ones: String = Guardrails::FIELDS.iter().map(|field| format!(r#""{}":1,"#, field.name)).collect();
        let patch = GuardrailPatch::parse(&format!("{{{}}}", all_ones.trim_end_matches(','))).unwrap();
        let overrides = UserOverrides { guardrails: patch, ..UserOverrides::default() };
        let own = |scope| effective(&StoredConfig::default(), Some(&overrides), scope).guardrails;
        let kept: Vec<_> = own(PortfolioScope::ExecGlobal)
            .values()
            .into_iter()
            .filter_map(|(field, value)| Some((field.name, value.number()?)))
            .filter(|(_, number)| *number != 1)
            .collect();
        assert_eq!(
            kept,
            [
                ("maxTotalExposureBps", 7_000),
                ("maxExposurePerMarketBps", 500),
                ("dailyLossLimitBps", 300),
                ("weeklyLossLimitBps", 800),
                ("maxDrawdownLimitBps", 1_200),
            ]
        );
        assert!(own(PortfolioScope::ExecUser).values().iter().all(|(_, value)| value.number() == Some(1)));
    }

    #[test]
    fn every_field_has_a_line_of_help() {
        let fields: Vec<_> = StoredConfig::fields().collect();
        assert_eq!(fields.len(), 34);
        assert!(fields.iter().all(|field| field.about.ends_with('.') && !field.about.starts_with(' ')));
    }

    #[test]
    fn a_global_field_that_a_change_resets_has_its_default() {
        let saved = ConfigPatch::parse(r#"{"sizing": {"copyPctNotionalBps": 50}, "guardrails": {"jitterMsMax": 1}}"#);
        let stored = StoredConfig::default().with(&saved.unwrap());
        let change = r#"{"sizing": {"copyPctNotionalBps": null, "applyTakerFees": false}}"#;
        let after = stored.changed(&ConfigChange::parse(change, &[]).unwrap());
        assert_eq!((after.sizing.copy_pct_notional, after.sizing.apply_taker_fees), (Bps(100), false));
        assert_eq!(after.guardrails, stored.guardrails);
    }

    #[test]
    fn a_change_sets_fields_and_resets_those_that_are_null() {
        let parse = |json: &str| ConfigChange::parse(json, &["user"]);
        let change = parse(r#"{"user": 7, "sizing": {"copyPctNotionalBps": 50, "applyTakerFees": null}}"#).unwrap();
        assert_eq!(change.set.sizing.copy_pct_notional, Some(Bps(50)));
        assert_eq!(change.unset.iter().map(|field| field.name).collect::<Vec<_>>(), ["applyTakerFees"]);
        assert!(parse(r#"{"sizing": {}, "user": [1]}"#).unwrap().is_empty());
        let refused = |json: &str| parse(json).unwrap_err().to_string();
        assert_eq!(
            refused(r#"{"sizing": {"maxSpreadMicros": null}}"#),
            "config field `maxSpreadMicros` is not a field of sizing"
        );
        assert_eq!(refused(r#"{"sizing": null}"#), "config field `sizing` must be an object, not null");
        assert_eq!(refused(r#"{"users": 7}"#), "config field `users` is not a field of config");
        let twice = r#"{"sizing": {"applyTakerFees": null, "applyTakerFees": true}}"#;
        assert_eq!(refused(twice), "config field `applyTakerFees` is given twice");
    }
}
