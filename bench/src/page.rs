//! The outcome of a run as one page: pictures and tables, without anything from elsewhere.

use std::fmt::Write as _;

use anyhow::Result;

use crate::{
    charts::{charts, escape},
    report::Report,
};

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#ffffff;--ink:#1f2328;--quiet:#59636e;--line:#d1d9e0}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--ink:#e6edf3;--quiet:#9198a1;--line:#3d444d}}
body{margin:2rem auto;max-width:900px;padding:0 1rem;font:15px/1.5 system-ui,sans-serif;background:var(--page);color:var(--ink)}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
p,figcaption{color:var(--quiet)}figure{margin:1rem 0}svg{color:var(--ink);max-width:100%;height:auto}
pre{overflow-x:auto;padding:.8rem;border:1px solid var(--line);border-radius:6px;font-size:12.5px;line-height:1.45}";

/// A page for a browser, complete in itself.
///
/// Errors: a picture cannot be drawn.
pub fn page(report: &Report) -> Result<String> {
    let names: Vec<&str> = report.handlers.iter().map(|handler| handler.name.as_str()).collect();
    let title = format!("Pod starts: {}", names.join(", "));
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{0}</title>\n\
         <style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>{0}</h1>\n<pre>{1}</pre>\n",
        escape(&title),
        escape(&report.header())
    );
    for chart in charts(report)? {
        let _ = write!(
            html,
            "<section>\n<h2>{}</h2>\n<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>\n</section>\n",
            escape(&chart.title),
            chart.svg.trim_end(),
            escape(&chart.description)
        );
    }
    let _ = write!(html, "<h2>Figures</h2>\n<pre>{}</pre>\n</body>\n</html>\n", escape(&report.tables()));
    Ok(html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn a_page_has_every_chart_and_nothing_from_elsewhere() {
        let page = page(&report(true)).unwrap();
        for name in ["phases", "distributions", "at-once", "present", "memory", "trace-fast"] {
            assert_eq!(page.matches(&format!("<title id=\"{name}-title\">")).count(), 1, "{name}");
        }
        for word in ["src=", "href=", "url(", "<script", "@import"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("prefers-color-scheme:dark"));
    }
}
