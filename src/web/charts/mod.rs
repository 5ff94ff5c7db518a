//! What charts and histograms draw.

pub(super) mod curves;
pub(super) mod distributions;
pub(super) mod histogram;
pub(super) mod ladder;
pub(super) mod series;
