//! The acceptance matrix: what the Kubernetes project's own end-to-end tests of a pod's lifecycle ask for, under each
//! restart policy.

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    images,
    loment::{Loment, container_status},
    pod::{Node, eventually},
};
use serde_json::{Value, json};

use super::manifest::{Manifest, RUNS, wait_for};

const POLICIES: [&str; 3] = ["Never", "OnFailure", "Always"];

fn is(status: &Value, container: &str, is_it: impl Fn(&Value) -> bool) -> bool {
    container_status(status, container).is_ok_and(is_it)
}

fn restarts(status: &Value) -> u64 {
    status["restartCount"].as_u64().unwrap_or_default()
}

fn runs(status: &Value) -> bool {
    status["state"]["running"].is_object()
}

fn code(status: &Value) -> Option<u64> {
    status["state"]["terminated"]["exitCode"].as_u64()
}

fn never_ran(status: &Value) -> bool {
    restarts(status) == 0 && !runs(status) && status["lastState"]["terminated"].is_null() && status["started"] != true
}

/// One pod for each policy, named after it.
async fn under_each_policy(
    node: &Node<'_>,
    name: &str,
    pod: impl Fn(Manifest) -> Manifest,
    check: impl AsyncFn(&Loment<'_>, &str, &Manifest, &str) -> Result<()>,
) -> Result<()> {
    for policy in POLICIES {
        let name = format!("{name}-{}", policy.to_lowercase());
        let pod = pod(Manifest::new(node, &name)?.restart_policy(policy));
        let loment = pod.create(node).await?;
        check(&loment, &name, &pod, policy).await.with_context(|| format!("under {policy}"))?;
        loment.ok(&["delete", "pod", &name, "--now"]).await?;
    }
    Ok(())
}

pub(crate) async fn an_init_container_before_a_sidecar_fails(node: &Node<'_>) -> Result<()> {
    let pod = |pod: Manifest| pod.init("init", "exit 1").sidecar("sidecar", RUNS).app("app", RUNS);
    under_each_policy(node, "init-before", pod, async |loment, name, _, policy| {
        let status = if policy == "Never" {
            loment.phase(name, "Failed").await?
        } else {
            let retried = |status: &Value| is(status, "init", |init| restarts(init) >= 2);
            loment.until(name, "the init container to be retried", retried).await?
        };
        ensure!(policy == "Never" || status["phase"] == "Pending", "the pod is {}", status["phase"]);
        for later in ["sidecar", "app"] {
            ensure!(is(&status, later, never_ran), "{later} was started: {status}");
        }
        Ok(())
    })
    .await
}

pub(crate) async fn an_init_container_after_a_sidecar_fails(node: &Node<'_>) -> Result<()> {
    let pod = |pod: Manifest| pod.sidecar("sidecar", RUNS).init("init", "exit 1").app("app", RUNS);
    under_each_policy(node, "init-after", pod, async |loment, name, _, policy| {
        let status = if policy == "Never" {
            loment.phase(name, "Failed").await?;
            let ended = |status: &Value| is(status, "sidecar", |sidecar| code(sidecar) == Some(0));
            loment.until(name, "the sidecar to be stopped", ended).await?
        } else {
            let retried = |status: &Value| is(status, "init", |init| restarts(init) >= 2);
            let status = loment.until(name, "the init container to be retried", retried).await?;
            ensure!(is(&status, "sidecar", |sidecar| runs(sidecar) && restarts(sidecar) == 0), "the sidecar: {status}");
            status
        };
        ensure!(is(&status, "app", never_ran), "the app was started: {status}");
        Ok(())
    })
    .await
}

pub(crate) async fn a_sidecar_runs_for_ever_and_the_pod_completes_without_it(node: &Node<'_>) -> Result<()> {
    let pod = |pod: Manifest| pod.sidecar("sidecar", RUNS).app("app", "true");
    under_each_policy(node, "for-ever", pod, async |loment, name, _, policy| {
        if policy == "Always" {
            let again = |status: &Value| is(status, "app", |app| restarts(app) >= 2);
            let status = loment.until(name, "the app to be run again", again).await?;
            ensure!(is(&status, "sidecar", |sidecar| runs(sidecar) && restarts(sidecar) == 0), "the sidecar: {status}");
            return Ok(());
        }
        loment.phase(name, "Succeeded").await?;
        let ended = |status: &Value| is(status, "sidecar", |sidecar| code(sidecar) == Some(0));
        let status = loment.until(name, "the sidecar to be stopped", ended).await?;
        ensure!(is(&status, "app", |app| code(app) == Some(0) && restarts(app) == 0), "the app: {status}");
        Ok(())
    })
    .await
}

async fn a_sidecar_that_ends_with(node: &Node<'_>, exit: u64) -> Result<()> {
    let pod = |pod: Manifest| pod.sidecar("sidecar", &format!("exit {exit}")).app("app", &wait_for("go"));
    under_each_policy(node, &format!("repeats-{exit}"), pod, async |loment, name, pod, policy| {
        let again = |status: &Value| {
            is(status, "sidecar", |sidecar| {
                restarts(sidecar) >= 3 && sidecar["lastState"]["terminated"]["exitCode"].as_u64() == Some(exit)
            }) && is(status, "app", runs)
        };
        loment.until(name, "the sidecar to be started again and again beside the app", again).await?;
        pod.touch("go")?;
        if policy != "Always" {
            // Its exit codes never matter to the phase.
            loment.phase(name, "Succeeded").await?;
        }
        Ok(())
    })
    .await
}

pub(crate) async fn a_sidecar_ends_well_repeatedly(node: &Node<'_>) -> Result<()> {
    a_sidecar_that_ends_with(node, 0).await
}

pub(crate) async fn a_sidecar_fails_repeatedly(node: &Node<'_>) -> Result<()> {
    a_sidecar_that_ends_with(node, 1).await
}

pub(crate) async fn a_sidecar_is_terminated_while_an_init_container_runs(node: &Node<'_>) -> Result<()> {
    let init = format!("touch /shared/up; {RUNS}");
    let pod = |pod: Manifest| pod.sidecar("sidecar", RUNS).init("init", &init).app("app", RUNS);
    under_each_policy(node, "during-init", pod, async |loment, name, pod, _| {
        let both = |status: &Value| is(status, "sidecar", runs) && is(status, "init", runs);
        loment.until(name, "the init container to run", both).await?;
        loment.until(name, "its trap", |_| pod.has("up")).await?;
        // With a grace that a hanging deletion would use up.
        loment.ok(&["delete", "pod", name, "--grace-period=600"]).await?;
        loment.create(&pod.text()).await
    })
    .await
}

pub(crate) async fn an_app_that_exceeds_its_grace_fails_the_pod_and_a_sidecar_does_not(node: &Node<'_>) -> Result<()> {
    let deaf = "trap '' TERM; touch /shared/up; while :; do sleep 0.05; done";
    // The pod ends by its deadline, so that its status can be seen afterwards.
    let app = Manifest::new(node, "deaf-app")?.restart_policy("Never").spec("terminationGracePeriodSeconds", 1.into());
    let app = app.spec("activeDeadlineSeconds", 1.into()).app("app", deaf);
    let loment = app.create(node).await?;
    let status = loment.phase("deaf-app", "Failed").await?;
    ensure!(is(&status, "app", |app| code(app) == Some(137)), "the app: {status}");
    loment.ok(&["delete", "pod", "deaf-app", "--now"]).await?;

    let sidecar = Manifest::new(node, "deaf-sidecar")?.restart_policy("Never");
    let sidecar = sidecar.spec("terminationGracePeriodSeconds", 1.into()).sidecar("sidecar", deaf);
    let loment = sidecar.app("app", &wait_for("up")).create(node).await?;
    loment.phase("deaf-sidecar", "Succeeded").await?;
    let ended = |status: &Value| is(status, "sidecar", |sidecar| code(sidecar) == Some(137));
    let status = loment.until("deaf-sidecar", "the sidecar to be killed", ended).await?;
    ensure!(status["phase"] == "Succeeded", "the pod is {}", status["phase"]);
    loment.ok(&["delete", "pod", "deaf-sidecar", "--now"]).await.map(drop)
}

pub(crate) async fn a_container_that_is_killed_ends_with_137_and_error(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "killed")?.restart_policy("Never").app("app", "kill -KILL $$$$; sleep 1000");
    // As pid 1 of its namespace it could not be killed from inside. (A manifest writes `$` as `$$`.)
    let loment = pod.spec("shareProcessNamespace", true.into()).create(node).await?;
    let status = loment.phase("killed", "Failed").await?;
    let app = container_status(&status, "app")?;
    ensure!(code(app) == Some(137) && app["state"]["terminated"]["reason"] == "Error", "the app: {app}");
    loment.delete("killed").await
}

