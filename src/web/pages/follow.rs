//! Following a new trader in two steps (look, then confirm), renaming, enabling and disabling. A running bot notices a
//! change within a second.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::db::{Db, FollowedUser, Inserted};
use crate::domain::config::follow_state::FollowState;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::label::LABEL_CHARACTERS_MAX;
use crate::domain::money::units::Timestamp;
use crate::polymarket::{Polymarket, PolymarketError, Profile, RecentActivity, Trader, TraderMatch};
use crate::web::auth::csrf::CsrfForm;
use crate::web::server::error::WebError;
use crate::web::server::json::{self, Json};
use crate::web::server::middleware::Hosts;
use crate::web::shell::flash::Flash;
use crate::web::shell::page::{Page, PageContext};

/// Number of similar profiles that are listed.
const SIMILAR_SHOWN: usize = 8;

/// `/users/follow`: the trader whom the typed text names.
#[derive(Debug, Default, Serialize)]
pub struct FollowView {
    /// The typed text.
    pub trader: String,
    pub found: Option<FoundTrader>,
    /// The reason why no trader was found.
    pub problem: Option<String>,
    /// Profiles with a similar name.
    pub similar: Vec<ProfileView>,
    pub label_characters_max: usize,
}

/// A trader who can be followed. The name is hostile text.
#[derive(Debug, Serialize)]
pub struct FoundTrader {
    pub wallet: Wallet,
    pub name: Option<String>,
    /// The label they get by default.
    pub label: String,
    /// The followed user who has this wallet already.
    pub followed: Option<FollowedUserView>,
    /// `None` when Polymarket did not answer.
    pub lately: Option<RecentActivityView>,
}

#[derive(Debug, Serialize)]
pub struct ProfileView {
    pub wallet: Wallet,
    pub name: String,
}

/// The last fills and the open positions of a trader.
#[derive(Debug, Serialize)]
pub struct RecentActivityView {
    pub fills_last_day: usize,
    pub more_fills: bool,
    pub last_activity: Option<Timestamp>,
    pub open_positions: usize,
    pub more_positions: bool,
}

/// A row of `followed_user`, as the JSON routes answer a change.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct FollowedUserView {
    /// The followed user.
    pub id: FollowedUserId,
    /// The name in lists; hostile text.
    pub label: String,
    /// The wallet of the trader, as their profile shows it.
    pub profile_wallet: Wallet,
    /// False when the trader is stopped: neither read nor copied.
    pub enabled: bool,
    /// How the trader is followed: `ACTIVE`, `WINDING_DOWN` (exits are copied, nothing is opened) or `STOPPED`.
    pub state: FollowState,
    /// When we began to follow them.
    pub created_at: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowQuery {
    #[serde(default)]
    trader: String,
}

/// `trader` is a wallet or the exact name of a profile. Without `label` the name becomes the label.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowForm {
    /// A wallet, or the exact name of a profile.
    trader: String,
    /// The name in lists, 1 to 60 characters; the name of the profile when missing.
    label: Option<String>,
}

/// The body of `POST /api/users/{id}`. At least one field is needed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeForm {
    /// The new name in lists, 1 to 60 characters; unchanged when missing.
    label: Option<String>,
    /// False to stop following at once (the state `STOPPED`), true to follow again (`ACTIVE`); unchanged when missing.
    enabled: Option<bool>,
    /// `ACTIVE`, `WINDING_DOWN` or `STOPPED`; unchanged when missing. Not together with `enabled`.
    state: Option<FollowState>,
}

/// Answers `GET /users/follow`: asks Polymarket for the trader and changes nothing.
///
/// # Errors
/// [`WebError::Ours`] when the database fails. An answer that Polymarket does not give is shown on the page.
pub async fn page(
    context: PageContext,
    query: Query<FollowQuery>,
    polymarket: Data<Polymarket>,
) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = FollowView::load(&context.db, &polymarket, query.trader.trim()).await?;
    context.page(Page::Follow, &position, &view).await
}

