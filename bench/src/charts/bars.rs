//! Bars that are made of parts: of what a pod's life consists, and its memory.

use anyhow::Result;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{
    Chart,
    canvas::{self, Area, INK, SMALL, WIDTH, colour},
};
use crate::{cycle::Phase, report::Report, table::millis};

const BAR: u32 = 38;
/// Room for names before the bars and for totals behind them.
const NAMES: i32 = 110;
const TOTALS: i32 = 100;

/// A bar: its name, its parts, and what stands behind it.
struct Bar {
    name: String,
    parts: Vec<f64>,
    total: String,
}

/// Medians of the phases, one behind the other, for each handler.
pub(super) fn phases(report: &Report) -> Result<Option<Chart>> {
    // The sum of others is not one of the parts.
    let rows: Vec<_> = report.phases.iter().filter(|row| row.phase != Phase::PodAndContainers.name()).collect();
    let bar = |(number, name): (usize, String)| {
        let figures = |row: &&crate::report::Row| row.by_handler.get(number).and_then(|one| one.figures);
        let parts: Vec<f64> =
            rows.iter().map(|row| figures(row).map_or(0.0, |figures| figures.p50_us / 1000.0)).collect();
        Bar { name, total: format!("{} ms", millis(parts.iter().sum::<f64>() * 1000.0)), parts }
    };
    let bars: Vec<Bar> = report.subjects().into_iter().enumerate().map(bar).collect();
    let parts = rows.iter().map(|row| row.phase.to_owned()).collect();
    let description =
        "Median of each phase of the life of a pod and one of its containers, one behind the other, in milliseconds.";
    stacked("phases", "The phases of a pod's life", description, "milliseconds", parts, &bars)
}

/// PSS of an idle pod's processes, for each handler.
pub(super) fn memory(report: &Report) -> Result<Option<Chart>> {
    let bar = |memory: &crate::report::Memory| {
        let idle = memory.median?;
        let parts = vec![idle.shim_pss_kib as f64, idle.sandbox_pss_kib as f64];
        Some(Bar { name: memory.handler.clone(), parts, total: format!("{} KiB", idle.pss_kib()) })
    };
    let bars: Vec<Bar> = report.memory.iter().filter_map(bar).collect();
    let parts = vec!["shim".to_owned(), "sandbox's process".to_owned()];
    let description = "Proportional memory (PSS) of an idle pod beside its containers: its shim, and the process that holds its \
                       namespaces. The median pod of several, in KiB.";
    stacked("memory", "Memory of an idle pod", description, "KiB (PSS)", parts, &bars)
}

fn stacked(
    name: &str,
    title: &str,
    description: &str,
    unit: &str,
    parts: Vec<String>,
    bars: &[Bar],
) -> Result<Option<Chart>> {
    let longest = bars.iter().map(|bar| bar.parts.iter().sum::<f64>()).fold(0.0, f64::max);
    if longest <= 0.0 {
        return Ok(None);
    }
    let height = 108 + BAR * u32::try_from(bars.len())?;
    canvas::draw(name, title, description, height, |area| {
        let entries: Vec<_> = parts.into_iter().enumerate().map(|(n, part)| (part, colour(n))).collect();
        let top = canvas::legend(area, &entries)?;
        plot(&area.split_vertically(top).1, unit, bars, longest)
    })
}

fn plot(area: &Area<'_>, unit: &str, bars: &[Bar], longest: f64) -> Result<()> {
    let rows = i32::try_from(bars.len())?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(6)
        .margin_right(TOTALS)
        .margin_left(NAMES)
        .x_label_area_size(46)
        .build_cartesian_2d(0.0..longest, 0.0..f64::from(rows))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.12))
        .axis_style(INK.mix(0.5))
        .x_labels(9)
        .x_desc(unit)
        .x_label_formatter(&|value| super::lines::number(*value))
        .label_style(canvas::text(SMALL, HPos::Left, VPos::Top))
        .axis_desc_style(canvas::text(SMALL, HPos::Left, VPos::Top))
        .draw()?;
    for (number, bar) in bars.iter().enumerate() {
        // The first one is at the top.
        let bottom = f64::from(rows) - 1.0 - number as f64;
        let mut from = 0.0;
        for (part, value) in bar.parts.iter().enumerate() {
            let corners = [(from, bottom + 0.18), (from + value, bottom + 0.82)];
            chart.draw_series([Rectangle::new(corners, colour(part).filled())])?;
            from += value;
        }
        let (right, middle) = chart.backend_coord(&(from, bottom + 0.5));
        label(area, &bar.name, (NAMES - 10, middle), HPos::Right)?;
        label(area, &bar.total, (right + 8, middle), HPos::Left)?;
    }
    Ok(())
}

/// Text at a place of the whole picture.
fn label(area: &Area<'_>, words: &str, place: (i32, i32), side: HPos) -> Result<()> {
    let (left, top) = area.get_base_pixel();
    debug_assert!(place.0 <= WIDTH as i32);
    area.draw(&Text::new(words.to_owned(), (place.0 - left, place.1 - top), canvas::text(SMALL, side, VPos::Center)))?;
    Ok(())
}
