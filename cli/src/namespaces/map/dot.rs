//! A map as a graph in the language of Graphviz, dot(1).

use std::fmt::Write as _;

use super::{Map, Unit};

pub(crate) fn draw(map: &Map) -> String {
    let mut text = "graph namespaces {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=10];\n".to_owned();
    let mut number = 0;
    let mut edges = String::new();
    for (cluster, group) in map.groups.iter().enumerate() {
        let _ = writeln!(text, "  subgraph cluster_{cluster} {{\n    label={};", quoted(&group.title()));
        for unit in &group.units {
            let _ = writeln!(text, "    u{number} [shape=box, label={}];", quoted(&label(unit)));
            for (kind, inode) in &unit.namespaces {
                let _ = writeln!(edges, "  u{number} -- {kind}_{inode};");
            }
            number += 1;
        }
        text.push_str("  }\n");
    }
    for (id, members) in map.members() {
        let fill = match (map.is_machines(id), members) {
            (true, _) => "#e6e9ed",
            (false, 1) => "#ffffff",
            (false, _) => "#cfe8d8",
        };
        let name = format!("{}_{}", id.kind, id.inode);
        let label = quoted(&id.to_string());
        let _ = writeln!(text, "  {name} [shape=ellipse, style=filled, fillcolor=\"{fill}\", label={label}];");
    }
    text + &edges + "}\n"
}

fn label(unit: &Unit) -> String {
    let first = unit.processes.first().map_or_else(|| "no process".to_owned(), |(pid, name)| format!("{pid} {name}"));
    let more = match unit.processes.len() {
        0 | 1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    let name = if unit.title().is_empty() { String::new() } else { format!("{}\n", unit.title()) };
    format!("{name}{first}{more}")
}

fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => {}
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::tests::survey;
    use super::*;

    #[test]
    fn a_shared_namespace_is_one_node_with_an_edge_to_each_that_shares_it() {
        let drawn = draw(&Map::of(&survey()));
        assert_eq!(drawn.matches("label=\"ipc:[12]\"").count(), 1);
        assert_eq!(drawn.matches(" -- ipc_12;").count(), 3);
        assert!(drawn.contains("subgraph cluster_0 {\n    label=\"pod shop/a\";"), "{drawn}");
        assert!(drawn.contains("\"sidecar\\n12 log <&>\""), "{drawn}");
    }

    #[test]
    fn a_name_cannot_leave_its_label() {
        assert_eq!(quoted("a\"b\\c\nd\u{1b}e"), "\"a\\\"b\\\\c\\nde\"");
    }
}