/// Answers `POST /users`: follows a trader.
///
/// # Errors
/// [`WebError::Mistake`] for an invalid label or a text that names no trader; [`WebError::Conflict`] for a wallet of
/// another followed user; [`WebError::Unanswered`] when Polymarket does not answer.
pub async fn follow(
    submitted: CsrfForm<FollowForm>,
    db: Data<Db>,
    polymarket: Data<Polymarket>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    let (user, before) = start_following(&db, &polymarket, &submitted, clock.now()).await?;
    let action = format!("/users/{}", user.id);
    let text = match before {
        None => format!("Following {} as user {}. The bot begins with it within a second.", user.label, user.id),
        Some(FollowState::Active) => format!("{} is followed already.", user.label),
        Some(FollowState::WindingDown) => {
            format!("{} was winding down and is active again: what they open is copied from now on.", user.label)
        }
        Some(FollowState::Stopped) => format!("{} was stopped and is followed again from now on.", user.label),
    };
    let (flash, before) = (Flash::new(text), before.unwrap_or(FollowState::Stopped));
    let is_changed = before != FollowState::Active;
    let flash = if is_changed { flash.undo(action, &[("state", before.as_str())]) } else { flash };
    flash.then(&submitted.session, "/users")
}

/// Answers `POST /api/users`: 201 for a new followed user, 200 for a known one.
///
/// # Errors
/// Those of [`follow`].
pub async fn follow_json(
    submitted: CsrfForm<FollowForm>,
    db: Data<Db>,
    polymarket: Data<Polymarket>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    let (user, before) = start_following(&db, &polymarket, &submitted, clock.now()).await?;
    let status = if before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json::answer(&mut HttpResponse::build(status), &user))
}

/// Answers `POST /users/{id}`: renames a followed user, or changes how they are followed.
///
/// # Errors
/// [`WebError::Mistake`] for an invalid or empty change; [`WebError::NotFound`] for an unknown user.
pub async fn change(
    submitted: CsrfForm<ChangeForm>,
    id: Path<FollowedUserId>,
    db: Data<Db>,
    clock: Data<Clock>,
    hosts: Data<Hosts>,
    request: HttpRequest,
) -> Result<HttpResponse, WebError> {
    let (before, after) = change_user(&db, *id, &submitted, clock.now()).await?;
    let action = format!("/users/{}", before.id);
    let mut sentences = Vec::new();
    let mut undo_fields = Vec::new();
    if after.label != before.label {
        sentences.push(format!("{} is now called {}.", before.label, after.label));
        undo_fields.push(("label", before.label.as_str()));
    }
    if after.state != before.state {
        sentences.push(match after.state {
            FollowState::Active => format!("{} is followed again from now on.", after.label),
            FollowState::WindingDown => format!(
                "{} is winding down: nothing new is copied, exits are, until nothing is left to sell.",
                after.label
            ),
            FollowState::Stopped => {
                format!("{} is no longer followed. What was recorded stays; open copies are kept.", after.label)
            }
        });
        undo_fields.push(("state", before.state.as_str()));
    }
    let flash = match sentences.is_empty() {
        true => Flash::new(format!("Nothing to change: {} is so already.", after.label)),
        false => Flash::new(sentences.join(" ")).undo(action, &undo_fields),
    };
    flash.then(&submitted.session, &hosts.path_of_referer(request.headers()))
}

