//! Walking the book (spec section 7.6).

use serde::{Deserialize, Serialize};

use super::units::{PriceMicros, ShareMicros, UsdcMicros};

/// What one level gave: an `executable_fill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelFill {
    pub price: PriceMicros,
    pub shares: ShareMicros,
    /// Cost rounded up, or proceeds rounded down, of this level alone.
    pub notional: UsdcMicros,
}
