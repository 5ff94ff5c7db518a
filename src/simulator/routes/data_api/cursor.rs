//! Cursors of the Data API: opaque to clients, signed, and valid for one endpoint with any filters.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// The position in a feed: page size, key of the last row served, direction. The names are those of recorded cursors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPosition {
    pub l: usize,
    pub ts: i64,
    pub sq: String,
    /// Rows served so far. No route uses it; recorded cursors have it.
    pub d: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

/// The position in a list: page size, rows served, and what the list is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPosition {
    pub l: usize,
    pub d: usize,
    /// User and condition of the list; the cursor is not valid for another list.
    #[serde(default)]
    pub av: String,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    data: Inner,
    sig: String,
}

#[derive(Serialize, Deserialize)]
struct Inner {
    #[serde(rename = "type")]
    endpoint: String,
    params: serde_json::Value,
}

/// Returns a cursor for this position of the endpoint.
pub fn sign<T: Serialize>(seed: u64, endpoint: &str, position: &T) -> String {
    let params = serde_json::to_value(position).unwrap_or_default();
    let sig = signature(seed, endpoint, &params);
    let envelope = Envelope { data: Inner { endpoint: endpoint.to_owned(), params }, sig };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&envelope).unwrap_or_default())
}

/// Returns the position in a cursor; `None` when the text is not a cursor that we signed for this endpoint.
pub fn read<T: DeserializeOwned>(seed: u64, endpoint: &str, cursor: &str) -> Option<T> {
    let Envelope { data, sig } = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let is_ours = data.endpoint == endpoint && sig == signature(seed, endpoint, &data.params);
    is_ours.then(|| serde_json::from_value(data.params).ok()).flatten()
}

fn signature(seed: u64, endpoint: &str, params: &serde_json::Value) -> String {
    hex::encode(&Sha256::digest(format!("{seed}/{endpoint}/{params}"))[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_serves_its_own_endpoint_and_no_other() {
        let position = FeedPosition { l: 3, ts: 1_790_620_097, sq: "946099710002504310".into(), d: 3, dir: None };
        let cursor = sign(1, "activity", &position);
        assert_eq!(read::<FeedPosition>(1, "activity", &cursor), Some(position));
        assert_eq!(read::<FeedPosition>(1, "trades", &cursor), None);
        assert_eq!(read::<FeedPosition>(2, "activity", &cursor), None);
        assert_eq!(read::<FeedPosition>(1, "activity", "nonsense"), None);
        let forged = cursor.replace('M', "N");
        assert_eq!(read::<FeedPosition>(1, "activity", &forged), None);
    }
}
