//! No memory: the shim in a cgroup that leaves it ever less.

use containerd_shim_protos::ttrpc;
use serde_json::json;

use super::{Limit, SLEEP, lives, until};
use crate::{Place, task::Task};

/// What the shim may take beyond what it has, from plenty to nothing.
const ROOMS: [u64; 6] = [8 << 20, 512 << 10, 128 << 10, 64 << 10, 16 << 10, 0];

/// A cgroup that limits memory.
fn limit(place: &Place, bytes: u64) -> Limit {
    let limit = Limit::new(place, "memory");
    set(&limit, bytes);
    limit
}

fn set(limit: &Limit, bytes: u64) {
    let file = ["memory.limit_in_bytes", "memory.max"].into_iter().find(|file| limit.0.join(file).exists());
    limit.write(file.unwrap(), bytes.to_string());
}

/// Whether the shim has refused, in words, or has been killed on the way.
fn is_told(answer: ttrpc::Result<()>) -> bool {
    match answer {
        Ok(()) => true,
        Err(ttrpc::Error::RpcStatus(status)) => {
            assert!(!status.message.is_empty());
            true
        }
        Err(_) => false,
    }
}

/// A life, as far as it goes.
fn life(task: &Task) -> ttrpc::Result<()> {
    task.run()?;
    task.exec("e", "true").map(drop)?;
    task.killed()?;
    Ok(())
}

#[test]
fn a_shim_with_too_little_memory_refuses_or_is_killed_and_then_delete_removes_everything() {
    let mut killed = 0;
    for room in ROOMS {
        let place = Place::new();
        let task = place.task(false, SLEEP);
        let shim = place.shim();
        let limit = limit(&place, room);
        limit.take(shim);
        let answered = is_told(life(&task));
        set(&limit, 1 << 30);
        if answered {
            assert!(lives(shim));
            // Whatever has become of it: now there is memory, and it can be taken away and made anew.
            task.is_answered();
            let _refused = task.killed();
            if let Err(error) = task.deleted() {
                assert!(
                    error.to_string().contains("no such container") || error.to_string().contains("running"),
                    "{error}"
                );
                let _ended = task.killed();
                until("it can be deleted", || task.deleted().is_ok() || task_is_gone(&task));
            }
            task.run().unwrap();
            task.removed();
        } else {
            killed += 1;
            until("the shim that has not answered is gone", || !lives(shim));
            place.deleted();
        }
        place.is_clean();
    }
    assert!(killed > 0, "no room was too little");
}

fn task_is_gone(task: &Task) -> bool {
    task.deleted().is_err_and(|error| error.to_string().contains("no such container"))
}

#[test]
fn a_start_without_memory_leaves_no_shim() {
    for room in [64 << 10, 0] {
        let place = Place::new();
        let limit = limit(&place, room);
        let enter = format!("echo $$ >{}/cgroup.procs;", limit.0.display());
        let output = place.run_after(&enter, "start", "");
        assert!(!output.status.success(), "{room} bytes are enough: {output:?}");
        until("nothing of it is left", || place.shims().is_empty());
        drop(limit);
        place.deleted();
        place.started("");
        place.is_clean();
    }
}

#[test]
fn a_container_that_runs_out_of_memory_does_not_take_the_shim_with_it() {
    let place = Place::new();
    let task = place.task(false, "busybox tail -c 1000000000 /dev/zero");
    task.change(|spec| spec["linux"]["resources"] = json!({"memory": {"limit": 16 << 20}}));
    let sibling = place.sibling(&task, "beside");
    sibling.change(|spec| {
        spec["process"]["args"] = json!(["/bin/busybox", "sleep", "1000"]);
        spec["linux"]["resources"] = json!({});
    });
    sibling.run().unwrap();
    task.run().unwrap();
    let (code, _) = sibling.while_answered(&place, || task.again(&place).ended());
    assert_eq!(code, 137);
    task.deleted().unwrap();
    assert!(lives(sibling.pid().cast_signed()));
    sibling.removed();
    place.is_clean();
}
