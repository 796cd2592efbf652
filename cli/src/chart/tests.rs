use serde_json::json;

use super::*;

fn step(millis: u64, container: Option<&str>, attempt: u32, reason: &str, message: &str) -> Happening {
    Happening {
        at: Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap(),
        since_start: Duration::from_millis(millis),
        container: container.map(str::to_owned),
        attempt,
        reason: reason.into(),
        message: message.into(),
        warning: ["BackOff", "Unhealthy"].contains(&reason) || (reason == "Exited" && !message.ends_with("code 0")),
    }
}

fn pod() -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "web", "namespace": "default" }, "spec": {
        "initContainers": [{ "name": "first" }, { "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "app" }] } }))
    .unwrap()
}

fn steps() -> Vec<Happening> {
    vec![
        step(1, Some("first"), 0, "Created", "created"),
        step(2, Some("app"), 0, "Created", "created"),
        step(3, Some("first"), 0, "Started", "started"),
        step(10, Some("first"), 0, "Exited", "exited with code 1"),
        step(10, Some("first"), 0, "BackOff", "back-off 10s <&> \"soon\""),
        step(10_010, Some("first"), 1, "Started", "started"),
        step(10_020, Some("first"), 1, "Exited", "exited with code 0"),
        step(10_021, Some("app"), 0, "Started", "started"),
        step(10_021, None, 0, "PhaseChanged", "the pod is Running"),
        step(10_500, Some("app"), 0, "Unhealthy", "Readiness probe failed: no"),
        step(11_000, Some("app"), 0, "Killing", "sent signal 15"),
        step(11_020, Some("app"), 0, "Exited", "exited with code 143"),
        step(11_020, None, 0, "PhaseChanged", "the pod is Failed"),
    ]
}

#[test]
fn each_container_has_a_row_of_what_it_did_when() {
    let chart = Chart::of(&pod(), &steps(), None);
    assert_eq!(chart.title, "default/web: Failed after 11.02s");
    let row = |name: &str| chart.rows.iter().find(|row| row.name == name).unwrap();
    let spans: Vec<_> = row("first").spans.iter().map(|span| (span.what, span.from, span.until)).collect();
    assert_eq!(
        spans,
        [
            (What::Waits, 0.001, 0.003),
            (What::Runs, 0.003, 0.010),
            (What::BacksOff, 0.010, 10.010),
            (What::Runs, 10.010, 10.020)
        ]
    );
    let signs: Vec<_> = row("app").marks.iter().map(|mark| mark.sign).collect();
    assert_eq!(signs, [Sign::Warning, Sign::Signal, Sign::Failed]);
    assert_eq!((row("proxy").role, row("proxy").spans.len()), ("sidecar", 0));
    let phases: Vec<_> = chart.phases.iter().map(|span| span.text.as_str()).collect();
    assert_eq!(phases, ["Pending", "Running", "Failed"]);
}

#[test]
fn what_is_not_over_lasts_until_now() {
    let now = Timestamp::from_second(60).unwrap();
    let chart = Chart::of(&pod(), &steps()[..9], Some(now));
    assert_eq!(chart.end, 60.0);
    assert_eq!(chart.rows[2].spans.last().unwrap().until, 60.0);
}

#[test]
fn the_axis_keeps_the_order_and_shortens_quiet_times() {
    let chart = Chart::of(&pod(), &steps(), None);
    assert_eq!((chart.place(0.0), chart.place(chart.end)), (0.0, 1.0));
    let places: Vec<f64> = chart.times.iter().map(|time| chart.place(*time)).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    assert!(chart.place(10.0) - chart.place(0.010) < 0.5, "ten quiet seconds do not take it all");
}

#[test]
fn the_chart_fits_the_terminal_and_has_colours_only_when_wanted() {
    let chart = Chart::of(&pod(), &steps(), None);
    for width in [40, 80, 200] {
        let text = terminal::draw(&chart, width, false);
        let widest = text.lines().take(6).map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} > {width}:\n{text}");
        assert!(!text.contains('\x1b'));
    }
    let text = terminal::draw(&chart, 80, false);
    let first = text.lines().find(|line| line.starts_with("first (init)")).unwrap();
    assert!(first.contains('✗') && first.contains('·') && first.ends_with('✓'), "{text}");
    assert!(terminal::draw(&chart, 80, true).contains("\x1b[32m"));
}

#[test]
fn the_picture_is_well_formed_and_names_are_no_markup() {
    let picture = svg::draw(&Chart::of(&pod(), &steps(), None));
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(picture.contains("back-off 10s &lt;&amp;&gt; &quot;soon&quot;"));
    for element in ["rect", "text", "title", "path", "circle"] {
        let opened =
            picture.matches(&format!("<{element} ")).count() + picture.matches(&format!("<{element}>")).count();
        let closed = picture.matches(&format!("</{element}>")).count();
        // The background has nothing in it.
        assert_eq!(opened - usize::from(element == "rect"), closed, "{element}");
    }
}

#[test]
fn a_pod_to_which_nothing_has_happened_is_drawn_too() {
    let chart = Chart::of(&pod(), &[], None);
    assert!(terminal::draw(&chart, 60, false).contains("no phase yet"));
    assert!(svg::draw(&chart).contains("</svg>"));
    assert_eq!(
        (length(0.00085), length(1.25), length(125.0)),
        ("850µs".to_owned(), "1.25s".to_owned(), "2m5s".to_owned())
    );
}
