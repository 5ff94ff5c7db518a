//! Compares every recorded trade row with numbers computed independently of this code.
//!
//! A program in another language computed the tables with exact decimals. Price and shares are rounded half up to micros.
//! Gross cash is the row's cash minus the published fee, `shares * rate * p * (1 - p)` cut to five decimals at the rate of
//! the row's category; the program checked that it equals shares times price.
//! Rows of the first exchange show net shares beside gross cash: their cash stays whole, and their fee is unknown.

use super::recorded::{activity_rows, trade_rows};
use crate::domain::market::facts::FeeSchedule;
use crate::domain::money::ids::Wallet;
use crate::polymarket::wire::activity::WireRow;
use crate::polymarket::wire::draft::{TradeDraft, Window};

const BY_ROLE: &str = "data_v2/activity_maker_and_taker_3.json";
const UNENRICHED: &str = "data_v2/activity_unenriched_row_2.json";
const BY_TYPE: &str = "data_v1/activity_by_type_2026_09.json";
const TAKER_SELLS: &str = "data_v1/activity_taker_sell_net_usdc_3.json";
const MIXED: &str = "data_v1/activity_mixed_types_50.json";
const FIRST_EXCHANGE: &str = "data_v1/activity_trade_10_exchange_v1_era.json";
const TRADES_ALL_ROLES: &str = "data_v2/trades_all_roles_2.json";
const TRADES_BARE: &str = "data_v2/trades_bare_feed_2.json";
const TRADES_V1: &str = "data_v1/trades_5.json";

