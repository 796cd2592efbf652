//! A map as a picture: a column for each container, a row for each kind. Containers that share a namespace have one bar
//! in common; where others stand between them, their bars have the same colour and a line.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;

use super::super::kind::{Id, Kind};
use super::{Group, Map, Unit, What};
use crate::chart::svg::{cut, escaped, text};
use crate::commands::top::bytes;

const LEFT: f64 = 124.0;
const COLUMN: f64 = 134.0;
/// Between groups.
const GAP: f64 = 24.0;
/// Where the panels of groups begin.
const PANEL: f64 = 50.0;
const TOP: f64 = 132.0;
const ROW: f64 = 40.0;
const BAR: f64 = 26.0;
/// For the legend.
const NARROWEST: f64 = 600.0;
/// What is written on a bar that several share, whatever is around it.
const ON_COLOR: &str = "#1f2328";
/// Light enough for black letters.
const COLORS: [&str; 8] = ["#9fd3b4", "#f2c879", "#a9c7ef", "#e8a9a1", "#c9b5e8", "#9fd6d8", "#dcc5a4", "#cfd98a"];

/// A colour on a light page, and the class by which it is another one on a dark page.
type Shade = (&'static str, &'static str);
const INK: Shade = ("#1f2328", "i");
const FAINT: Shade = ("#59636e", "f");
const PAGE: Shade = ("#ffffff", "w");
const GROUP: Shade = ("#f6f8fa", "g");
const MACHINES: Shade = ("#e6e9ed", "m");
const LINE: Shade = ("#d0d7de", "l");

/// A page that is embedded does not say whether it is dark: the reader's machine does.
const DARK: &str = "<style>@media(prefers-color-scheme:dark){.i{fill:#e6edf3}.f{fill:#9198a1}.w{fill:#0d1117}\
                    .g{fill:#161b22}.m{fill:#2b313a}.l{stroke:#3d444d}}</style>";

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
    let below = if columns.iter().any(|column| column.unit.usage.is_some()) { 38.0 } else { 0.0 };
    let bars_end = TOP + ROW * 8.0;
    let bottom = bars_end + below;
    let (width, height) = (right.max(NARROWEST), bottom + 50.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\">\n{DARK}\n"
    );
    let _ = writeln!(svg, "<rect width=\"100%\" height=\"100%\" fill=\"{}\" class=\"{}\"/>", PAGE.0, PAGE.1);
    write(&mut svg, (20.0, 32.0), INK, "font-size=\"17\" font-weight=\"bold\"", "who shares which namespace");
    for (group, from, until) in groups {
        head(&mut svg, group, from, until, bottom);
    }
    for column in &columns {
        name(&mut svg, column, bars_end);
    }
    let colors = colors(map);
    for (row, kind) in (0..).map(f64::from).zip(Kind::ALL) {
        let top = TOP + ROW * row;
        write(&mut svg, (20.0, top + 11.0), INK, "font-weight=\"bold\"", kind.file());
        write(&mut svg, (20.0, top + 24.0), FAINT, "font-size=\"10.5\"", kind.subject());
        let bars = bars(&columns, kind);
        links(&mut svg, map, &bars, top, &colors);
        bars.iter().for_each(|bar| draw_bar(&mut svg, map, bar, top, &colors));
    }
    legend(&mut svg, bottom + 22.0);
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

/// A colour for each namespace that several share and that is not the machine's, from left to right: what a pod shares has
/// the same one in each row, as a rule.
fn colors(map: &Map) -> BTreeMap<Id, &'static str> {
    let members = map.members();
    let is_shared = |id: &Id| members.get(id).is_some_and(|members| *members > 1) && !map.is_machines(*id);
    let mut colors = BTreeMap::new();
    for kind in Kind::ALL {
        let mut unused = COLORS.into_iter().cycle();
        for id in map.units().filter_map(|(_, unit)| unit.id(kind)).filter(is_shared) {
            if let Entry::Vacant(entry) = colors.entry(id) {
                entry.insert(unused.next().unwrap_or(FAINT.0));
            }
        }
    }
    colors
}

/// From bar to bar of one namespace, below what stands between; those of one row on different heights.
fn links(svg: &mut String, map: &Map, bars: &[Bar], top: f64, colors: &BTreeMap<Id, &str>) {
    const HEIGHTS: [f64; 3] = [4.0, 7.5, 11.0];
    let middle = top + BAR / 2.0;
    let mut heights = HEIGHTS.into_iter().cycle();
    for (number, bar) in bars.iter().enumerate() {
        let next = bars.iter().skip(number + 1).find(|other| other.id == bar.id);
        let Some(next) = next.filter(|_| !map.is_machines(bar.id)) else { continue };
        let color = colors.get(&bar.id).copied().unwrap_or(FAINT.0);
        let lower = top + BAR + heights.next().unwrap_or(0.0);
        let (from, until) = (bar.until - 16.0, next.from + 16.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{from:.1} {middle:.1}V{lower:.1}H{until:.1}V{middle:.1}\" fill=\"none\" stroke=\"{color}\" \
             stroke-width=\"2.5\" stroke-linejoin=\"round\"/>"
        );
    }
}

