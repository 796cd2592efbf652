//! What a server gives a pod that is made.

use std::io::Read as _;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::kept::record;

/// Bytes of `generateName` that a server takes: with what comes behind it, it is a label of DNS still.
const LONGEST_PREFIX: usize = 58;

/// Gives a pod what a server gives it: a uid, the time, its node, and a name if it only has the beginning of one.
pub(super) fn stamp(pod: &mut Pod, node: &str) -> anyhow::Result<()> {
    if pod.metadata.name.as_deref().unwrap_or_default().is_empty()
        && let Some(prefix) = pod.metadata.generate_name.as_deref().filter(|prefix| !prefix.is_empty())
    {
        // The server's alphabet: no vowels, so that no words appear.
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let random = random_bytes::<5>()?;
        let letter =
            |byte: u8| LETTERS.get(usize::from(byte) % LETTERS.len()).map_or('x', |letter| char::from(*letter));
        let prefix = prefix.get(..LONGEST_PREFIX).unwrap_or(prefix);
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
        let mut pod = Pod::default();
        pod.metadata.generate_name = Some("a".repeat(100));
        stamp(&mut pod, "node").unwrap();
        assert_eq!(pod.metadata.name.unwrap().len(), 63);
    }
}
