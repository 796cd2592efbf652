//! What is taken back from a file that others have changed.

use std::fs;
use std::path::Path;

use super::super::apply::{self, Undo, undoing};
use super::super::config::Schema;
use super::super::plan::{Change, Way, table};
use super::super::record::{self, Record};
use super::{Root, wanted};

fn change(way: Way) -> Change {
    let table = table(Schema::V2, &wanted());
    Change { path: "/x/config.toml".into(), way, text: format!("\n# Begin\n{table}# End of it.\n") }
}

#[test]
fn what_others_have_added_since_stays() {
    let change = change(Way::Appended);
    let now = format!("version = 2\n{}[debug]\n", change.text);
    assert_eq!(undoing(&change, Some(&now)), Ok(Undo::Write("version = 2\n[debug]\n".into())));
}

#[test]
fn what_somebody_has_undone_already_is_nothing_to_undo() {
    assert_eq!(undoing(&change(Way::Appended), Some("version = 2\n")), Ok(Undo::Nothing));
    assert_eq!(undoing(&change(Way::Appended), None), Ok(Undo::Nothing));
    assert_eq!(undoing(&change(Way::Created), None), Ok(Undo::Nothing));
}

#[test]
fn what_others_have_changed_in_it_is_not_undone() {
    let change = change(Way::Appended);
    let edited = format!("version = 2\n{}", change.text.replace("io.loment.*", "x.*"));
    assert!(undoing(&change, Some(&edited)).unwrap_err().contains("by hand"));
    let twice = format!("{0}{0}", change.text);
    assert!(undoing(&change, Some(&twice)).is_err());
    let created = Change { way: Way::Created, text: format!("version = 2\n{}", change.text), ..change };
    let edited = created.text.replace("io.loment.*", "x.*");
    assert!(undoing(&created, Some(&edited)).unwrap_err().contains("by hand"));
}

#[test]
fn a_file_that_was_made_and_then_changed_is_given_back_without_the_class() {
    let table = table(Schema::V2, &wanted());
    let text = format!("# Made by `loment install`; `loment uninstall` removes it.\nversion = 2\n\n{table}");
    let change = Change { path: "/x/config.toml".into(), way: Way::Created, text: text.clone() };
    assert_eq!(undoing(&change, Some(&text)), Ok(Undo::Remove));
    // As the message says it: the class is removed by hand.
    let by_hand = "version = 2\n[debug]\n  level = \"debug\"\n";
    assert_eq!(undoing(&change, Some(by_hand)), Ok(Undo::Nothing));
    let added = "[debug]\n  level = \"debug\"\n";
    let above = text.trim_end_matches(table.as_str());
    assert_eq!(
        undoing(&change, Some(&format!("{text}\n# Ours\n{added}"))),
        Ok(Undo::Write(format!("{above}\n# Ours\n{added}")))
    );
    assert_eq!(undoing(&change, Some(&format!("{above}{added}{table}"))), Ok(Undo::Write(format!("{above}{added}"))));
    // A key of somebody else's is in the table.
    assert!(undoing(&change, Some(&format!("{text}  snapshotter = \"x\"\n"))).unwrap_err().contains("by hand"));
    assert!(undoing(&change, Some(&format!("{text}{table}"))).is_err());
}

#[test]
fn a_class_that_was_moved_to_another_table_is_not_forgotten() {
    let change = change(Way::Appended);
    // As `containerd config migrate` prints it.
    let migrated = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.loment]\n\
                    runtime_type = 'io.containerd.loment.v2'\n";
    assert!(undoing(&change, Some(migrated)).unwrap_err().contains("by hand"));
    assert_eq!(undoing(&change, Some(&migrated.replace("loment.v2", "other.v2"))), Ok(Undo::Nothing));
}

#[test]
fn a_file_keeps_its_mode_and_a_link_stays_one() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let root = Root::new();
    root.put("real.toml", "a");
    fs::set_permissions(root.0.join("real.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("real.toml", root.0.join("config.toml")).unwrap();
    apply::replace(&root.0.join("config.toml"), b"b", 0o644).unwrap();
    assert!(root.0.join("config.toml").is_symlink());
    assert_eq!(fs::read(root.0.join("real.toml")).unwrap(), b"b");
    assert_eq!(fs::metadata(root.0.join("real.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(root.census().len(), 2);
}

#[test]
fn one_installation_is_changed_at_a_time() {
    let root = Root::new();
    let state = root.0.join("state");
    let lock = record::lock(&state).unwrap();
    assert!(record::lock(&state).unwrap_err().to_string().contains("run this again"));
    drop(lock);
    assert!(record::lock(&state).is_ok() && root.census().is_empty());
}

#[test]
fn a_record_is_read_as_it_was_written_and_leaves_nothing() {
    let root = Root::new();
    let state = root.0.join("state");
    assert!(record::all(&state).unwrap().is_empty());
    let mut one = Record::new("containerd", "loment", Path::new("/etc/containerd/config.toml"));
    one.change = Some(change(Way::Appended));
    let other = Record::new("k3s", "loment", Path::new("/x"));
    record::write(&state, &one).unwrap();
    record::write(&state, &other).unwrap();
    let all = record::all(&state).unwrap();
    assert_eq!(all, [one.clone(), other.clone()]);
    assert!(record::choose(all.clone(), None, "loment").unwrap_err().to_string().contains("--kind"));
    assert_eq!(record::choose(all.clone(), Some("k3s"), "loment").unwrap(), Some(other.clone()));
    assert_eq!(record::choose(all, None, "other").unwrap(), None);
    record::remove(&state, &one).unwrap();
    record::remove(&state, &other).unwrap();
    assert!(root.census().is_empty());
}

/// Lines that others may add.
const ABOVE: &str = "[a-z#= \\n]{0,40}";

proptest::proptest! {
    /// Whatever a file has, and whatever others add before and after, what was added is what is taken away.
    #[test]
    fn what_is_added_to_any_file_is_taken_away_again(old in "(?s).{0,200}", above in ABOVE, below in ABOVE) {
        let change = change(Way::Appended);
        let now = format!("{above}{old}{}{below}", change.text);
        if old.contains("# Begin") {
            return Ok(());
        }
        proptest::prop_assert_eq!(undoing(&change, Some(&now)), Ok(Undo::Write(format!("{above}{old}{below}"))));
    }
}
