//! The phases of a start as a shim notes them, each where it lies in time.

use anyhow::Result;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{
    Chart,
    canvas::{self, Area, INK, LARGE, SMALL, WIDTH, colour},
};
use crate::{
    report::{Report, Step},
    table::millis,
};

const ROW: i32 = 21;
const HEAD: i32 = 30;
/// Room for names before the bars.
const NAMES: i32 = 240;
/// Room for durations behind them.
const RIGHT: i32 = WIDTH as i32 - 100;

/// For a handler whose shim notes them.
pub(super) fn draw(report: &Report, handler: &str) -> Result<Option<Chart>> {
    let steps: Vec<&Step> = report.traces.iter().filter(|step| step.handler == handler).collect();
    if steps.is_empty() {
        return Ok(None);
    }
    let parts = parts(&steps);
    let height = 30 + parts.iter().map(|part| HEAD + ROW * part.len() as i32).sum::<i32>();
    let title = format!("The phases of a start under {handler}, as its shim notes them");
    let description = "Each bar is the median of what was done, beginning where it began at the median after the request came; \
                       all parts have one scale. What shim and child do at the same time lies side by side.";
    canvas::draw(&format!("trace-{handler}"), &title, description, u32::try_from(height)?, |area| {
        let lanes = [("shim".to_owned(), colour(0)), ("child".to_owned(), colour(1))];
        let mut top = canvas::legend(area, &lanes)? + 4;
        let longest = steps.iter().map(|step| end(step)).fold(1.0, f64::max);
        for part in parts {
            panel(area, &part, &mut top, longest)?;
        }
        Ok(())
    })
}

/// Steps that follow the same request.
fn parts<'a>(steps: &[&'a Step]) -> Vec<Vec<&'a Step>> {
    let mut parts: Vec<Vec<&Step>> = Vec::new();
    for step in steps {
        match parts.iter_mut().find(|part| part.first().is_some_and(|first| first.part == step.part)) {
            Some(part) => part.push(step),
            None => parts.push(vec![step]),
        }
    }
    parts
}

fn end(step: &Step) -> f64 {
    step.from_us + step.figures.map_or(0.0, |figures| figures.p50_us)
}

fn panel(area: &Area<'_>, part: &[&Step], top: &mut i32, longest: f64) -> Result<()> {
    let x = |micros: f64| NAMES + (micros / longest * f64::from(RIGHT - NAMES)).round() as i32;
    let name = part.first().map_or("", |step| step.part.as_str());
    area.draw(&Text::new(name.to_owned(), (12, *top + HEAD / 2), canvas::text(LARGE, HPos::Left, VPos::Center)))?;
    area.draw(&PathElement::new(vec![(NAMES, *top + HEAD / 2), (RIGHT, *top + HEAD / 2)], INK.mix(0.2)))?;
    *top += HEAD;
    for step in part {
        let middle = *top + ROW / 2;
        let took = step.figures.map_or(0.0, |figures| figures.p50_us);
        let (left, right) = (x(step.from_us), x(step.from_us + took));
        let lane = usize::from(step.lane != "shim");
        // What takes next to no time is still there.
        let corners = [(left, *top + 3), (right.max(left + 1), *top + ROW - 3)];
        area.draw(&Rectangle::new(corners, colour(lane).filled()))?;
        area.draw(&Text::new(step.phase.clone(), (NAMES - 8, middle), canvas::text(SMALL, HPos::Right, VPos::Center)))?;
        let said = format!("{} ms", millis(took));
        area.draw(&Text::new(said, (right + 6, middle), canvas::text(SMALL, HPos::Left, VPos::Center)))?;
        *top += ROW;
    }
    Ok(())
}
