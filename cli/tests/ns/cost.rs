//! What namespaces cost.

use crate::support::{KINDS, Lab};

#[test]
fn every_kind_is_made_joined_and_dropped_as_often_as_was_asked() {
    let lab = Lab::new("cost");
    let document = lab.json("time --rounds 5");
    let costs = document["costs"].as_array().unwrap();
    assert_eq!(costs.len(), 3 * KINDS.len());
    for kind in KINDS {
        let steps: Vec<&str> =
            costs.iter().filter(|one| one["type"] == kind).map(|one| one["step"].as_str().unwrap()).collect();
        assert_eq!(steps, ["make", "join", "drop"], "{kind}");
    }
    for cost in costs {
        assert_eq!(cost["count"], 5);
        let figures: Vec<f64> =
            ["minUs", "p50Us", "p90Us", "p99Us", "maxUs"].iter().map(|name| cost[name].as_f64().unwrap()).collect();
        assert!(figures.is_sorted() && figures[0] > 0.0, "{cost}");
    }
}
