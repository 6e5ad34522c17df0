//! The warnings of a job, gathered over its runs.

/// Bytes of all warnings of a job. They are in every look at it, and a child may have been taken over when it wrote them.
const MOST_BYTES: usize = 64 << 10;

/// Stands for those that found no room; the runs' own files have all.
const MORE: &str = "There were more warnings than are kept here; inspection.json and the report have all of them.";

/// Adds to what is `known` what is not there yet and has room.
pub fn add(known: &mut Vec<String>, found: Vec<String>) {
    let mut room = MOST_BYTES.saturating_sub(known.iter().map(String::len).sum());
    for warning in found {
        if known.contains(&warning) {
            continue;
        }
        if warning.len() > room {
            if !known.iter().any(|known| known == MORE) {
                known.push(MORE.to_owned());
            }
            return;
        }
        room -= warning.len();
        known.push(warning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_kept_once() {
        let mut known = vec!["a".to_owned()];
        add(&mut known, vec!["b".to_owned(), "a".to_owned(), "b".to_owned()]);
        assert_eq!(known, ["a", "b"]);
    }

    #[test]
    fn what_has_no_room_is_named_once() {
        let mut known = Vec::new();
        add(&mut known, vec!["first".to_owned(), "x".repeat(MOST_BYTES), "later".to_owned()]);
        add(&mut known, vec!["y".repeat(MOST_BYTES)]);
        assert_eq!(known, ["first", MORE]);
        add(&mut known, (0..MOST_BYTES).map(|number| number.to_string()).collect());
        assert!(known.iter().map(String::len).sum::<usize>() <= MOST_BYTES + MORE.len());
    }
}