/// Answers `POST /api/users/{id}`.
///
/// # Errors
/// Those of [`change`].
pub async fn change_json(
    submitted: CsrfForm<ChangeForm>,
    id: Path<FollowedUserId>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<Json<FollowedUserView>, WebError> {
    let (_, after) = change_user(&db, *id, &submitted, clock.now()).await?;
    Ok(Json(after))
}

impl FollowView {
    async fn load(db: &Db, polymarket: &Polymarket, trader: &str) -> Result<Self, WebError> {
        let view = Self { trader: trader.to_owned(), label_characters_max: LABEL_CHARACTERS_MAX, ..Self::default() };
        if trader.is_empty() {
            return Ok(view);
        }
        let found = match polymarket.find_trader(trader).await {
            Ok(found) => found,
            Err(error) => return Ok(Self { problem: Some(unanswered(&error)), ..view }),
        };
        let (found, problem, similar) = match found {
            TraderMatch::One(trader) => (Some(FoundTrader::load(db, polymarket, trader).await?), None, Vec::new()),
            TraderMatch::NoMatch { similar } => {
                (None, nobody(trader, &TraderMatch::NoMatch { similar: Vec::new() }), similar)
            }
            TraderMatch::Several(profiles) => (None, nobody(trader, &TraderMatch::Several(profiles.clone())), profiles),
            other => (None, nobody(trader, &other), Vec::new()),
        };
        let similar = similar.into_iter().take(SIMILAR_SHOWN).map(ProfileView::of).collect();
        Ok(Self { found, problem, similar, ..view })
    }
}

impl FoundTrader {
    async fn load(db: &Db, polymarket: &Polymarket, trader: Trader) -> Result<Self, WebError> {
        let followed = db.followed_user_by_wallet(&trader.wallet).await?;
        // The trader is known, so they can be followed even when their activity cannot be read.
        let lately = polymarket.recent_activity(&trader.wallet).await.ok().map(RecentActivityView::of);
        Ok(Self {
            label: default_label(&trader),
            wallet: trader.wallet,
            name: trader.name,
            followed: followed.map(FollowedUserView::of),
            lately,
        })
    }
}

/// Returns the reason why `trader` does not name one trader; `None` when it does.
fn nobody(trader: &str, found: &TraderMatch) -> Option<String> {
    Some(match found {
        TraderMatch::One(_) => return None,
        TraderMatch::NoMatch { .. } => format!("nobody is called exactly `{trader}`"),
        TraderMatch::Several(profiles) => format!("{} profiles are called `{trader}`: choose one", profiles.len()),
        TraderMatch::Unknown(wallet) => format!(
            "`{wallet}` has no profile and no activity on Polymarket; take the wallet from the profile page, not the \
             signing key's address"
        ),
        TraderMatch::NotAWallet(error) => error.to_string(),
    })
}

fn unanswered(error: &PolymarketError) -> String {
    format!("Polymarket could not be asked who this is, and nothing was changed: {error}")
}

/// Follows the trader. Returns the user, and the state in which a known one was before.
async fn start_following(
    db: &Db,
    polymarket: &Polymarket,
    submitted: &CsrfForm<FollowForm>,
    now: Timestamp,
) -> Result<(FollowedUserView, Option<FollowState>), WebError> {
    let FollowForm { trader, label } = &submitted.form;
    let given = label.as_deref().map(checked_label).transpose()?;
    let found = polymarket.find_trader(trader).await.map_err(|error| WebError::Unanswered(unanswered(&error)))?;
    let found = match found {
        TraderMatch::One(found) => found,
        other => return Err(WebError::Mistake(format!("`trader`: {}", nobody(trader, &other).unwrap_or_default()))),
    };
    let known = db.followed_user_by_wallet(&found.wallet).await?;
    if let Some(known) = known.as_ref().filter(|known| known.profile_wallet != found.wallet) {
        return Err(WebError::Conflict(format!("`{}` is a wallet of {}, whom we know", found.wallet, known.label)));
    }
    let label = given.unwrap_or_else(|| default_label(&found));
    let before = match db.follow(&label, &found.wallet, &submitted.visitor.who, now).await? {
        Inserted::New(_) => None,
        // Another request may have been faster.
        Inserted::Known => Some(known.map_or(FollowState::Active, |known| known.state)),
    };
    let user = db.followed_user_by_wallet(&found.wallet).await?.ok_or(WebError::NotFound)?;
    Ok((FollowedUserView::of(user), before))
}

/// Changes the user. Returns it before and after the change.
async fn change_user(
    db: &Db,
    id: FollowedUserId,
    submitted: &CsrfForm<ChangeForm>,
    now: Timestamp,
) -> Result<(FollowedUserView, FollowedUserView), WebError> {
    let ChangeForm { label, enabled, state } = &submitted.form;
    if enabled.is_some() && state.is_some() {
        return Err(WebError::Mistake("`enabled` and `state` say the same; send one of them".to_owned()));
    }
    let by_switch = enabled.map(|on| if on { FollowState::Active } else { FollowState::Stopped });
    let state = state.or(by_switch);
    if label.is_none() && state.is_none() {
        return Err(WebError::Mistake("nothing to change; send `label`, `state` or `enabled`".to_owned()));
    }
    let label = label.as_deref().map(checked_label).transpose()?;
    let before = one(db, id).await?;
    let who = &submitted.visitor.who;
    if let Some(label) = &label {
        db.rename(id, label, who, now).await?;
    }
    if let Some(state) = state {
        db.set_state(id, state, who, now).await?;
    }
    Ok((before, one(db, id).await?))
}

async fn one(db: &Db, id: FollowedUserId) -> Result<FollowedUserView, WebError> {
    let users = db.followed_users().await?;
    users.into_iter().find(|user| user.id == id).map(FollowedUserView::of).ok_or(WebError::NotFound)
}

/// Returns the trimmed label.
///
/// # Errors
/// [`WebError::Mistake`] that names the field when the label is empty, too long, or has a control character.
fn checked_label(text: &str) -> Result<String, WebError> {
    let label = text.trim();
    let length = label.chars().count();
    let problem = match length {
        0 => Some("is empty".to_owned()),
        n if n > LABEL_CHARACTERS_MAX => Some(format!("has {n} characters")),
        _ if label.chars().any(char::is_control) => Some("holds a control character".to_owned()),
        _ => None,
    };
    match problem {
        None => Ok(label.to_owned()),
        Some(problem) => Err(WebError::Mistake(format!(
            "`label` {problem}; it should be 1 to {LABEL_CHARACTERS_MAX} characters in one line"
        ))),
    }
}

/// Returns the trader's name, or the first characters of their wallet.
fn default_label(trader: &Trader) -> String {
    let name = trader.name.as_deref().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(LABEL_CHARACTERS_MAX).collect();
    match name.trim() {
        "" => trader.wallet.as_str().chars().take(10).collect(),
        name => name.to_owned(),
    }
}

impl FollowedUserView {
    fn of(user: FollowedUser) -> Self {
        let enabled = user.enabled();
        let FollowedUser { id, label, profile_wallet, state, created_at, .. } = user;
        Self { id, label, profile_wallet, enabled, state, created_at }
    }
}

impl ProfileView {
    fn of(profile: Profile) -> Self {
        Self { wallet: profile.wallet, name: profile.name }
    }
}

impl RecentActivityView {
    fn of(lately: RecentActivity) -> Self {
        let RecentActivity { fills_last_day, more_fills, last_activity, open_positions, more_positions } = lately;
        Self { fills_last_day, more_fills, last_activity, open_positions, more_positions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_line_of_one_to_sixty_characters() {
        let of = |text: &str| checked_label(text).map_err(|error| error.to_string());
        assert_eq!(of("  Ilse  "), Ok("Ilse".to_owned()));
        assert_eq!(of(&"ä".repeat(60)), Ok("ä".repeat(60)));
        let rest = "; it should be 1 to 60 characters in one line";
        assert_eq!(of("   "), Err(format!("`label` is empty{rest}")));
        assert_eq!(of(&"ä".repeat(61)), Err(format!("`label` has 61 characters{rest}")));
        assert_eq!(of("a\nb"), Err(format!("`label` holds a control character{rest}")));
    }

    #[test]
    fn a_trader_without_a_name_gets_the_wallet_as_label() {
        let wallet = Wallet::parse("0x1234567890123456789012345678901234567890").unwrap();
        let of = |name: Option<&str>| default_label(&Trader { wallet: wallet.clone(), name: name.map(str::to_owned) });
        assert_eq!(of(None), "0x12345678");
        assert_eq!(of(Some("\n ")), "0x12345678");
        assert_eq!(of(Some("Ilse\u{7}")), "Ilse");
        assert_eq!(of(Some(&"x".repeat(99))).len(), 60);
    }
}
