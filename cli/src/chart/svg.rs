//! A chart as a picture.

use std::fmt::Write as _;

use super::{Chart, Sign, What};

const WIDTH: f64 = 1000.0;
/// Where the axis begins and ends.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 970.0;
const TOP: f64 = 84.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;

/// Draws a chart as a document of its own.
pub(crate) fn draw(chart: &Chart) -> String {
    let rows = u32::try_from(chart.rows.len() + 1).unwrap_or(u32::MAX);
    let bottom = TOP + ROW * f64::from(rows);
    let height = bottom + 56.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, RIGHT, 32.0, "#59636e", "text-anchor=\"end\" font-style=\"italic\"", "quiet times are drawn short");
    text(&mut svg, 20.0, 32.0, "#1f2328", "font-size=\"17\" font-weight=\"bold\"", &chart.title);
    axis(&mut svg, chart, bottom);
    phases(&mut svg, chart);
    let mut top = TOP + ROW;
    for row in &chart.rows {
        let name = if row.role.is_empty() { row.name.clone() } else { format!("{} ({})", row.name, row.role) };
        text(&mut svg, LEFT - 12.0, top + BAR - 4.0, "#1f2328", "text-anchor=\"end\"", &cut(&name, 27));
        for span in &row.spans {
            let (from, until) = (x(chart, span.from), x(chart, span.until));
            let fill = match span.what {
                What::Waits => "#d9dee4",
                What::Runs => "#3fa66b",
                What::BacksOff => "#f0c24b",
                What::Phase => continue,
            };
            // A bar that waits is lower than one that runs: it can be told without its colour.
            let (lower, bar) = if span.what == What::Runs { (0.0, BAR) } else { (5.0, BAR - 10.0) };
            let lasts = super::length(span.until - span.from);
            rectangle(
                &mut svg,
                (from, top + lower, (until - from).max(2.0), bar),
                fill,
                &format!("{}: {lasts}", span.text),
            );
        }
        row.marks.iter().for_each(|mark| sign(&mut svg, x(chart, mark.at), top, mark.sign, &mark.text));
        top += ROW;
    }
    legend(&mut svg, bottom + 34.0);
    svg.push_str("</svg>\n");
    svg
}

fn x(chart: &Chart, at: f64) -> f64 {
    LEFT + chart.place(at) * (RIGHT - LEFT)
}

fn axis(svg: &mut String, chart: &Chart, bottom: f64) {
    for (place, label) in chart.ticks(64.0 / (RIGHT - LEFT)) {
        let at = LEFT + place * (RIGHT - LEFT);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\" stroke=\"#e6e9ed\"/>",
            TOP - 14.0
        );
        text(svg, at, TOP - 20.0, "#59636e", "text-anchor=\"middle\"", &label);
    }
}

fn phases(svg: &mut String, chart: &Chart) {
    text(svg, LEFT - 12.0, TOP + BAR - 4.0, "#59636e", "text-anchor=\"end\"", "phase");
    for (number, phase) in chart.phases.iter().enumerate() {
        let (fill, ink) = match phase.text.as_str() {
            "Running" => ("#cfe8d8", "#1d5c38"),
            "Succeeded" => ("#3fa66b", "#ffffff"),
            "Failed" => ("#c9372c", "#ffffff"),
            _ => ("#e6e9ed", "#454c54"),
        };
        let (from, until) = (x(chart, phase.from), x(chart, phase.until));
        let width = (until - from).max(3.0);
        rectangle(svg, (from, TOP, width, BAR), fill, &phase.text);
        // Seven units are about what a letter takes at this size.
        let letters = f64::from(u32::try_from(phase.text.chars().count()).unwrap_or(0));
        if letters * 6.6 + 8.0 <= width {
            text(svg, from + 6.0, TOP + BAR - 5.0, ink, "", &phase.text);
        } else if number + 1 == chart.phases.len() {
            text(svg, from - 4.0, TOP + BAR - 5.0, "#454c54", "text-anchor=\"end\" font-weight=\"bold\"", &phase.text);
        }
    }
}

