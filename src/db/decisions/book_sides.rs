//! The stored form of the two sides of a book, levels in the order of the answer (spec 2).
//!
//! The first byte tells the form: `[` begins JSON, `[bids, asks]` with each level `[price_micros, share_micros]`, as
//! migration 16 left those that it found. In form 1 each side is its number of levels and then, for each level, the step
//! from the price before it and the shares. Prices are counted in thousandths and shares in hundredths when the
//! whole book allows it, which takes about a fifth of the JSON. Numbers are varints, signed ones zigzag.

use crate::domain::market::book::Level;
use crate::domain::money::units::{PriceMicros, ShareMicros};

/// Packs the sides of a book.
pub(crate) fn pack(bids: &[Level], asks: &[Level]) -> Vec<u8> {
    let levels = || bids.iter().chain(asks);
    let unit_of_prices = unit(levels().map(|level| level.price.micros()), 1_000);
    let unit_of_shares = unit(levels().map(|level| level.shares.0), 10_000);
    let mut out = Vec::with_capacity(4 + levels().count() * 4);
    out.push(FORM);
    put(&mut out, unit_of_prices);
    put(&mut out, unit_of_shares);
    for side in [bids, asks] {
        put(&mut out, side.len() as u64);
        let mut last = 0;
        for level in side {
            let price = level.price.micros() / unit_of_prices as i64;
            put_signed(&mut out, price - last);
            put_signed(&mut out, level.shares.0 / unit_of_shares as i64);
            last = price;
        }
    }
    out
}

/// Returns bids and asks.
///
/// # Errors
/// A description of the problem when the bytes are damaged or in a form that this version does not know.
pub(crate) fn unpack(content: &[u8]) -> Result<(Vec<Level>, Vec<Level>), String> {
    match content.split_first() {
        Some((b'[', _)) => {
            let (bids, asks): (Vec<Pair>, Vec<Pair>) =
                serde_json::from_slice(content).map_err(|problem| problem.to_string())?;
            let levels = |pairs: Vec<Pair>| pairs.into_iter().map(|(price, shares)| Level { price, shares }).collect();
            Ok((levels(bids), levels(asks)))
        }
        Some((&FORM, mut rest)) => {
            let units = (take(&mut rest)?, take(&mut rest)?);
            let sides = (side(&mut rest, units)?, side(&mut rest, units)?);
            if rest.is_empty() { Ok(sides) } else { Err("has bytes behind its end".to_owned()) }
        }
        Some((form, _)) => Err(format!("is in the form {form}, which this version does not know")),
        None => Err("is empty".to_owned()),
    }
}

/// Returns whether the content is not packed yet.
pub(crate) fn is_plain(content: &[u8]) -> bool {
    content.first() == Some(&b'[')
}

type Pair = (PriceMicros, ShareMicros);

const FORM: u8 = 1;

/// Returns `coarse` when it divides every number, otherwise 1.
fn unit(mut numbers: impl Iterator<Item = i64>, coarse: i64) -> u64 {
    if numbers.all(|number| number % coarse == 0) { coarse.unsigned_abs() } else { 1 }
}

fn side(rest: &mut &[u8], (unit_of_prices, unit_of_shares): (u64, u64)) -> Result<Vec<Level>, String> {
    let too_large = || "has a number that is too large".to_owned();
    let micros =
        |count: i64, unit: u64| i64::try_from(unit).ok().and_then(|unit| count.checked_mul(unit)).ok_or_else(too_large);
    let count = take(rest)?;
    // Each level takes two bytes at least, so a damaged count cannot ask for much room.
    if count > rest.len() as u64 / 2 {
        return Err("ends in the middle".to_owned());
    }
    let mut last = 0i64;
    (0..count)
        .map(|_| {
            last = last.checked_add(take_signed(rest)?).ok_or_else(too_large)?;
            let price = PriceMicros::new(micros(last, unit_of_prices)?).map_err(|problem| problem.to_string())?;
            Ok(Level { price, shares: ShareMicros(micros(take_signed(rest)?, unit_of_shares)?) })
        })
        .collect()
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn take(rest: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or("ends in the middle")?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("has a number that is too large".to_owned())
}

fn take_signed(rest: &mut &[u8]) -> Result<i64, String> {
    let number = take(rest)?;
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn levels(pairs: &[(i64, i64)]) -> Vec<Level> {
        let level = |&(price, shares): &(i64, i64)| Level {
            price: PriceMicros::new(price).unwrap(),
            shares: ShareMicros(shares),
        };
        pairs.iter().map(level).collect()
    }

    fn side() -> impl Strategy<Value = Vec<(i64, i64)>> {
        let fine = (0i64..=1_000_000, any::<i64>());
        let coarse = (0i64..=1_000, -100_000i64..100_000).prop_map(|(price, shares)| (price * 1_000, shares * 10_000));
        prop_oneof![proptest::collection::vec(fine, 0..40), proptest::collection::vec(coarse, 0..40)]
    }

    proptest! {
        #[test]
        fn every_book_comes_back_with_its_levels_in_their_order(bids in side(), asks in side()) {
            let (bids, asks) = (levels(&bids), levels(&asks));
            prop_assert_eq!(unpack(&pack(&bids, &asks)).unwrap(), (bids, asks));
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = unpack(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = FORM;
            }
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn the_sides_that_migration_16_moved_are_read() {
        let (bids, asks) = (levels(&[(360_000, 305_580_000), (350_000, 1)]), levels(&[(370_000, 560_010_000)]));
        let text = "[[[360000,305580000],[350000,1]],[[370000,560010000]]]";
        assert!(is_plain(text.as_bytes()));
        assert_eq!(unpack(text.as_bytes()).unwrap(), (bids.clone(), asks.clone()));
        assert!(!is_plain(&pack(&bids, &asks)));
    }

    /// Stored rows depend on it.
    #[test]
    fn what_the_first_version_packed_is_still_read() {
        let (bids, asks) = (levels(&[(360_000, 305_580_000), (350_000, 20_000)]), levels(&[(370_000, 560_010_000)]));
        let stored = "01e807904e02d005bcdd03130401e40582eb06";
        assert_eq!(hex::encode(pack(&bids, &asks)), stored);
        assert_eq!(unpack(&hex::decode(stored).unwrap()).unwrap(), (bids, asks));
    }

    #[test]
    fn a_usual_book_takes_a_fifth_of_its_json() {
        let side: Vec<(i64, i64)> = (1..30).map(|n| (n * 10_000, n * 37_210_000)).collect();
        let json = serde_json::to_string(&(&side, &side)).unwrap();
        let packed = pack(&levels(&side), &levels(&side));
        assert!(packed.len() * 4 < json.len(), "{} of {}", packed.len(), json.len());
    }
}
