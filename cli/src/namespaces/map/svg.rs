//! A map as a picture: a column for each container, a row for each kind. Containers that share a namespace have one bar
//! in common; where others stand between them, their bars have the same colour and a line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::kind::{Id, Kind};
use super::{Group, Map, Unit};
use crate::chart::svg::{cut, escaped, rectangle, text};
use crate::commands::top::bytes;

const LEFT: f64 = 96.0;
const COLUMN: f64 = 132.0;
const GAP: f64 = 26.0;
const TOP: f64 = 118.0;
const ROW: f64 = 38.0;
const BAR: f64 = 24.0;
const INK: &str = "#1f2328";
const FAINT: &str = "#59636e";
const MACHINES: &str = "#e6e9ed";
/// Light enough for black letters.
const COLORS: [&str; 8] = ["#9fd3b4", "#f2c879", "#a9c7ef", "#e8a9a1", "#c9b5e8", "#9fd6d8", "#dcc5a4", "#cfd98a"];

/// A column: where it begins, and who is in it.
struct Column<'a> {
    x: f64,
    unit: &'a Unit,
}

/// Where everybody stands.
struct Layout<'a> {
    columns: Vec<Column<'a>>,
    /// From where to where each is.
    groups: Vec<(&'a Group, f64, f64)>,
    /// Where the picture ends.
    right: f64,
}

/// Neighbours in the same namespace.
struct Bar {
    id: Id,
    from: f64,
    until: f64,
    units: usize,
}

pub(crate) fn draw(map: &Map) -> String {
    let Layout { columns, groups, right } = layout(map);
    // What somebody uses is written below the bars.
    let below = if columns.iter().any(|column| column.unit.usage.is_some()) { 40.0 } else { 0.0 };
    let bottom = TOP + ROW * 8.0;
    let (width, height) = (right.max(640.0), bottom + below + 20.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, 20.0, 32.0, INK, "font-size=\"17\" font-weight=\"bold\"", "who shares which namespace");
    for (group, from, until) in groups {
        head(&mut svg, group, from, until, bottom + below);
    }
    for column in &columns {
        name(&mut svg, column, bottom);
    }
    let colors = colors(map);
    for (row, kind) in (0..).map(f64::from).zip(Kind::ALL) {
        let top = TOP + ROW * row;
        text(&mut svg, LEFT - 16.0, top + BAR - 7.0, INK, "text-anchor=\"end\"", kind.file());
        let bars = bars(&columns, kind);
        links(&mut svg, map, &bars, top, &colors);
        bars.iter().for_each(|bar| draw_bar(&mut svg, map, bar, top, &colors));
    }
    svg.push_str("</svg>\n");
    svg
}

fn layout(map: &Map) -> Layout<'_> {
    let (mut columns, mut groups, mut x) = (Vec::new(), Vec::new(), LEFT);
    for group in &map.groups {
        let from = x;
        for unit in &group.units {
            columns.push(Column { x, unit });
            x += COLUMN;
        }
        groups.push((group, from, x));
        x += GAP;
    }
    Layout { columns, groups, right: x }
}

fn bars(columns: &[Column<'_>], kind: Kind) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    for column in columns {
        let Some(id) = column.unit.id(kind) else { continue };
        match bars.last_mut() {
            Some(bar) if bar.id == id => {
                bar.until = column.x + COLUMN;
                bar.units += 1;
            }
            _ => bars.push(Bar { id, from: column.x, until: column.x + COLUMN, units: 1 }),
        }
    }
    bars
}

/// A colour for each namespace that several share and that is not the machine's.
fn colors(map: &Map) -> BTreeMap<Id, &'static str> {
    let shared = map.members().into_iter().filter(|(id, members)| *members > 1 && !map.is_machines(*id));
    shared.map(|(id, _)| id).zip(COLORS.into_iter().cycle()).collect()
}

/// From bar to bar of one namespace, below what stands between; those of one row on different heights.
fn links(svg: &mut String, map: &Map, bars: &[Bar], top: f64, colors: &BTreeMap<Id, &str>) {
    const HEIGHTS: [f64; 3] = [3.5, 7.0, 10.5];
    let middle = top + BAR / 2.0;
    let mut heights = HEIGHTS.into_iter().cycle();
    for (number, bar) in bars.iter().enumerate() {
        let next = bars.iter().skip(number + 1).find(|other| other.id == bar.id);
        let Some(next) = next.filter(|_| !map.is_machines(bar.id)) else { continue };
        let color = colors.get(&bar.id).copied().unwrap_or(FAINT);
        let lower = top + BAR + heights.next().unwrap_or(0.0);
        let (from, until) = (bar.until - 14.0, next.from + 14.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{from:.1} {middle:.1}V{lower:.1}H{until:.1}V{middle:.1}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2.5\"/>"
        );
    }
}

