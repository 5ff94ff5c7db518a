//! Requests for profiles: the profile of a wallet, and the wallet of a name.

use serde::Deserialize;

use crate::domain::money::ids::Wallet;
use crate::polymarket::http::client::{Call, Polymarket, query_text};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;

/// A public profile. The name is hostile text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub wallet: Wallet,
    pub name: String,
}

/// The result of a search by name. Names are not unique and the search is fuzzy: only a single exact match counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileMatch {
    One(Profile),
    /// No profile has exactly this name; the names that the search found similar.
    NoMatch {
        similar: Vec<Profile>,
    },
    Several(Vec<Profile>),
}

impl Polymarket {
    /// Returns the profile of a wallet, or `None` when Polymarket does not know the account.
    ///
    /// # Errors
    /// [`PolymarketError`] when Gamma does not answer.
    pub async fn profile(&self, wallet: &Wallet) -> Result<Option<Profile>, PolymarketError> {
        let path = format!("/public-profile?address={wallet}");
        let call = Call::get(Endpoint::Profile, Priority::Interactive, path);
        match self.ask(call, |text| parse_profile(text, wallet)).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Searches for the one profile called `name`, ignoring case.
    ///
    /// # Errors
    /// [`PolymarketError`] when Gamma does not answer.
    pub async fn search_profile(&self, name: &str) -> Result<ProfileMatch, PolymarketError> {
        let path = format!("/public-search?q={}&search_profiles=true&limit_per_type=50", query_text(name.trim()));
        let call = Call::get(Endpoint::Search, Priority::Interactive, path);
        self.ask(call, |text| parse_search(text, name)).await
    }
}

/// Parses the answer of `/public-profile`.
///
/// # Errors
/// When the text is not a profile.
pub fn parse_profile(text: &str, asked: &Wallet) -> Result<Profile, String> {
    let raw: RawProfile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // An account without a proxy wallet is its own wallet.
    Ok(raw.read().unwrap_or_else(|raw| Profile { wallet: asked.clone(), name: raw.shown_name() }))
}

/// Parses the answer of `/public-search`, and picks the profiles called `name`.
///
/// # Errors
/// When the text is not a search result.
pub fn parse_search(text: &str, name: &str) -> Result<ProfileMatch, String> {
    let answer: SearchAnswer = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let found = answer.profiles.unwrap_or_default().into_iter().flatten();
    let profiles: Vec<Profile> = found.filter_map(|raw| raw.read().ok()).collect();
    let wanted = name.trim().to_lowercase();
    let (mut exact, similar): (Vec<_>, Vec<_>) =
        profiles.into_iter().partition(|profile| profile.name.trim().to_lowercase() == wanted);
    exact.sort_by(|a, b| a.wallet.cmp(&b.wallet));
    exact.dedup_by(|a, b| a.wallet == b.wallet);
    Ok(match exact.len() {
        0 => ProfileMatch::NoMatch { similar },
        1 => ProfileMatch::One(exact.remove(0)),
        _ => ProfileMatch::Several(exact),
    })
}

#[derive(Deserialize)]
struct SearchAnswer {
    /// May be null, or contain nulls.
    #[serde(default)]
    profiles: Option<Vec<Option<RawProfile>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::polymarket) struct RawProfile {
    #[serde(default)]
    proxy_wallet: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    pseudonym: Option<String>,
}

impl RawProfile {
    fn read(self) -> Result<Profile, Self> {
        match self.proxy_wallet.as_deref().map(Wallet::parse) {
            Some(Ok(wallet)) => Ok(Profile { wallet, name: self.shown_name() }),
            _ => Err(self),
        }
    }

    fn shown_name(self) -> String {
        self.name.filter(|name| !name.is_empty()).or(self.pseudonym).unwrap_or_default()
    }
}