pub(crate) async fn a_pod_with_an_image_that_does_not_exist_is_not_made(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    for place in ["initContainers", "containers"] {
        let name = format!("no-image-{}", place.to_lowercase());
        let pod = Manifest::new(node, &name)?.sidecar("sidecar", RUNS).app("app", RUNS);
        let pod = pod.change(place, 0, "image", "localhost/loment/none:1".into());
        let pod = pod.change(place, 0, "imagePullPolicy", "Never".into());
        let said = loment.refused(&["create", "-f", "-"], &pod.text()).await?;
        ensure!(said.contains("ErrImageNeverPull"), "create says {said:?}");
        ensure!(loment.refused(&["get", "pod", &name], "").await?.contains("not found"), "there is a pod");
    }
    Ok(())
}

pub(crate) async fn a5_an_image_says_by_which_signal_its_containers_are_stopped(node: &Node<'_>) -> Result<()> {
    let script = "trap 'echo quit > /shared/signal; exit 0' QUIT; trap 'echo term > /shared/signal; exit 0' TERM; touch \
                  /shared/up; sleep 1000 & wait";
    let pod = Manifest::new(node, "quits")?.app("app", script).change("containers", 0, "image", images::QUITS.into());
    let loment = pod.create(node).await?;
    loment.until("quits", "its traps", |_| pod.has("up")).await?;
    // By whom it is replaced has another image, and another signal.
    std::fs::remove_file(pod.path("up"))?;
    loment.ok(&["set", "image", "pod/quits", "app=busybox"]).await?;
    loment.until("quits", "the traps of its successor", |_| pod.has("up")).await?;
    ensure!(pod.lines("signal") == ["quit"], "the first was stopped by {:?}", pod.lines("signal"));
    loment.delete("quits").await?;
    ensure!(pod.lines("signal") == ["term"], "its successor was stopped by {:?}", pod.lines("signal"));
    Ok(())
}

pub(crate) async fn a_sidecar_that_has_not_started_does_not_hold_up_the_end(node: &Node<'_>) -> Result<()> {
    let never = json!({ "exec": { "command": ["false"] }, "periodSeconds": 1, "failureThreshold": 1000 });
    // Before its trap, the signal would not end it.
    let runs_and_says = "trap 'exit 0' TERM; touch /shared/up; sleep 1000 & wait";
    let pod = |pod: Manifest| pod.sidecar("sidecar", runs_and_says).app("app", RUNS);
    let pod = |manifest: Manifest| pod(manifest).change("initContainers", 0, "startupProbe", never.clone());
    under_each_policy(node, "not-started", pod, async |loment, name, pod, _| {
        let up = |status: &Value| is(status, "sidecar", |sidecar| runs(sidecar) && sidecar["started"] == false);
        let status = loment.until(name, "the sidecar to run", up).await?;
        ensure!(is(&status, "app", never_ran), "the app was started: {status}");
        eventually("the trap", async || Ok(pod.has("up").then_some(()))).await?;
        loment.ok(&["delete", "pod", name, "--grace-period=600"]).await?;
        loment.create(&pod.text()).await
    })
    .await
}