fn sign(svg: &mut String, at: f64, top: f64, sign: Sign, title: &str) {
    let middle = top + BAR / 2.0;
    let title = escaped(title);
    let shape = match sign {
        Sign::Succeeded => format!(
            "<circle cx=\"{at:.1}\" cy=\"{middle:.1}\" r=\"5\" fill=\"#ffffff\" stroke=\"#1d5c38\" stroke-width=\"2.5\">"
        ),
        Sign::Failed => format!(
            "<path d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\" stroke=\"#c9372c\" stroke-width=\"3\" fill=\"none\">",
            at - 5.0,
            middle - 5.0
        ),
        Sign::Signal => format!("<path d=\"M{:.1} {:.1}l5 9l5 -9z\" fill=\"#8250df\">", at - 5.0, top - 8.0),
        Sign::Warning => format!("<path d=\"M{:.1} {:.1}l6 -10l6 10z\" fill=\"#d4820a\">", at - 6.0, top + BAR + 6.0),
        Sign::Healthy => format!(
            "<path d=\"M{:.1} {:.1}l5 -9l5 9z\" fill=\"#ffffff\" stroke=\"#1d5c38\" stroke-width=\"1.5\">",
            at - 5.0,
            middle + 4.5
        ),
        Sign::Unhealthy => format!(
            "<path d=\"M{:.1} {:.1}l5 9l5 -9z\" fill=\"#ffffff\" stroke=\"#c9372c\" stroke-width=\"1.5\">",
            at - 5.0,
            middle - 4.5
        ),
        Sign::Note => {
            format!("<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"2\" height=\"{BAR}\" fill=\"#1f2328\">", at - 1.0)
        }
    };
    let element = shape.trim_start_matches('<').split(' ').next().unwrap_or("path").to_owned();
    let _ = writeln!(svg, "{shape}<title>{title}</title></{element}>");
}

fn legend(svg: &mut String, y: f64) {
    let mut at = 20.0;
    for (what, fill, label) in
        [(What::Waits, "#d9dee4", "waits"), (What::Runs, "#3fa66b", "runs"), (What::BacksOff, "#f0c24b", "back-off")]
    {
        let (lower, bar) = if what == What::Runs { (0.0, BAR) } else { (5.0, BAR - 10.0) };
        rectangle(svg, (at, y - 14.0 + lower, 22.0, bar), fill, label);
        text(svg, at + 28.0, y, "#59636e", "", label);
        at += 48.0 + 7.0 * f64::from(u32::try_from(label.len()).unwrap_or(0));
    }
    for (one, label) in [
        (Sign::Succeeded, "exited with 0"),
        (Sign::Failed, "failed"),
        (Sign::Signal, "signal"),
        (Sign::Healthy, "probe succeeds"),
        (Sign::Unhealthy, "probe fails"),
        (Sign::Warning, "warning"),
    ] {
        let top = if one == Sign::Warning {
            y - 20.0
        } else if one == Sign::Signal {
            y - 2.0
        } else {
            y - 13.0
        };
        sign(svg, at + 8.0, top, one, label);
        text(svg, at + 22.0, y, "#59636e", "", label);
        at += 42.0 + 7.0 * f64::from(u32::try_from(label.len()).unwrap_or(0));
    }
}

fn rectangle(svg: &mut String, (x, y, width, height): (f64, f64, f64, f64), fill: &str, title: &str) {
    let title = escaped(title);
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"{fill}\"><title>{title}</title></rect>"
    );
}

pub(crate) fn text(svg: &mut String, x: f64, y: f64, fill: &str, more: &str, content: &str) {
    let content = escaped(content);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{fill}\" {more}>{content}</text>");
}

pub(crate) fn cut(name: &str, letters: usize) -> String {
    match name.char_indices().nth(letters) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

/// Text that is no markup; what XML forbids is left out.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() && c != '\n' && c != '\t' => {}
            c => safe.push(c),
        }
    }
    safe
}
