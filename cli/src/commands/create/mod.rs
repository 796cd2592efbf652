//! `loment create`: all pods of the files, or nothing.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{note, print};
use crate::args::{Filenames, Global};
use crate::error::Said;
use crate::images;
use crate::kept::{record, remains};
use crate::lower::layout::Layout;
use crate::lower::{self, Host, Sources};
use crate::make::{self, Plan};
use crate::manifest::{Objects, files, validate::Rules};
use crate::print::show;
use crate::session::Session;
use crate::{disk, host};

const EXAMPLES: &str = "\
Examples:
  # The pods of a file, with the ConfigMaps and Secrets in it
  loment create -f pod.yaml

  # From standard input; ConfigMaps from another file
  loment create -f - --configmap settings.yaml < pod.yaml

  # Try pulls that fail again for ten minutes
  loment create -f pod.yaml --pull-retry 10m";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) filenames: Filenames,
    /// How to print what was made
    #[arg(short, long)]
    pub(crate) output: Option<CreateOutput>,
    /// For how long a pull that fails is tried again, after 10 s, 20 s and so on up to 300 s, as in "30s" or "10m"
    /// [default: not at all]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) pull_retry: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CreateOutput {
    Name,
    Yaml,
    Json,
}

/// A duration as Go writes it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    loment_sandbox::lifecycle::duration::parse(text).ok_or_else(|| "write it like 90s or 1m30s".to_owned())
}

/// A pod that is about to be made, and the file that it comes from.
struct Planned {
    plan: Plan,
    file: String,
}

pub(crate) async fn run(global: &Global, args: &Create) -> anyhow::Result<()> {
    let made = create(global, &args.filenames, args.pull_retry).await?;
    made.iter().try_for_each(|pod| print(&shown(pod, args.output)?))
}

/// Makes the pods of these files and starts them: all, or none. Answers with them as they were made.
pub(crate) async fn create(
    global: &Global,
    filenames: &Filenames,
    pull_retry: Option<Duration>,
) -> anyhow::Result<Vec<Pod>> {
    create_objects(global, files::read_all(filenames)?, filenames, pull_retry).await
}

/// The same of objects that have been read.
pub(super) async fn create_objects(
    global: &Global,
    objects: Objects,
    filenames: &Filenames,
    pull_retry: Option<Duration>,
) -> anyhow::Result<Vec<Pod>> {
    let host = host::read();
    let planned = plan(global, objects, filenames, &host)?;
    let interruption = Interruption::listen()?;
    let session = Session::open(global).await?;
    let _names = take_names(global, &planned)?;
    for Planned { plan, file } in &planned {
        let cleared = remains::clear(&session, lower::namespace(&plan.pod), lower::name(&plan.pod)).await?;
        if cleared.living.is_some() {
            return Err(Said::one(already_exists(file, &plan.pod)).into());
        }
        plan.check(&session, &host).await?;
    }
    // Nothing has been made yet: here an interruption may come at any moment.
    tokio::select! {
        pulled = pull(&session, &planned, pull_retry) => pulled?,
        () = interruption.came() => interruption.check()?,
    }
    if let Err(error) = make_all(&session, &planned, &host, &interruption).await {
        for Planned { plan, .. } in &planned {
            if let Err(left) = make::unmake(&session, &plan.pod, &plan.layout).await {
                note(&format!("Warning: pod {:?} could not be removed again: {left:#}", lower::name(&plan.pod)));
            }
        }
        return Err(error);
    }
    Ok(planned.into_iter().map(|planned| planned.plan.pod).collect())
}

async fn pull(session: &Session, planned: &[Planned], retry: Option<Duration>) -> anyhow::Result<()> {
    let pods: Vec<&Pod> = planned.iter().map(|planned| &planned.plan.pod).collect();
    let warnings = images::ensure(&session.client, &pods, retry).await?;
    warnings.iter().for_each(|warning| note(&format!("Warning: {warning}")));
    Ok(())
}

/// Makes all pods, then starts all: a pod that cannot be made takes nothing down that ran.
async fn make_all(
    session: &Session,
    planned: &[Planned],
    host: &Host,
    interruption: &Interruption,
) -> anyhow::Result<()> {
    let mut made = Vec::with_capacity(planned.len());
    for Planned { plan, .. } in planned {
        made.push(make::make(session, plan, host).await?);
        interruption.check()?;
    }
    for (Planned { plan, .. }, made) in planned.iter().zip(&made) {
        make::start(session, plan, made).await?;
    }
    Ok(())
}

/// SIGINT and SIGTERM, heard between two steps: one that is given up half way could be finished by containerd after it
/// has been taken back. The second signal ends the command where it is.
struct Interruption {
    signal: watch::Receiver<Option<&'static str>>,
}