/// File, row, price, shares, gross cash, fee: all in micros.
type Expected = (&'static str, usize, i64, i64, i64, Option<i64>);

#[rustfmt::skip]
const ACTIVITY: [Expected; 62] = [
    (BY_ROLE, 0, 320_000, 10_294_118, 3_294_118, Some(0)),
    (BY_ROLE, 1, 740_000, 199_372_308, 147_535_508, Some(0)),
    (BY_ROLE, 2, 320_000, 5_000_000, 1_600_000, Some(76_160)),
    (UNENRICHED, 0, 520_000, 22_840_000, 11_876_800, Some(285_040)),
    (UNENRICHED, 1, 900_000, 7_440_000, 6_696_000, Some(33_480)),
    (BY_TYPE, 0, 740_000, 199_372_308, 147_535_508, Some(0)),
    (BY_TYPE, 1, 320_000, 5_000_000, 1_600_000, Some(76_160)),
    (TAKER_SELLS, 0, 460_000, 100_000_000, 46_000_000, Some(0)),
    (TAKER_SELLS, 1, 60_000, 100_000_000, 6_000_000, Some(282_000)),
    (TAKER_SELLS, 2, 10_000, 100_000_000, 1_000_000, Some(49_500)),
    (MIXED, 8, 654_249, 402_482_850_000, 263_323_988_485, Some(4_552_227_050)),
    (MIXED, 9, 647_003, 157_454_720_000, 101_873_731_025, Some(1_798_054_290)),
    (MIXED, 10, 447_386, 1_263_392_490_000, 565_223_614_750, Some(15_617_535_260)),
    (MIXED, 11, 447_084, 364_286_610_000, 162_866_693_505, Some(4_502_580_530)),
    (MIXED, 12, 450_000, 7_917_590_000, 3_562_915_500, Some(97_980_170)),
    (MIXED, 13, 447_357, 300_000_000_000, 134_207_144_250, Some(3_708_430_950)),
    (MIXED, 14, 637_500, 92_750_000, 59_128_125, Some(0)),
    (MIXED, 15, 637_500, 116_413_110_000, 74_213_357_625, Some(1_345_117_100)),
    (MIXED, 16, 635_000, 13_698_629, 8_698_630, Some(0)),
    (MIXED, 17, 637_500, 131_337_930, 83_727_931, Some(0)),
    (MIXED, 18, 635_000, 19_178_081, 12_178_082, Some(0)),
    (MIXED, 19, 635_000, 70_000_000, 44_450_000, Some(0)),
    (MIXED, 20, 635_000, 267_260_272, 169_710_273, Some(0)),
    (MIXED, 21, 635_000, 14_931_505, 9_481_506, Some(0)),
    (MIXED, 22, 635_000, 27_397_259, 17_397_260, Some(0)),
    (MIXED, 23, 635_000, 54_794_519, 34_794_520, Some(0)),
    (MIXED, 24, 635_000, 273_972_601, 173_972_602, Some(0)),
    (MIXED, 25, 635_000, 68_493_149, 43_493_150, Some(0)),
    (MIXED, 26, 635_000, 10_958_903, 6_958_904, Some(0)),
    (MIXED, 27, 635_000, 2_739_725, 1_739_726, Some(0)),
    (MIXED, 28, 635_000, 105_000_000, 66_675_000, Some(0)),
    (MIXED, 29, 635_000, 27_397_259, 17_397_260, Some(0)),
    (MIXED, 30, 635_000, 8_109_588, 5_149_589, Some(0)),
    (MIXED, 31, 635_000, 61_452_053, 39_022_054, Some(0)),
    (MIXED, 32, 635_000, 35_616_437, 22_616_438, Some(0)),
    (MIXED, 33, 635_000, 205_479_451, 130_479_452, Some(0)),
    (MIXED, 34, 635_000, 54_794_519, 34_794_520, Some(0)),
    (MIXED, 35, 635_000, 13_698_629, 8_698_630, Some(0)),
    (MIXED, 36, 635_000, 65_205_478, 41_405_479, Some(0)),
    (MIXED, 37, 635_000, 82_191_779, 52_191_780, Some(0)),
    (MIXED, 38, 635_000, 547_945_204, 347_945_205, Some(0)),
    (MIXED, 39, 635_000, 2_739_725, 1_739_726, Some(0)),
    (MIXED, 40, 635_000, 136_986_300, 86_986_301, Some(0)),
    (MIXED, 41, 635_000, 68_876_711, 43_736_712, Some(0)),
    (MIXED, 42, 635_000, 5_479_451, 3_479_452, Some(0)),
    (MIXED, 43, 635_000, 73_972_601, 46_972_602, Some(0)),
    (MIXED, 44, 635_000, 198_520_546, 126_060_547, Some(0)),
    (MIXED, 45, 635_000, 10_328_766, 6_558_767, Some(0)),
    (MIXED, 46, 635_000, 136_986_300, 86_986_301, Some(0)),
    (MIXED, 47, 635_000, 54_794_519, 34_794_520, Some(0)),
    (MIXED, 48, 635_000, 13_698_629, 8_698_630, Some(0)),
    (MIXED, 49, 635_000, 2_739_725, 1_739_726, Some(0)),
    (FIRST_EXCHANGE, 0, 860_000, 714_285_713, 614_285_714, Some(0)),
    (FIRST_EXCHANGE, 1, 860_000, 20_911_800, 18_060_000, None),
    (FIRST_EXCHANGE, 2, 767_161, 2_536_159_860, 1_959_328_500, None),
    (FIRST_EXCHANGE, 3, 794_650, 2_538_266_120, 2_029_537_300, None),
    (FIRST_EXCHANGE, 4, 790_000, 28_380_951, 22_420_952, Some(0)),
    (FIRST_EXCHANGE, 5, 790_000, 17_714_284, 13_994_285, Some(0)),
    (FIRST_EXCHANGE, 6, 790_000, 11_000_000, 8_690_000, Some(0)),
    (FIRST_EXCHANGE, 7, 800_000, 918_710_000, 734_968_000, Some(0)),
    (FIRST_EXCHANGE, 8, 800_000, 1_635_290_000, 1_308_232_000, Some(0)),
    (FIRST_EXCHANGE, 9, 220_000, 763_690_000, 168_011_800, Some(0)),
];

/// Rows of the trades feed have no cash: it is shares times price, to the nearest micro.
#[rustfmt::skip]
const TRADES: [Expected; 9] = [
    (TRADES_ALL_ROLES, 0, 320_000, 10_294_118, 3_294_118, None),
    (TRADES_ALL_ROLES, 1, 740_000, 199_372_308, 147_535_508, None),
    (TRADES_BARE, 0, 520_000, 22_840_000, 11_876_800, None),
    (TRADES_BARE, 1, 2_000, 5_000_000, 10_000, None),
    (TRADES_V1, 0, 968_535, 30_974_624_038, 29_999_999_997, None),
    (TRADES_V1, 1, 480_000, 40_000_000_000, 19_200_000_000, None),
    (TRADES_V1, 2, 618_873, 30_000_000_000, 18_566_197_191, None),
    (TRADES_V1, 3, 999_000, 64_824_240_000, 64_759_415_760, None),
    (TRADES_V1, 4, 647_825, 25_445_290_000, 16_484_088_501, None),
];

/// File, row, rate of the market, gross cash, fee: fills so large that the printed price leaves the fifth decimal of the
/// fee open until the schedule settles it.
#[rustfmt::skip]
const LARGE: [(&str, usize, i64, i64, i64); 6] = [
    (MIXED, 8, 50_000, 263_323_988_475, 4_552_227_060),
    (MIXED, 9, 50_000, 101_873_731_025, 1_798_054_290),
    (MIXED, 10, 50_000, 565_223_614_750, 15_617_535_260),
    (MIXED, 11, 50_000, 162_866_693_525, 4_502_580_510),
    (MIXED, 13, 50_000, 134_207_144_250, 3_708_430_950),
    (MIXED, 15, 50_000, 74_213_357_625, 1_345_117_100),
];

fn draft(row: &str) -> Option<TradeDraft> {
    let nobody = Wallet::parse(&format!("0x{}", "0".repeat(40))).unwrap();
    let window = Window::of([WireRow::parse(row)], &nobody);
    assert_eq!(window.bad, []);
    window.trades.into_iter().next()
}

fn figures(draft: &TradeDraft) -> (i64, i64, i64, Option<i64>) {
    (draft.price.micros(), draft.shares.0, draft.notional.0, draft.fee.map(|fee| fee.0))
}

#[test]
fn every_recorded_trade_is_read_to_the_micro() {
    for (file, row, price, shares, notional, fee) in ACTIVITY {
        let draft = draft(&activity_rows(file)[row]).unwrap();
        assert_eq!(figures(&draft), (price, shares, notional, fee), "{file} row {row}");
    }
    for (file, row, price, shares, notional, fee) in TRADES {
        let draft = draft(&trade_rows(file)[row]).unwrap();
        assert_eq!(figures(&draft), (price, shares, notional, fee), "{file} row {row}");
    }
}

#[test]
fn no_recorded_trade_is_left_out_of_the_table() {
    for file in [BY_ROLE, UNENRICHED, BY_TYPE, TAKER_SELLS, MIXED, FIRST_EXCHANGE] {
        let in_file = activity_rows(file).iter().filter(|row| draft(row).is_some()).count();
        assert_eq!(in_file, ACTIVITY.iter().filter(|expected| expected.0 == file).count(), "{file}");
    }
    for file in [TRADES_ALL_ROLES, TRADES_BARE, TRADES_V1] {
        assert_eq!(trade_rows(file).len(), TRADES.iter().filter(|expected| expected.0 == file).count(), "{file}");
    }
}

#[test]
fn a_markets_schedule_settles_the_fees_of_the_large_fills() {
    for (file, row, rate_micros, notional, fee) in LARGE {
        let schedule = FeeSchedule { rate_micros, exponent: 1 };
        let settled = draft(&activity_rows(file)[row]).unwrap().with_schedule(schedule);
        assert_eq!((settled.notional.0, settled.fee.unwrap().0), (notional, fee), "{file} row {row}");
    }
    for (file, row, price, shares, notional, fee) in ACTIVITY.into_iter().filter(|row| row.3 <= 100_000_000_000) {
        let schedule = FeeSchedule { rate_micros: 50_000, exponent: 1 };
        let same = draft(&activity_rows(file)[row]).unwrap().with_schedule(schedule);
        assert_eq!(figures(&same), (price, shares, notional, fee), "{file} row {row}");
    }
}
