//! How latency grows: with the pods that start at once, and with those that are there already.

use anyhow::Result;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{
    Chart,
    canvas::{self, Area, INK, SMALL, colour},
};
use crate::{
    cycle::Phase,
    histogram::Figures,
    report::{Measurement, Report},
};

const HEIGHT: u32 = 340;

/// A series: pods, and milliseconds at the median and at the 90th percentile.
type Points = Vec<(f64, f64, f64)>;

/// The start of a pod by how many are started at once.
pub(super) fn at_once(report: &Report) -> Result<Option<Chart>> {
    let whole = report.phases.iter().find(|row| row.phase == Phase::PodAndContainers.name());
    let series = (0..report.handlers.len()).map(|handler| {
        let figures = |measurements: &[Measurement]| measurements.get(handler).and_then(|one| one.figures);
        // One alone has been measured in the rounds, unless it was asked for here.
        let alone = whole.filter(|_| report.at_once.iter().all(|step| step.pods > 1));
        let alone = alone.and_then(|row| Some(point(1, figures(&row.by_handler)?)));
        let more = report.at_once.iter().filter_map(|step| Some(point(step.pods, figures(&step.pod)?)));
        alone.into_iter().chain(more).collect()
    });
    let description = "How long a pod with its containers takes to start, at the median, by how many start at the same time; \
                       the bars end at the 90th percentile.";
    draw(report, ("at-once", "Start of a pod, by pods at once", description), "pods at once", series.collect())
}

/// The start of a pod by how many are present.
pub(super) fn present(report: &Report) -> Result<Option<Chart>> {
    let series = (0..report.handlers.len()).map(|handler| {
        let steps = report.present.iter().filter_map(|step| {
            let whole = step.phases.iter().find(|row| row.phase == Phase::PodAndContainers.name())?;
            Some(point(step.pods, whole.by_handler.get(handler)?.figures?))
        });
        steps.collect()
    });
    let description = "How long a pod with its containers takes to start, at the median, by how many pods of the same handler \
                       are there already; the bars end at the 90th percentile.";
    draw(report, ("present", "Start of a pod, by pods present", description), "pods present", series.collect())
}

fn point(pods: u32, figures: Figures) -> (f64, f64, f64) {
    (f64::from(pods), figures.p50_us / 1000.0, figures.p90_us / 1000.0)
}

fn draw(
    report: &Report,
    (name, title, description): (&str, &str, &str),
    along: &str,
    mut series: Vec<Points>,
) -> Result<Option<Chart>> {
    // Of one point no line can be drawn.
    if series.iter().all(|points| points.len() < 2) {
        return Ok(None);
    }
    series.iter_mut().for_each(|points| points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    canvas::draw(name, title, description, HEIGHT, |area| {
        let names: Vec<_> =
            report.handlers.iter().enumerate().map(|(n, handler)| (handler.name.clone(), colour(n))).collect();
        let top = canvas::legend(area, &names)?;
        plot(&area.split_vertically(top).1, along, &series)
    })
}

fn plot(area: &Area<'_>, along: &str, series: &[Points]) -> Result<()> {
    let all = || series.iter().flatten();
    let most = all().map(|point| point.0).fold(0.0, f64::max);
    let longest = all().map(|point| point.2).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(46)
        .y_label_area_size(74)
        .build_cartesian_2d(0.0..most * 1.02, 0.0..longest * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.12))
        .axis_style(INK.mix(0.5))
        .x_labels(9)
        .y_labels(7)
        .x_desc(along)
        .y_desc("milliseconds")
        .x_label_formatter(&|pods| number(*pods))
        .y_label_formatter(&|millis| number(*millis))
        .label_style(canvas::text(SMALL, HPos::Left, VPos::Top))
        .axis_desc_style(canvas::text(SMALL, HPos::Left, VPos::Top))
        .draw()?;
    for (number, points) in series.iter().enumerate() {
        let colour = colour(number);
        chart
            .draw_series(LineSeries::new(points.iter().map(|(pods, p50, _)| (*pods, *p50)), colour.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|(pods, p50, _)| Circle::new((*pods, *p50), 3, colour.filled())))?;
        chart.draw_series(points.iter().map(|(pods, p50, p90)| {
            PathElement::new(vec![(*pods, *p50), (*pods, *p90)], colour.mix(0.6).stroke_width(1))
        }))?;
    }
    Ok(())
}

/// As short as it can be said.
pub(super) fn number(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_an_axis_have_no_more_digits_than_they_need() {
        assert_eq!([0.0, 20.0, 2.5, 0.25].map(number), ["0", "20", "2.5", "0.25"]);
    }
}
