//! Pages as a reader of them gets them.

use clap::{Arg, Command};

use super::*;

/// A page of a small command line.
fn page_of(name: &str) -> String {
    let below = Command::new("make")
        .about("Make a thing")
        .arg(Arg::new("name").help("Of the thing; it's a word").value_parser(["one", "two"]))
        .arg(Arg::new("other").value_parser(["three"]))
        .after_help("Examples:\n  # Don't wait\n  tool make 'a b' \\\n    --now\n\nThe code is 0.");
    let hidden = Command::new("hidden").hide(true);
    let place = Arg::new("place").long("place").help("Where").global(true).env("TOOL_PLACE");
    let tool = Command::new("tool").version("1.2.3").about("Tools").arg(place).subcommand(below).subcommand(hidden);
    let pages = pages(tool, "2026-11-27").unwrap();
    let names: Vec<_> = pages.iter().map(|page| page.name.as_str()).collect();
    assert_eq!(names, ["tool.1", "tool-make.1"]);
    let page = pages.into_iter().find(|page| page.name == name).unwrap();
    String::from_utf8(page.text).unwrap()
}

#[test]
fn each_page_says_of_which_version_it_is_and_from_when() {
    for (name, title) in [("tool.1", "TOOL"), ("tool-make.1", "TOOL-MAKE")] {
        let page = page_of(name);
        assert!(page.contains(&format!(".TH {title} 1 2026-11-27 \"tool 1.2.3\" \"loment manual\"\n")), "{page}");
    }
}

#[test]
fn an_example_stands_as_it_is_typed() {
    let page = page_of("tool-make.1");
    let (_, examples) = page.split_once(".SH EXAMPLES\n").unwrap();
    let typed =
        "Don\\*(Aqt wait\n.PP\n.RS 4\n.nf\n\\fBtool make \\*(Aqa b\\*(Aq \\\\\\fR\n\\fB  \\-\\-now\\fR\n.fi\n.RE\n";
    assert!(examples.starts_with(typed), "{examples}");
    assert!(examples.contains(".SH NOTES\nThe code is 0.\n"), "{examples}");
    assert!(!page.contains("EXTRA"), "{page}");
}

#[test]
fn pages_name_the_one_above_and_those_below() {
    assert!(page_of("tool-make.1").ends_with(".SH \"SEE ALSO\"\n\\fBtool\\fR(1)\n"));
    assert!(page_of("tool.1").contains("\\fBtool\\-make\\fR(1),\n"));
}

#[test]
fn values_of_an_option_stand_below_what_is_said_of_it() {
    let page = page_of("tool-make.1");
    assert!(page.contains("it\\*(Aqs a word\n.sp\n\\fIPossible values:\\fR\n"), "{page}");
    assert!(page.contains("[\\fIother\\fR]\n\\fIPossible values:\\fR\n"), "{page}");
    assert_eq!(page.matches(".ds Aq \\(aq").count(), 1, "{page}");
    assert!(!page.contains("\n\n"), "{page}");
}

#[test]
fn what_every_command_takes_comes_after_its_own() {
    for name in ["tool.1", "tool-make.1"] {
        let page = page_of(name);
        let (own, global) = page.split_once(".SH \"GLOBAL OPTIONS\"\n").unwrap_or_else(|| panic!("{page}"));
        assert!(own.contains("\\-\\-help") && !own.contains("<\\fIPLACE"), "{own}");
        assert!(global.starts_with(".TP\n\\fB\\-\\-place\\fR"), "{global}");
        assert!(global.contains("TOOL_PLACE"), "{global}");
    }
}
