//! Drawings as inline SVG, in colours of the page's style sheet.

use crate::Page;
use std::fmt::{Display, Write};

/// Of every drawing, in pixels.
pub const WIDTH: f64 = 1000.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 30.0;

/// A plane with a frame, from data to pixels.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// Of the drawing, in pixels.
    pub height: f64,
    /// From where to where the horizontal axis goes.
    pub x: (f64, f64),
    /// The same of the vertical one.
    pub y: (f64, f64),
}

impl Plane {
    /// Pixels from the left.
    pub fn px(&self, x: f64) -> f64 {
        let (a, b) = self.x;
        round(LEFT + (x - a) / (b - a).max(1e-12) * (WIDTH - LEFT - RIGHT))
    }

    /// Pixels from the top.
    pub fn py(&self, y: f64) -> f64 {
        let (a, b) = self.y;
        round(self.height - BOTTOM - (y - a) / (b - a).max(1e-12) * (self.height - TOP - BOTTOM))
    }

    /// Opens the drawing and draws grid lines with their numbers.
    pub fn open(&self, page: &mut Page, title: &str, x_label: &str) {
        let view = format!("0 0 {WIDTH} {}", self.height);
        page.open("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &title)]);
        for y in ticks(self.y) {
            let at = self.py(y);
            page.open("line", &[("class", &"grid"), ("x1", &LEFT), ("x2", &(WIDTH - RIGHT)), ("y1", &at), ("y2", &at)]);
            page.close("line");
            page.element("text", &[("x", &(LEFT - 8.0)), ("y", &(at + 4.0)), ("text-anchor", &"end")], short(y));
        }
        for x in ticks(self.x) {
            let place: [(&str, &dyn Display); 3] =
                [("x", &self.px(x)), ("y", &(self.height - BOTTOM + 16.0)), ("text-anchor", &"middle")];
            page.element("text", &place, short(x));
        }
        let place: [(&str, &dyn Display); 3] =
            [("x", &(WIDTH - RIGHT)), ("y", &(self.height - 2.0)), ("text-anchor", &"end")];
        page.element("text", &place, x_label);
    }

    /// Closes the drawing.
    pub fn close(&self, page: &mut Page) {
        page.close("svg").raw("\n");
    }

    /// A line through points; those that are not finite interrupt it.
    pub fn line(&self, page: &mut Page, class: &dyn Display, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        let mut pen = 'M';
        for (x, y) in points {
            if !y.is_finite() {
                pen = 'M';
                continue;
            }
            let _ = write!(path, "{pen}{} {}", self.px(x), self.py(y));
            pen = 'L';
        }
        page.open("path", &[("class", class), ("d", &path)]).close("path");
    }

    /// Dots; those that are not finite are left out.
    pub fn dots(&self, page: &mut Page, class: &dyn Display, points: impl IntoIterator<Item = (f64, f64)>) {
        for (x, y) in points.into_iter().filter(|p| p.1.is_finite()) {
            page.open("circle", &[("class", class), ("cx", &self.px(x)), ("cy", &self.py(y)), ("r", &"3.5")]);
            page.close("circle");
        }
    }
}

/// About five round numbers inside a range.
fn ticks((from, to): (f64, f64)) -> Vec<f64> {
    let rough = ((to - from) / 5.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(power);
    let first = (from / step).ceil() as i64;
    let last = (to / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// To a tenth of a pixel.
pub fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// A number with as many digits as a tick needs.
fn short(x: f64) -> String {
    let text = format!("{x:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The range of some values with a little air; 0 to 1 of none.
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let air = (0.06 * (high - low)).max(0.01);
    (low - air, high + air)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_interrupts_a_line_and_is_no_dot() {
        let plane = Plane { height: 100.0, x: (0.0, 3.0), y: (0.0, 1.0) };
        let points = [(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 0.5)];
        let mut page = Page::default();
        plane.open(&mut page, "A \"title\"", "steps");
        plane.line(&mut page, &"line", points);
        plane.dots(&mut page, &"point", points);
        plane.close(&mut page);
        let drawn = page.close_document("");
        assert!(drawn.contains("d=\"M52 70L363.3 14M986 42\""), "{drawn}");
        assert_eq!(drawn.matches("<circle").count(), 3);
        assert!(drawn.contains("A &quot;title&quot;") && !drawn.contains("NaN"), "{drawn}");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks((0.0, 600.0)), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(range([].into_iter()), (0.0, 1.0));
    }
}
