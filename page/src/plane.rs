//! Drawings as inline SVG, in colours of the page's style sheet.
//!
//! A drawing has no size of its own: positions are percentages of its box, so it is as wide as the page allows, and its text keeps
//! the size that the style sheet sets. Paths cannot use percentages; they lie in an inner drawing that is stretched, with stroke
//! widths that are not.

use crate::Page;
use std::fmt::{Display, Write};

/// Plane with a frame that maps data to positions on the page.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// Height of the drawing, in pixels.
    pub height: f64,
    /// Range of the horizontal axis.
    pub x: (f64, f64),
    /// Range of the vertical axis.
    pub y: (f64, f64),
}

/// Shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Disc.
    Dot,
    /// Square.
    Square,
}

/// Side of a square and diameter of a disc, in pixels.
const SIZE: f64 = 9.0;

impl Plane {
    /// Horizontal position in per cent from the left.
    pub fn px(&self, x: f64) -> f64 {
        let (a, b) = self.x;
        round(100.0 * (x - a) / (b - a).max(1e-12))
    }

    /// Vertical position in per cent from the top.
    pub fn py(&self, y: f64) -> f64 {
        let (a, b) = self.y;
        round(100.0 - 100.0 * (y - a) / (b - a).max(1e-12))
    }

    /// Opens the drawing and draws grid lines with their numbers.
    pub fn open(&self, page: &mut Page, title: &str, x_label: &str) {
        let x: Vec<(f64, String)> = ticks(self.x).into_iter().map(|x| (x, short(x))).collect();
        self.open_with(page, title, (x_label, ""), &x);
    }

    /// Opens the drawing with names of both axes and the given numbers along the horizontal axis.
    pub fn open_with(&self, page: &mut Page, title: &str, (x_label, y_label): (&str, &str), x: &[(f64, String)]) {
        page.open("svg", &[("class", &"plane"), ("height", &self.height), ("role", &"group"), ("aria-label", &title)]);
        for y in ticks(self.y) {
            let at = Percent(self.py(y));
            let class = if y == 0.0 { "grid zero" } else { "grid" };
            page.open("line", &[("class", &class), ("x1", &"0"), ("x2", &"100%"), ("y1", &at), ("y2", &at)])
                .close("line");
            page.element("text", &[("x", &-8), ("y", &at), ("dy", &4), ("text-anchor", &"end")], short(y));
        }
        for (x, name) in x {
            let place: [(&str, &dyn Display); 4] =
                [("x", &Percent(self.px(*x))), ("y", &"100%"), ("dy", &16), ("text-anchor", &"middle")];
            page.element("text", &place, name);
        }
        let below: [(&str, &dyn Display); 4] = [("x", &"100%"), ("y", &"100%"), ("dy", &31), ("text-anchor", &"end")];
        page.element("text", &below, x_label);
        if !y_label.is_empty() {
            page.element("text", &[("x", &-40), ("y", &0), ("dy", &-10)], y_label);
        }
    }

    /// Closes the drawing.
    pub fn close(&self, page: &mut Page) {
        page.close("svg").raw("\n");
    }

