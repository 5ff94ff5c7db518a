//! Columns and bars as SVG attributes, because the content policy allows no inline styles and templates do no
//! arithmetic.

use serde::Serialize;

/// The size of the SVG view box, which the page stretches to the available space.
pub const WIDTH: i64 = 1_000;
pub const HEIGHT: i64 = 100;
/// The gap beside a column, in tenths of the space of a column.
const GAP_TENTHS: i64 = 2;
/// The narrowest bar.
const SLIVER: i64 = 4;

/// The count of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub n: i64,
    /// `worse`, `better` or empty.
    pub tone: &'static str,
    /// The text of its tooltip, before its count.
    pub label: String,
}

/// A column with its place in the view box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Column {
    /// The count.
    pub n: i64,
    /// `worse`, `better` or empty.
    pub tone: &'static str,
    /// The text of the tooltip.
    pub label: String,
    /// The left edge in the view box.
    pub x: i64,
    /// The upper edge in the view box.
    pub y: i64,
    /// The width in the view box.
    pub width: i64,
    /// The height in the view box.
    pub height: i64,
}

/// Draws columns. The highest fills the view box; a count above zero is at least one high.
pub fn columns(counts: impl IntoIterator<Item = Counted>) -> Vec<Column> {
    let counts: Vec<Counted> = counts.into_iter().collect();
    let places = i64::try_from(counts.len()).unwrap_or(i64::MAX).max(1);
    let most = counts.iter().map(|counted| counted.n).max().unwrap_or(0).max(1);
    let place = WIDTH / places;
    let draw = |(at, Counted { n, tone, label }): (usize, Counted)| {
        let height = part_of(n, most, HEIGHT);
        let x = i64::try_from(at).unwrap_or(0).saturating_mul(WIDTH) / places;
        let width = (place - place * GAP_TENTHS / 10).max(1);
        Column { n, tone, label, x, y: HEIGHT - height, width, height }
    };
    counts.into_iter().enumerate().map(draw).collect()
}

/// Returns the part of `length` that stands for `n` of `most`: at least 1 if `n` is above zero, and at most `length`.
pub fn part_of(n: i64, most: i64, length: i64) -> i64 {
    if n <= 0 || most <= 0 {
        return 0;
    }
    let part = i128::from(n) * i128::from(length) / i128::from(most);
    i64::try_from(part).unwrap_or(length).clamp(1, length)
}

/// Returns the width of a bar that stands for `part` of `whole`: wide enough to be seen if `part` is above zero.
pub fn bar(part: i64, whole: i64) -> i64 {
    let width = part_of(part, whole, WIDTH);
    if width > 0 { width.max(SLIVER) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_column_fills_the_box_and_a_count_of_one_is_still_visible() {
        let counted = |n| Counted { n, tone: "", label: String::new() };
        let drawn = columns([0, 1, 500, 1_000].map(counted));
        let shape = |column: &Column| (column.x, column.y, column.width, column.height);
        assert_eq!(
            drawn.iter().map(shape).collect::<Vec<_>>(),
            [(0, 100, 200, 0), (250, 99, 200, 1), (500, 50, 200, 50), (750, 0, 200, 100)]
        );
        assert!(columns([]).is_empty());
        assert_eq!([part_of(i64::MAX, 1, 100), part_of(-1, 5, 100), part_of(1, 0, 100)], [100, 0, 0]);
    }

    #[test]
    fn a_bar_is_never_longer_than_the_box_and_never_invisible() {
        for (part, whole, width) in [
            (0, 10, 0),
            (-1, 10, 0),
            (1, 0, 0),
            (5, 10, 500),
            (10, 10, 1_000),
            (11, 10, 1_000),
            (1, i64::MAX, 4),
            (i64::MAX, 1, 1_000),
        ] {
            assert_eq!(bar(part, whole), width, "{part} of {whole}");
        }
    }
}