fn draw_bar(svg: &mut String, map: &Map, bar: &Bar, top: f64, colors: &BTreeMap<Id, &str>) {
    let fill = if map.is_machines(bar.id) { MACHINES } else { colors.get(&bar.id).copied().unwrap_or("#ffffff") };
    let place = (bar.from + 3.0, top, bar.until - bar.from - 6.0, BAR);
    let title = match bar.units {
        _ if map.is_machines(bar.id) => format!("{}, the machine's", bar.id),
        1 => bar.id.to_string(),
        units => format!("{}, shared by {units} side by side", bar.id),
    };
    rectangle(svg, place, fill, &title);
    if fill == "#ffffff" {
        let (x, y, width, height) = place;
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"none\" stroke=\"#b8c0c8\"/>"
        );
    }
    let label = if map.is_machines(bar.id) { "the machine's".to_owned() } else { bar.id.inode.to_string() };
    let ink = if map.is_machines(bar.id) { FAINT } else { INK };
    text(svg, bar.from.midpoint(bar.until), top + BAR - 7.0, ink, "text-anchor=\"middle\"", &label);
}

fn head(svg: &mut String, group: &Group, from: f64, until: f64, bottom: f64) {
    let letters = ((until - from) / 7.5) as usize;
    text(svg, from + 3.0, 68.0, INK, "font-weight=\"bold\"", &cut(&group.title(), letters));
    let (x, width, height) = (from - 5.0, until - from + 10.0, bottom - 50.0);
    let title = escaped(&group.title());
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"50\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"5\" fill=\"none\" stroke=\"#b8c0c8\"><title>{title}</title></rect>"
    );
}

/// Above the bars who it is, below what it uses.
fn name(svg: &mut String, column: &Column<'_>, bottom: f64) {
    let unit = column.unit;
    let first = unit.processes.first().map_or_else(|| "no process".to_owned(), |(pid, name)| format!("{pid} {name}"));
    let more = match unit.processes.len() {
        0 | 1 => String::new(),
        all => format!(" +{}", all - 1),
    };
    let x = column.x + 5.0;
    text(svg, x, 88.0, INK, "", &cut(unit.title(), 18));
    text(svg, x, 104.0, FAINT, "font-size=\"11\"", &cut(&format!("{first}{more}"), 20));
    if let Some(usage) = &unit.usage {
        let used = format!("{:.2}s cpu, {}", usage.cpu as f64 / 1e9, bytes(usage.memory as f64));
        text(svg, x, bottom + 14.0, FAINT, "font-size=\"11\"", &used);
        text(svg, x, bottom + 29.0, FAINT, "font-size=\"11\"", &format!("{} tasks", usage.tasks));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::survey;
    use super::*;

    #[test]
    fn who_shares_has_one_bar_in_common() {
        let map = Map::of(&survey());
        let Layout { columns, .. } = layout(&map);
        let seen = |kind| bars(&columns, kind).iter().map(|bar| (bar.id.inode, bar.units)).collect::<Vec<_>>();
        assert_eq!(seen(Kind::Net), [(11, 2), (21, 1), (31, 1), (1, 1)]);
        assert_eq!(seen(Kind::Ipc), [(12, 3), (2, 2)]);
        assert_eq!(seen(Kind::Pid), [(13, 1), (14, 1), (23, 1), (3, 2)]);
    }

    #[test]
    fn who_shares_from_afar_has_the_same_colour_and_a_line() {
        let mut far = survey();
        far.processes[4].namespaces.insert(Kind::Net, 31);
        far.processes[3].namespaces.insert(Kind::Ipc, 99);
        let drawn = draw(&Map::of(&far));
        assert_eq!(drawn.matches("<path ").count(), 1, "{drawn}");
        assert!(draw(&Map::of(&survey())).matches("<path ").count() == 0);
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_picture() {
        let drawn = draw(&Map::of(&survey()));
        assert!(drawn.contains("12 log &lt;&amp;&gt;") && !drawn.contains("log <&>"));
    }
}
