//! Plots as SVG: lines over an axis with round numbers. What a report needs, and no more.

use std::fmt::Write as _;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 40.0;
/// Distinct for people who do not see all colours.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// A line of a plot.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

impl Series {
    pub fn new(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points
            .into_iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .collect();
        Self {
            name: name.to_owned(),
            points,
        }
    }
}

/// The step between marks that gives about five of them: 1, 2 or 5 with zeros.
fn step(span: f64) -> f64 {
    let rough = (span / 5.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= rough * 0.999)
        .unwrap_or(10.0);
    factor * power
}

fn number(value: f64) -> String {
    let text = if value.abs() >= 1e6 {
        format!("{:.1}M", value / 1e6)
    } else if value.abs() >= 1e4 {
        format!("{:.0}k", value / 1e3)
    } else {
        format!("{value:.3}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Text that may stand in HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A plot; empty where no series has two points.
pub fn lines(title: &str, x_name: &str, y_name: &str, series: &[Series]) -> String {
    let drawn: Vec<&Series> = series.iter().filter(|s| s.points.len() > 1).collect();
    if drawn.is_empty() {
        return String::new();
    }
    let all = || drawn.iter().flat_map(|series| &series.points);
    let (mut x_min, mut x_max, mut y_max) = (f64::MAX, f64::MIN, 0.0_f64);
    for &(x, y) in all() {
        x_min = x_min.min(x);
        x_max = x_max.max(x);
        y_max = y_max.max(y);
    }
    let y_step = step(if y_max > 0.0 { y_max } else { 1.0 });
    let y_max = (y_max / y_step).ceil().max(1.0) * y_step;
    let x_step = step((x_max - x_min).max(1e-9));
    let x_at = |x: f64| LEFT + (x - x_min) / (x_max - x_min).max(1e-9) * (WIDTH - LEFT - RIGHT);
    let y_at = |y: f64| HEIGHT - BOTTOM - y / y_max * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><text class=\"t\" x=\"{LEFT}\" y=\"14\">{0}</text>",
        escape(title)
    );
    let mut y = 0.0;
    while y <= y_max * 1.001 {
        let at = y_at(y);
        let _ = write!(
            svg,
            "<line class=\"g\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            number(y)
        );
        y += y_step;
    }
    let mut x = (x_min / x_step).ceil() * x_step;
    while x <= x_max + x_step * 1e-6 {
        let _ = write!(
            svg,
            "<text class=\"x\" x=\"{:.1}\" y=\"{}\">{}</text>",
            x_at(x),
            HEIGHT - BOTTOM + 16.0,
            number(x)
        );
        x += x_step;
    }
    let _ = write!(
        svg,
        "<text class=\"x\" x=\"{}\" y=\"{}\">{}</text><text class=\"n\" x=\"4\" y=\"26\">{}</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 6.0,
        escape(x_name),
        escape(y_name)
    );
    for (series, n) in drawn.iter().zip(0..) {
        let colour = COLOURS[n % COLOURS.len()];
        let points: Vec<String> = series
            .points
            .iter()
            .map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(y)))
            .collect();
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"/>",
            points.join(" ")
        );
        let _ = write!(
            svg,
            "<text class=\"l\" fill=\"{colour}\" x=\"{}\" y=\"{}\">{}</text>",
            WIDTH - RIGHT,
            TOP - 4.0 + 13.0 * n as f64,
            escape(&series.name)
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers() {
        for (span, wanted) in [
            (5.0, 1.0),
            (9.0, 2.0),
            (23.0, 5.0),
            (1000.0, 200.0),
            (0.03, 0.01),
        ] {
            assert!((step(span) - wanted).abs() < 1e-9, "{span}: {}", step(span));
        }
        assert_eq!(number(2.50), "2.5");
        assert_eq!(number(1500.0), "1500");
        assert_eq!(number(30_000.0), "30k");
        assert_eq!(number(0.0), "0");
    }

    #[test]
    fn a_plot_has_its_points_in_its_frame_and_safe_text() {
        let series = Series::new("a<b", [(0.0, 0.0), (10.0, 50.0), (20.0, f64::NAN)]);
        assert_eq!(series.points.len(), 2);
        let svg = lines("T", "s", "ms", &[series]);
        assert!(svg.contains("62.0,220.0 548.0,30.0"), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert_eq!(lines("T", "s", "ms", &[Series::new("x", [(1.0, 1.0)])]), "");
    }
}
