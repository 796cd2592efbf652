//! Who is in which namespace.

use serde_json::Value;

use crate::support::{KINDS, Lab, inode, namespaces, sleeping_in};

#[test]
fn a_map_is_what_the_kernel_says_and_draws_what_is_shared_as_shared() {
    let lab = Lab::new("map");
    let first = namespaces(&lab.json("create first --net --ipc"));
    lab.run("create second --uts");
    let _alone = lab.stay("exec first -- sleep 1000", first["net"]);
    let alone = sleeping_in(first["net"]).unwrap();
    let document = lab.json("map");
    let group = |name: &str| -> Value {
        let groups = document["groups"].as_array().unwrap();
        groups.iter().find(|group| group["kind"] == "sandbox" && group["name"] == name).unwrap().clone()
    };
    let unit = &group("first")["units"][0];
    assert_eq!(unit["processes"], serde_json::json!([{ "pid": alone, "name": "sleep" }]));
    for kind in KINDS {
        assert_eq!(unit["namespaces"][kind].as_u64(), inode(alone, kind), "{kind}");
    }
    // Nobody is in the second one: what it has pinned, and for the rest what this machine has.
    let unit = &group("second")["units"][0];
    assert_eq!(unit["processes"], serde_json::json!([]));
    assert_eq!(unit["namespaces"]["net"].as_u64(), inode("self", "net"));
    assert_ne!(unit["namespaces"]["uts"].as_u64(), inode("self", "uts"));

    let tree = lab.run("map first");
    assert!(
        tree.starts_with("sandbox first\n")
            && tree.contains(&format!("ipc:[{}] net:[{}]\n", first["ipc"], first["net"])),
        "{tree}"
    );
    assert!(!tree.contains("sandbox second"), "{tree}");
    let graph = lab.run("map --all -o dot");
    let network = format!("net_{}", first["net"]);
    assert_eq!(graph.matches(&format!("-- {network};")).count(), 1);
    let picture = lab.run("map first second --svg -");
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(picture.contains(&format!(">{}</text>", first["net"])), "{picture}");
}
