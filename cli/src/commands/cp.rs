//! `loment cp`: files and directories into a container and out of it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use nix::errno::Errno;
use nix::sys::stat::SFlag;
use tokio::sync::oneshot;

use crate::args::Global;
use crate::copy::enclosure::Enclosure;
use crate::copy::place::{Place, Root, kind, named};
use crate::copy::spec::{self, Direction};
use crate::copy::write::{Rules, Target};
use crate::copy::{Item, ON_THEIR_WAY, read, write};
use crate::pod;
use crate::session::Session;
use crate::streams::target::{self, Demand};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # A directory of this machine into /tmp of the default container of pod web
  loment cp ./site web:/tmp/site
  # A file into container app
  loment cp nginx.conf web:/etc/nginx/nginx.conf -c app
  # Out of a pod in namespace shop
  loment cp shop/web:/var/log/app.log ./app.log

No program of the image is needed. Symbolic links are copied as links.")]
pub(crate) struct Cp {
    /// "PATH", or "POD:PATH" or "NAMESPACE/POD:PATH"
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// The same; one of both is a pod's
    #[arg(value_name = "DST")]
    pub(crate) destination: String,
    /// Container [default: what the pod's annotation names, or the first app container]
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// Do not keep owner and permissions in the container
    #[arg(long)]
    pub(crate) no_preserve: bool,
}

pub(crate) async fn run(global: &Global, args: &Cp) -> anyhow::Result<()> {
    match spec::direction(&args.source, &args.destination)? {
        Direction::Into { local, namespace, pod, path } => {
            let local = PathBuf::from(local);
            if fs::symlink_metadata(&local).is_err() {
                bail!("{} doesn't exist in local filesystem", local.display());
            }
            within(global, args, namespace, &pod, |enclosure| into(&local, enclosure, &path, !args.no_preserve)).await
        }
        Direction::OutOf { namespace, pod, path, local } => {
            let local = PathBuf::from(local);
            within(global, args, namespace, &pod, |enclosure| out_of(enclosure, &path, &local, !args.no_preserve)).await
        }
    }
}

/// One thread's part of the work.
type Part<T> = Box<dyn FnOnce(T) -> anyhow::Result<()> + Send>;

/// What reads and what writes.
struct Plan {
    read: Part<SyncSender<Item>>,
    write: Part<Receiver<Item>>,
}

async fn within(
    global: &Global,
    args: &Cp,
    namespace: Option<String>,
    pod: &str,
    plan: impl FnOnce(&Enclosure) -> anyhow::Result<Plan>,
) -> anyhow::Result<()> {
    let global = Global { namespace: namespace.or_else(|| global.namespace.clone()), ..global.clone() };
    let session = Session::open(&global).await?;
    let found = session.pod(pod).await?;
    let target = target::find(&session, found, args.container.as_deref(), false, "exec into", Demand::Running).await?;
    let shim = pod::tasks(&session, &target.found).await?;
    let enclosure = Enclosure::of(&shim, &target.id).await?;
    let Plan { read, write } = plan(&enclosure)?;
    let (sender, receiver) = sync_channel(ON_THEIR_WAY);
    let (reading, writing) = (in_thread(move || read(sender)), in_thread(move || write(receiver)));
    let (read, written) = (reading.await, writing.await);
    let lost = || anyhow!("the thread that copies has failed");
    // Who reads knows why there is no more; who writes has only seen the end.
    read.map_err(|_| lost())??;
    written.map_err(|_| lost())??;
    enclosure.verify(&shim).await
}

fn in_thread(part: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> oneshot::Receiver<anyhow::Result<()>> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        // Nobody may wait for it any more.
        let _ = sender.send(part());
    });
    receiver
}

/// Into the container.
fn into(local: &Path, enclosure: &Enclosure, path: &str, preserve: bool) -> anyhow::Result<Plan> {
    let source = Place::find(&Root::Here, local).with_context(|| format!("open {}", local.display()))?;
    let destination = enclosure.directory.join(path);
    let place = enclosure.as_user(|root| room_for(root, &source, &destination))?;
    let user = enclosure.user.clone();
    let target = Target { place, rules: user.rules(preserve), through: false };
    Ok(Plan {
        read: Box::new(move |items| read::tree(&source, &items)),
        write: Box::new(move |items| {
            user.become_it()?;
            write::tree(target, &items)
        }),
    })
}

/// Where in the container something is to be: in the directory that is there, or with the name that is new.
fn room_for(root: &Root, source: &Place, destination: &Path) -> anyhow::Result<Place> {
    let named = match root.directory(destination) {
        Ok(directory) => {
            return Ok(Place { directory, name: source.name.clone(), path: destination.to_owned() });
        }
        Err(Errno::ENOENT | Errno::ENOTDIR) => named(destination),
        Err(errno) => return Err(errno).with_context(|| format!("open {} of the container", destination.display())),
    };
    let Some((parent, name)) = named else { bail!("{} is no directory of the container", destination.display()) };
    let directory = root.directory(parent);
    let directory = directory.with_context(|| format!("open directory {} of the container", parent.display()))?;
    Ok(Place { directory, name: Some(name.to_owned()), path: parent.to_owned() })
}

/// Out of the container: a directory becomes the one that is named, a file goes into a directory that is there.
fn out_of(enclosure: &Enclosure, path: &str, local: &Path, preserve: bool) -> anyhow::Result<Plan> {
    let full = enclosure.directory.join(path);
    let missing = || format!("open {} of the container", full.display());
    let (source, status) = enclosure.as_user(|root| {
        let source = Place::find(root, &full).with_context(missing)?;
        let status = source.status().with_context(missing)?;
        Ok((source, status))
    })?;
    let rules = Rules::Masked { mask: own_mask()?, owner: None, exactly: preserve };
    let is_directory = kind(&status) == SFlag::S_IFDIR;
    let (parent, name) = match named(local) {
        _ if is_directory || local.is_dir() => (local, source.name.clone().filter(|_| !is_directory)),
        Some((parent, name)) => (parent, Some(name.to_owned())),
        None => (local, source.name.clone()),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .with_context(|| format!("make directory {}", parent.display()))?;
    let directory = Root::Here.directory(parent).with_context(|| format!("open directory {}", parent.display()))?;
    let user = enclosure.user.clone();
    let target = Target { place: Place { directory, name, path: parent.to_owned() }, rules, through: true };
    Ok(Plan {
        read: Box::new(move |items| {
            user.become_it()?;
            read::tree(&source, &items)
        }),
        write: Box::new(move |items| write::tree(target, &items)),
    })
}

/// This process's mask, which can be read without being changed: proc_pid_status(5).
fn own_mask() -> anyhow::Result<u32> {
    let text = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let mask = text.lines().find_map(|line| line.strip_prefix("Umask:")).map(str::trim);
    mask.and_then(|mask| u32::from_str_radix(mask, 8).ok()).context("find the mask in /proc/self/status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_read_and_not_changed() {
        let mask = own_mask().unwrap();
        assert_eq!((mask & !0o777, mask), (0, own_mask().unwrap()));
    }
}
