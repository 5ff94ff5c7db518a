//! Charts, histograms and the order book ladder, as integers that a script or an SVG draws.

pub(super) mod curves;
pub(super) mod distributions;
pub(super) mod histogram;
pub(super) mod ladder;
pub(super) mod series;
