//! Why containerd cannot be asked, and what to do: most often another one is meant than the one at the usual socket.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::found::Kind;

/// How another socket than the usual one is named: `--address` is where to listen for `port-forward`.
const NAMED: &str = "-a or in CONTAINERD_ADDRESS";

/// What to do about a socket that cannot be connected to.
pub(crate) fn remedy(socket: &Path) -> String {
    let sockets = Kind::ALL.map(Kind::socket);
    let there: Vec<&str> = sockets.into_iter().filter(|path| Path::new(path).exists()).collect();
    decide(socket, UnixStream::connect(socket).err().as_ref().map(io::Error::kind), &there)
}

/// `there` are the known sockets that exist.
fn decide(socket: &Path, cause: Option<ErrorKind>, there: &[&str]) -> String {
    if cause == Some(ErrorKind::PermissionDenied) {
        return "run this as root, whose socket it is (sudo)".to_owned();
    }
    let mut others: Vec<&str> = there.iter().copied().filter(|path| Path::new(path) != socket).collect();
    // k3s and RKE2 have the same one.
    others.dedup();
    match others.as_slice() {
        [] => format!("start containerd (`loment doctor` says what is missing), or name another socket with {NAMED}"),
        [one] => format!("there is a containerd's socket at {one}: name it with {NAMED}"),
        several => format!("there are containerds' sockets at {}: name one with {NAMED}", several.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_reach_containerd_is_told_which_other_sockets_there_are() {
        let usual = Kind::Containerd.socket();
        let of = |there: &[&str]| decide(Path::new(usual), Some(ErrorKind::NotFound), there);
        assert!(of(&[]).contains("start containerd") && of(&[usual]).contains("start containerd"));
        let k3s = Kind::K3s.socket();
        let said = of(&[usual, k3s, Kind::Rke2.socket()]);
        assert_eq!(said, format!("there is a containerd's socket at {k3s}: name it with -a or in CONTAINERD_ADDRESS"));
        let said = of(&[k3s, Kind::Microk8s.socket()]);
        assert!(said.contains(&format!("{k3s} and {}: name one", Kind::Microk8s.socket())), "{said}");
    }

    #[test]
    fn who_may_not_open_the_socket_is_told_to_be_root() {
        let said = decide(Path::new("/x"), Some(ErrorKind::PermissionDenied), &[Kind::K3s.socket()]);
        assert!(said.contains("as root") && !said.contains("k3s"), "{said}");
    }
}
