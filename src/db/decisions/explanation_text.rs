//! The stored form of an explanation: its JSON text, packed (spec 2). Unpacked it is the text to the byte, for ever.
//!
//! The first byte tells the form: `{` begins a text that is not packed, as migration 16 left those that it found; 1 and 2
//! are the number of the dictionary.

use crate::sql::packing;

/// Explanations as the program wrote them before it had the checks of opens and venue rules. Never edited: rows are
/// packed with it.
const DICTIONARY_1: &[u8] = include_bytes!("explanation_dictionary_1.txt");
/// Explanations as the program writes them since 30 November 2026. Never edited: rows are packed with it.
const DICTIONARY_2: &[u8] = include_bytes!("explanation_dictionary_2.txt");

/// Packs the JSON text of an explanation.
pub(crate) fn pack(text: &str) -> Vec<u8> {
    let mut packed = vec![2];
    packing::pack(DICTIONARY_2, text.as_bytes(), &mut packed);
    packed
}

/// Returns the JSON text of an explanation.
///
/// # Errors
/// A description of the problem when the bytes are damaged or in a form that this version does not know.
pub(crate) fn unpack(content: &[u8]) -> Result<String, String> {
    let text = match content.split_first() {
        Some((b'{', _)) => content.to_vec(),
        Some((1, packed)) => packing::unpack(DICTIONARY_1, packed).map_err(|damaged| damaged.to_string())?,
        Some((2, packed)) => packing::unpack(DICTIONARY_2, packed).map_err(|damaged| damaged.to_string())?,
        Some((form, _)) => return Err(format!("is in the form {form}, which this version does not know")),
        None => return Err("is empty".to_owned()),
    };
    String::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())
}

/// Returns whether the content is not packed yet.
pub(crate) fn is_plain(content: &[u8]) -> bool {
    content.first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"decided_at":"2026-11-02T15:03:28.134Z","checks":[{"name":"ENGINE_ENABLED","unit":"FLAG","value":1,"limit":1,"verdict":"PASS","code":"ENGINE_PAUSED"},{"name":"SIGNAL_AGE","unit":"MS","value":15275,"limit":900000,"verdict":"PASS","code":"SIGNAL_TOO_OLD"},{"name":"MARKET_EXPOSURE","unit":"USDC_MICROS","value":117382184,"limit":12472194393,"verdict":"FAIL","code":"RISK_CAP_USER"}],"raw_notional_micros":285518,"cap_notional_micros":250000000,"best_bid_micros":54000,"best_ask_micros":55000,"mid_micros":54500,"limit_price_micros":66698,"target_share_micros":null,"fee_micros":0}"#;

    #[test]
    fn a_text_comes_back_to_the_byte_from_a_fifth_of_its_size_or_less() {
        let packed = pack(TEXT);
        assert_eq!(unpack(&packed).unwrap(), TEXT);
        assert!(packed.len() * 5 < TEXT.len(), "{} of {}", packed.len(), TEXT.len());
        assert!(!is_plain(&packed));
        // Spaces, order and words that no version of ours wrote.
        for odd in ["{}", "{ \"checks\" : [] , \"later\": \"\u{fffd}\u{1f98a}\" }"] {
            assert_eq!(unpack(&pack(odd)).unwrap(), odd);
        }
    }

    #[test]
    fn an_explanation_that_was_packed_with_the_first_dictionary_is_read() {
        let mut packed = vec![1];
        packing::pack(DICTIONARY_1, TEXT.as_bytes(), &mut packed);
        assert_eq!(unpack(&packed).unwrap(), TEXT);
        assert!(!is_plain(&packed));
        assert!(pack(TEXT).len() < TEXT.len() / 5);
    }

    #[test]
    fn an_explanation_that_migration_16_moved_is_read_as_it_is() {
        assert_eq!(unpack(TEXT.as_bytes()).unwrap(), TEXT);
        assert!(is_plain(TEXT.as_bytes()));
    }

    #[test]
    fn damaged_content_is_told() {
        assert!(unpack(&[]).is_err());
        assert!(unpack(&[9, 1, 2]).unwrap_err().contains("form 9"));
        assert!(unpack(&[1]).is_err());
        assert!(unpack(b"{\xff").is_err());
    }
}