impl Interruption {
    fn listen() -> anyhow::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let (news, signal) = watch::channel(None);
        tokio::spawn(async move {
            for first in [true, false] {
                let name = tokio::select! {
                    _ = interrupt.recv() => "interrupted",
                    _ = terminate.recv() => "terminated",
                };
                if !first {
                    note("error: stopped at once; `loment delete` removes what is left");
                    std::process::exit(1);
                }
                let _heard = news.send(Some(name));
            }
        });
        Ok(Self { signal })
    }

    async fn came(&self) {
        let mut signal = self.signal.clone();
        if signal.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        match *self.signal.borrow() {
            None => Ok(()),
            Some(name) => Err(anyhow!("{name}; what had been made is removed")),
        }
    }
}

fn shown(pod: &Pod, output: Option<CreateOutput>) -> anyhow::Result<String> {
    Ok(match output {
        None => format!("pod/{} created\n", lower::name(pod)),
        Some(CreateOutput::Name) => format!("pod/{}\n", lower::name(pod)),
        Some(CreateOutput::Yaml) => show::yaml(&show::object(pod, None)?)?,
        Some(CreateOutput::Json) => show::json(&show::object(pod, None)?)?,
    })
}

/// Completes and validates the pods of all files. What is wrong in any of them is reported at once.
fn plan(global: &Global, mut objects: Objects, given: &Filenames, host: &Host) -> anyhow::Result<Vec<Planned>> {
    let rules = Rules { runtime_handler: &global.runtime_handler, unsafe_sysctls: &given.allowed_unsafe_sysctls };
    let warnings = files::complete_and_check(&mut objects, global.namespace.as_deref(), rules)?;
    warnings.iter().for_each(|warning| note(&format!("Warning: {warning}")));
    let file = given.files.join(", ");
    let mut planned: Vec<Planned> = Vec::new();
    for mut pod in objects.pods {
        stamp(&mut pod, &host.name)?;
        if planned.iter().any(|other| same_name(&other.plan.pod, &pod)) {
            return Err(Said::one(already_exists(&file, &pod)).into());
        }
        let sources = Sources::of(lower::namespace(&pod), &objects.config_maps, &objects.secrets);
        let layout = Layout::of(&pod, &global.state_dir, &global.log_dir);
        planned.push(Planned { plan: Plan { pod, sources, layout, attempt: 0 }, file: file.clone() });
    }
    if planned.is_empty() {
        return Err(Said::one(format!("error: {file} holds no pod")).into());
    }
    Ok(planned)
}

fn same_name(a: &Pod, b: &Pod) -> bool {
    (lower::namespace(a), lower::name(a)) == (lower::namespace(b), lower::name(b))
}

fn already_exists(file: &str, pod: &Pod) -> String {
    let name = lower::name(pod);
    format!("Error from server (AlreadyExists): error when creating {file:?}: pods {name:?} already exists")
}

/// Gives a pod what a server gives it: a uid, the time, its node, and a name if it only has the beginning of one.
fn stamp(pod: &mut Pod, node: &str) -> anyhow::Result<()> {
    if pod.metadata.name.as_deref().unwrap_or_default().is_empty()
        && let Some(prefix) = pod.metadata.generate_name.as_deref().filter(|prefix| !prefix.is_empty())
    {
        // The server's alphabet: no vowels, so that no words appear.
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let random = random_bytes::<5>()?;
        let letter =
            |byte: u8| LETTERS.get(usize::from(byte) % LETTERS.len()).map_or('x', |letter| char::from(*letter));
        pod.metadata.name = Some(format!("{prefix}{}", random.map(letter).iter().collect::<String>()));
    }
    if let Some(spec) = &mut pod.spec {
        spec.node_name.get_or_insert_with(|| node.to_owned());
    }
    pod.metadata.uid = Some(new_uid(random_bytes()?));
    pod.metadata.creation_timestamp = Some(Time(now()));
    record::stamp(pod);
    Ok(())
}

/// The time, in the whole seconds that the API knows.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut source = std::fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    source.read_exact(&mut bytes).context("read /dev/urandom")?;
    Ok(bytes)
}

/// A version 4 UUID (RFC 9562, 5.4) of random bytes.
fn new_uid(random: [u8; 16]) -> String {
    let number = u128::from_be_bytes(random) & !(0xf000 << 64) & !(0xc000 << 48) | (0x4000 << 64) | (0x8000 << 48);
    let hex = format!("{number:032x}");
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| hex.get(from..to).unwrap_or_default());
    parts.join("-")
}

/// Keeps everybody else from making pods of these names until they are made.
fn take_names(global: &Global, planned: &[Planned]) -> anyhow::Result<Vec<disk::NameLock>> {
    let take = |Planned { plan: Plan { pod, .. }, file }: &Planned| {
        let lock = disk::NameLock::take(&global.state_dir, lower::namespace(pod), lower::name(pod))?;
        lock.ok_or_else(|| Said::one(already_exists(file, pod)).into())
    };
    planned.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_random_uuid() {
        assert_eq!(new_uid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(new_uid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
    }

    #[test]
    fn a_generated_name_starts_as_the_manifest_says() {
        let mut pod = Pod::default();
        pod.metadata.generate_name = Some("web-".into());
        stamp(&mut pod, "node").unwrap();
        let name = pod.metadata.name.unwrap();
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    }
}
