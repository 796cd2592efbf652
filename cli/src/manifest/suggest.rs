//! What was probably meant by a name that nobody knows.

/// The one of `known` that `given` was probably meant to be, or nothing if all are too far away.
pub(crate) fn closest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let lowered = given.to_lowercase();
    known
        .iter()
        .map(|name| (distance(&lowered, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= allowed(name.len().min(given.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits that still leave a name recognisable: none in very short names, a third of longer ones.
fn allowed(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 2,
        _ => (length / 3).min(4),
    }
}

/// Edits between two names: insert, remove, replace, swap neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["name", "image", "restartPolicy", "volumeMounts", "tty"];
        assert_eq!(closest("restartpolicy", &known), Some("restartPolicy"));
        assert_eq!(closest("nmae", &known), Some("name"));
        assert_eq!(closest("volumeMount", &known), Some("volumeMounts"));
        assert_eq!(closest("images", &known), Some("image"));
        assert_eq!(closest("flavour", &known), None);
        assert_eq!(closest("x", &known), None);
        assert_eq!(closest("", &known), None);
    }
}
