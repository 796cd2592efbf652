use serde_json::json;

use super::*;

fn list() -> Value {
    json!({
        "kind": "List",
        "items": [
            { "metadata": { "name": "a", "labels": { "app.kubernetes.io/name": "web" } },
              "spec": { "n": 1, "containers": [{ "name": "x" }, { "name": "y" }] }, "ready": true },
            { "metadata": { "name": "b" }, "spec": { "n": 2, "containers": [] }, "ready": false },
            { "metadata": { "name": "c" }, "spec": { "n": 3 } },
        ],
    })
}

fn printed(template: &str) -> Result<String, String> {
    Template::parse(template)?.print(&list())
}

fn prints(template: &str, expected: &str) {
    assert_eq!(printed(template).as_deref(), Ok(expected), "{template}");
}

#[test]
fn fields_are_followed_and_missing_ones_are_nothing() {
    prints("{.kind}", "List");
    prints("{$.kind}", "List");
    prints("{.nowhere.deeper}", "");
    prints("plain", "plain");
    prints("kind={.kind}!", "kind=List!");
    prints("{.items[0]['metadata'].name}", "a");
    prints(r"{.items[0].metadata.labels.app\.kubernetes\.io/name}", "web");
    prints("{.items[0].metadata.labels['app.kubernetes.io/name']}", "web");
    prints("{.items[0].spec.n}", "1");
    prints("{.items[0].spec.containers}", r#"[{"name":"x"},{"name":"y"}]"#);
}

#[test]
fn lists_have_elements_slices_and_unions() {
    prints("{.items[*].metadata.name}", "a b c");
    prints("{.items[-1].metadata.name}", "c");
    prints("{.items[0:2].metadata.name}", "a b");
    prints("{.items[1:].metadata.name}", "b c");
    prints("{.items[-2:].metadata.name}", "b c");
    prints("{.items[::2].metadata.name}", "a c");
    prints("{.items[0,2].metadata.name}", "a c");
    prints("{.items[0]['metadata.name', 'ready']}", "true");
    prints("{.items[0].metadata['name','labels']}", r#"a {"app.kubernetes.io/name":"web"}"#);
    prints("{.items[0].spec.*}", r#"[{"name":"x"},{"name":"y"}] 1"#);
}

#[test]
fn filters_choose_elements() {
    prints(r#"{.items[?(@.metadata.name=="b")].spec.n}"#, "2");
    prints("{.items[?(@.metadata.name == 'b')].spec.n}", "2");
    prints("{.items[?(@.spec.n>=2)].metadata.name}", "b c");
    prints("{.items[?(@.spec.n<2)].metadata.name}", "a");
    prints("{.items[?(@.spec.n!=2)].metadata.name}", "a c");
    prints("{.items[?(@.ready==true)].metadata.name}", "a");
    prints("{.items[?(@.metadata.labels)].metadata.name}", "a");
    prints("{.items[?(@.metadata.name=='no')].spec.n}", "");
    prints(r#"{.items[?(@.metadata.labels.app\.kubernetes\.io/name=="web")].metadata.name}"#, "a");
}

#[test]
fn ranges_repeat_the_template_in_between() {
    prints(r#"{range .items[*]}{.metadata.name}{"\t"}{.spec.n}{"\n"}{end}"#, "a\t1\nb\t2\nc\t3\n");
    prints("{range .items[*]}{range .spec.containers[*]}{.name},{end};{end}", "x,y,;;;");
    prints("{range .items[?(@.spec.n>1)]}<{@.metadata.name}>{end}", "<b><c>");
}

#[test]
fn recursive_descent_finds_every_depth() {
    prints("{..name}", "a x y b c");
    prints("{.items[0]..name}", "a x y");
}

#[test]
fn many_recursive_descents_end_with_an_error_and_not_with_all_of_the_memory() {
    let many = format!("{{{}name}}", "..".repeat(80));
    assert_eq!(
        printed(&many),
        Err("it leads to more than 1048576 values: name more fields, and fewer \"..\"".to_owned())
    );
}

#[test]
fn what_is_no_template_is_refused() {
    for (template, expected) in [
        ("{.a", "unclosed action"),
        ("{range .items[*]}", "unexpected end of the template, a {range} has no {end}"),
        ("{end}", "not in range, nothing to end"),
        ("{.items[x]}", "invalid array index x"),
        ("{.items[0}", "unterminated array"),
        ("{.items[?(@.a==1}", "unterminated filter"),
        ("{foo}", "unrecognized identifier foo"),
        ("{\"a}", "unterminated quoted string"),
        ("{!}", "unrecognized character in action: '!'"),
    ] {
        assert_eq!(Template::parse(template), Err(expected.to_owned()), "{template}");
    }
    assert_eq!(printed("{.items[7].metadata}"), Err("array index out of bounds: index 7, length 3".to_owned()));
    assert_eq!(printed("{.kind[0]}"), Err("List is not array or slice".to_owned()));
    assert_eq!(printed("{.items[::0]}"), Err("step must be > 0, got 0".to_owned()));
}

#[test]
fn what_is_printed_is_bounded() {
    let deep = (0..20).fold(json!("x".repeat(1 << 22)), |inner, _| json!([inner]));
    let printed = Template::parse("{range ..}{@}{end}").and_then(|template| template.print(&deep));
    let expected = "it prints more than 67108864 bytes: name more fields, and fewer \"..\" and \"*\"";
    assert_eq!(printed, Err(expected.to_owned()));
}

#[test]
fn a_single_path_needs_no_braces() {
    for path in ["kind", ".kind", "{.kind}", "{kind}", "$.kind"] {
        assert_eq!(Template::parse_relaxed(path).unwrap().values(&list()).unwrap(), [&json!("List")], "{path}");
    }
    for path in ["", "{", "{.a}{.b}"] {
        assert!(Template::parse_relaxed(path).is_err(), "{path}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    for template in
        ["{[", "{['", "{[?(", "{..}", "{.}", "{@}", "{.é\\", "{range}{end}", "{\\", "{[:::]}", "{-}", "{..[0]}"]
    {
        let _ = Template::parse(template).and_then(|template| template.print(&list()));
    }
}
