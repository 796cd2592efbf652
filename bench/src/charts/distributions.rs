//! How the samples of each phase are distributed.

use anyhow::Result;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{
    Chart,
    canvas::{self, Area, INK, LARGE, SMALL, colour},
};
use crate::report::{Measurement, Report, Row};

const COLUMNS: usize = 2;
const ROW_HEIGHT: u32 = 250;

/// One panel for each phase: the share of pods for which it took no longer than so many milliseconds.
pub(super) fn draw(report: &Report) -> Result<Option<Chart>> {
    let rows: Vec<&Row> =
        report.phases.iter().filter(|row| row.by_handler.iter().any(|one| one.figures.is_some())).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let lines = rows.len().div_ceil(COLUMNS);
    let height = 40 + ROW_HEIGHT * u32::try_from(lines)?;
    let title = "Distribution of each phase";
    let description = "For each phase the share of pods, in per cent, for which it took no longer than so many milliseconds. \
                       Further left is faster; a steep line is a steady one. The slowest hundredth is cut off.";
    canvas::draw("distributions", title, description, height, |area| {
        let names: Vec<_> = report.subjects().into_iter().enumerate().map(|(n, name)| (name, colour(n))).collect();
        let top = canvas::legend(area, &names)?;
        let (_, below) = area.split_vertically(top);
        let panels = below.split_evenly((lines, COLUMNS));
        panels.iter().zip(rows).try_for_each(|(panel, row)| self::panel(panel, row))
    })
}

fn panel(area: &Area<'_>, row: &Row) -> Result<()> {
    let figures = row.by_handler.iter().filter_map(|one| one.figures);
    let longest = figures.map(|figures| figures.p99_us / 1000.0).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(20)
        .caption(row.phase, canvas::text(LARGE, HPos::Left, VPos::Top))
        .x_label_area_size(44)
        .y_label_area_size(54)
        .build_cartesian_2d(0.0..longest * 1.02, 0.0..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.12))
        .axis_style(INK.mix(0.5))
        .x_labels(7)
        .y_labels(5)
        .x_desc("milliseconds")
        .x_label_formatter(&|millis| super::lines::number(*millis))
        .y_label_formatter(&|share| format!("{share:.0} %"))
        .label_style(canvas::text(SMALL, HPos::Left, VPos::Top))
        .axis_desc_style(canvas::text(SMALL, HPos::Left, VPos::Top))
        .draw()?;
    for (number, one) in row.by_handler.iter().enumerate() {
        chart.draw_series(LineSeries::new(steps(one, longest), colour(number).stroke_width(2)))?;
    }
    Ok(())
}

/// The cumulative distribution as a line of steps, up to the `longest`.
fn steps(measurement: &Measurement, longest: f64) -> Vec<(f64, f64)> {
    let mut samples: Vec<f64> = measurement.samples_us.iter().map(|micros| micros / 1000.0).collect();
    samples.sort_unstable_by(f64::total_cmp);
    let share = |count: usize| 100.0 * count as f64 / samples.len() as f64;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (number, millis) in samples.iter().enumerate().take_while(|(_, millis)| **millis <= longest) {
        points.extend([(*millis, share(number)), (*millis, share(number + 1))]);
    }
    // A line that goes on has more samples beyond the edge.
    if let Some((_, last)) = points.last().copied().filter(|(_, last)| *last < 100.0) {
        points.push((longest, last));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_climbs_by_one_share_at_each_sample_and_ends_at_the_edge() {
        let measurement = Measurement {
            handler: "x".to_owned(),
            figures: None,
            ratio: None,
            histogram: Vec::new(),
            samples_us: vec![2000.0, 1000.0, 9000.0, 3000.0],
        };
        let found = steps(&measurement, 4.0);
        assert_eq!(found.first(), Some(&(1.0, 0.0)));
        assert_eq!(found.last(), Some(&(4.0, 75.0)));
        assert!(found.is_sorted());
    }
}