fn draw_bar(svg: &mut String, map: &Map, bar: &Bar, top: f64, colors: &BTreeMap<Id, &'static str>) {
    let place = (bar.from + 3.0, top, bar.until - bar.from - 6.0, BAR);
    let (fill, title, label, ink) = match (map.is_machines(bar.id), colors.get(&bar.id)) {
        (true, _) => (MACHINES, format!("{}, the machine's", bar.id), "the machine's".to_owned(), FAINT),
        (_, None) => (PAGE, bar.id.to_string(), bar.id.inode.to_string(), INK),
        (_, Some(color)) => {
            let beside = match bar.units {
                1 => String::new(),
                units => format!(", by {units} side by side"),
            };
            ((*color, ""), format!("{}, shared{beside}", bar.id), bar.id.inode.to_string(), (ON_COLOR, ""))
        }
    };
    rectangle(svg, place, fill, (fill == PAGE).then_some(LINE), &title);
    write(svg, (bar.from.midpoint(bar.until), top + 17.0), ink, "text-anchor=\"middle\"", &label);
}

fn head(svg: &mut String, group: &Group, from: f64, until: f64, bottom: f64) {
    let letters = ((until - from) / 8.5) as usize;
    let place = (from - 5.0, PANEL, until - from + 10.0, bottom - PANEL);
    rectangle(svg, place, GROUP, Some(LINE), &group.title());
    let (word, name) =
        if group.kind == What::Machine { ("", "this machine") } else { (group.kind.word(), group.name.as_str()) };
    write(svg, (from + 5.0, PANEL + 16.0), FAINT, "font-size=\"10.5\"", word);
    write(svg, (from + 5.0, PANEL + 31.0), INK, "font-weight=\"bold\"", &cut(name, letters));
}

/// Above the bars who it is, below what it uses.
fn name(svg: &mut String, column: &Column<'_>, bars_end: f64) {
    let unit = column.unit;
    let more = match unit.processes.len() {
        0 | 1 => String::new(),
        all => format!(" +{}", all - 1),
    };
    let (first, second) = match (unit.processes.first(), unit.title()) {
        (None, title) => (title.to_owned(), "no process".to_owned()),
        (Some((pid, name)), "") => (name.clone(), format!("{pid}{more}")),
        (Some((pid, name)), title) => (title.to_owned(), format!("{pid} {name}{more}")),
    };
    let x = column.x + 5.0;
    write(svg, (x, PANEL + 50.0), INK, "", &cut(&first, 18));
    write(svg, (x, PANEL + 65.0), FAINT, "font-size=\"11\"", &cut(&second, 20));
    if let Some(usage) = &unit.usage {
        let used = format!("{:.2}s cpu, {}", usage.cpu as f64 / 1e9, bytes(usage.memory as f64));
        write(svg, (x, bars_end + 10.0), FAINT, "font-size=\"11\"", &used);
        write(svg, (x, bars_end + 25.0), FAINT, "font-size=\"11\"", &usage.tasks_in_words());
    }
}

fn legend(svg: &mut String, y: f64) {
    let mut at = LEFT - 5.0;
    for (fill, line, label) in [
        ((COLORS[0], ""), None, "shared: one colour in a row is one namespace"),
        (PAGE, Some(LINE), "its own"),
        (MACHINES, None, "the machine's"),
    ] {
        rectangle(svg, (at, y, 22.0, 14.0), fill, line, label);
        write(svg, (at + 29.0, y + 11.0), FAINT, "", label);
        at += 58.0 + 6.4 * label.len() as f64;
    }
}

fn rectangle(svg: &mut String, place: (f64, f64, f64, f64), fill: Shade, line: Option<Shade>, title: &str) {
    let (x, y, width, height) = place;
    let title = escaped(title);
    let (line, class) = line.map_or_else(Default::default, |(line, class)| (format!(" stroke=\"{line}\""), class));
    let class = format!("{} {class}", fill.1);
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"4\" fill=\"{}\"{line} \
         class=\"{}\"><title>{title}</title></rect>",
        fill.0,
        class.trim()
    );
}

fn write(svg: &mut String, (x, y): (f64, f64), (color, class): Shade, more: &str, content: &str) {
    if !content.is_empty() {
        text(svg, x, y, color, &format!("class=\"{class}\" {more}"), content);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::survey::{Container, Process};
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
    fn what_a_pod_shares_has_one_colour_in_all_rows_and_others_have_another() {
        let mut two = survey();
        let second = two.processes[4].clone();
        two.processes.push(Process { pid: 21, cgroups: ["/k/b2".into()].into(), ..second });
        two.containers.insert("b2".into(), Container { name: "log".into(), ..two.containers["b1"].clone() });
        let colors = colors(&Map::of(&two));
        let of = |kind, inode| colors.get(&Id { kind, inode }).copied();
        assert_eq!([of(Kind::Net, 11), of(Kind::Ipc, 12)], [Some(COLORS[0]); 2]);
        assert_eq!(of(Kind::Net, 21), Some(COLORS[1]));
        assert_eq!([of(Kind::Net, 1), of(Kind::Net, 31), of(Kind::Pid, 14)], [None; 3]);
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_picture() {
        let drawn = draw(&Map::of(&survey()));
        assert!(drawn.contains("12 log &lt;&amp;&gt;") && !drawn.contains("log <&>"));
    }
}