    /// Draws a line through points; points that are not finite interrupt it.
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
        self.path(page, class, &path);
    }

    /// Draws a curve from one point to another, flat at its ends.
    pub fn bow(&self, page: &mut Page, class: &dyn Display, from: (f64, f64), to: (f64, f64)) {
        let (ax, ay, bx, by) = (self.px(from.0), self.py(from.1), self.px(to.0), self.py(to.1));
        let middle = round((ax + bx) / 2.0);
        self.path(page, class, &format!("M{ax} {ay}C{middle} {ay} {middle} {by} {bx} {by}"));
    }

    fn path(&self, page: &mut Page, class: &dyn Display, path: &str) {
        page.open("svg", &[("viewBox", &"0 0 100 100"), ("preserveAspectRatio", &"none")]);
        page.open("path", &[("class", class), ("d", &path)]).close("path").close("svg");
    }

    /// Draws dots; points that are not finite are left out.
    pub fn dots(&self, page: &mut Page, class: &dyn Display, points: impl IntoIterator<Item = (f64, f64)>) {
        for at in points.into_iter().filter(|p| p.1.is_finite()) {
            self.point(page, class, Shape::Dot, at, "");
        }
    }

    /// Draws a point, with a title if that is not empty.
    pub fn point(&self, page: &mut Page, class: &dyn Display, shape: Shape, (x, y): (f64, f64), title: &str) {
        let (x, y) = (Percent(self.px(x)), Percent(self.py(y)));
        let name = match shape {
            Shape::Dot => {
                page.open("circle", &[("class", class), ("cx", &x), ("cy", &y), ("r", &(SIZE / 2.0))]);
                "circle"
            }
            Shape::Square => {
                let middle = format!("translate(-{0} -{0})", SIZE / 2.0);
                let place: [(&str, &dyn Display); 3] = [("class", class), ("x", &x), ("y", &y)];
                let size: [(&str, &dyn Display); 3] = [("width", &SIZE), ("height", &SIZE), ("transform", &middle)];
                page.open("rect", &[place, size].concat());
                "rect"
            }
        };
        if !title.is_empty() {
            page.element("title", &[], title);
        }
        page.close(name);
    }

    /// Draws a name beside a point: to its right in the left half, else to its left.
    pub fn label(&self, page: &mut Page, class: &dyn Display, (x, y): (f64, f64), text: impl Display) {
        let at = self.px(x);
        let (dx, anchor) = if at > 50.0 { (-9, "end") } else { (9, "start") };
        let place: [(&str, &dyn Display); 6] = [
            ("class", class),
            ("x", &Percent(at)),
            ("y", &Percent(self.py(y))),
            ("dx", &dx),
            ("dy", &4),
            ("text-anchor", &anchor),
        ];
        page.element("text", &place, text);
    }

    /// Decides which names fit beside their points without overlap, earlier names first, in a drawing of `width` pixels.
    pub fn room(&self, width: f64, names: &[((f64, f64), usize)]) -> Vec<bool> {
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        let mut free = |&((x, y), letters): &((f64, f64), usize)| {
            let (at, y) = (self.px(x) / 100.0 * width, self.py(y) / 100.0 * self.height);
            let long = 6.4 * letters as f64 + 12.0;
            let (from, to) = if self.px(x) > 50.0 { (at - long, at) } else { (at, at + long) };
            let fits = taken.iter().all(|(a, b, other)| to < *a || from > *b || (y - other).abs() > 13.0);
            if fits {
                taken.push((from, to, y));
            }
            fits
        };
        names.iter().map(&mut free).collect()
    }
}

/// Percentage, displayed as `12.5%`.
struct Percent(f64);

impl Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// About five round numbers within a range.
fn ticks((from, to): (f64, f64)) -> Vec<f64> {
    let rough = ((to - from) / 5.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(power);
    let first = (from / step).ceil() as i64;
    let last = (to / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// Rounds to hundredths, less than a pixel in the widest drawing.
pub fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// Formats a number with as many digits as a tick needs.
fn short(x: f64) -> String {
    if x.abs() >= 1e4 {
        return crate::big(x);
    }
    let text = format!("{x:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Range of some values with a small margin; 0 to 1 if there are none.
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
        assert!(drawn.contains("d=\"M0 100L33.33 0M100 50\""), "{drawn}");
        assert_eq!(drawn.matches("<circle").count(), 3);
        assert!(drawn.contains("A &quot;title&quot;") && !drawn.contains("NaN"), "{drawn}");
    }

    #[test]
    fn names_that_would_lie_on_others_have_no_room() {
        let plane = Plane { height: 100.0, x: (0.0, 1.0), y: (0.0, 1.0) };
        let names = [((0.0, 0.5), 20), ((0.3, 0.52), 20), ((0.3, 0.8), 20), ((0.9, 0.5), 5)];
        assert_eq!(plane.room(300.0, &names), [true, false, true, true]);
        assert_eq!(plane.room(1000.0, &names), [true; 4]);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks((0.0, 600.0)), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(range([].into_iter()), (0.0, 1.0));
    }
}
