//! "Did you mean".

/// The known word nearest to `word`, if it is near enough to be a slip: at most a third of its letters, and never more than 3.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let letters = word.chars().count();
    if letters > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let slips = |candidate: &str| distance(&word, &candidate.to_lowercase());
    let (slips, best) =
        known.into_iter().map(|candidate| (slips(candidate), candidate)).min_by_key(|&(slips, _)| slips)?;
    (slips <= letters.div_ceil(3).min(3)).then_some(best)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_far_fetched() {
        let known = ["tools", "default", "hide", "sandbox"];
        assert_eq!(nearest("toolz", known), Some("tools"));
        assert_eq!(nearest("defualt", known), Some("default"));
        assert_eq!(nearest("Hide", known), Some("hide"));
        assert_eq!(nearest("lt_e", ["lt", "lte", "gte"]), Some("lte"));
        assert_eq!(nearest("network", known), None);
        assert_eq!(nearest(&"tools".repeat(100), known), None);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
