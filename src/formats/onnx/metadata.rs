//! What a file says of itself, by key: names of classes, an author, a task. The student says the same, within bounds.

use std::collections::BTreeMap;

use super::proto::StringStringEntryProto;

/// Most entries that are kept. Exporters of networks write about ten.
const MOST_ENTRIES: usize = 64;
/// Most bytes of keys and values together: the names of a thousand classes take 30 KB.
const MOST_BYTES: usize = 1 << 16;
/// How keys begin under which exporters note what they did, with paths of their machine.
const OF_TOOLS: &str = "pkg.";
/// How many of those left out a warning names, and how many characters of each.
const NAMED: (usize, usize) = (12, 40);

/// The entries as they are kept, and those that are not, in words.
pub fn kept(entries: Vec<StringStringEntryProto>) -> (BTreeMap<String, String>, Option<String>) {
    let (mut kept, mut room, mut left_out) = (BTreeMap::new(), MOST_BYTES, Vec::new());
    for entry in entries.into_iter().filter(|entry| !entry.key().starts_with(OF_TOOLS)) {
        let (key, value) = (entry.key.unwrap_or_default(), entry.value.unwrap_or_default());
        match room.checked_sub(key.len() + value.len()) {
            Some(rest) if kept.len() < MOST_ENTRIES => {
                room = rest;
                kept.insert(key, value);
            }
            _ => left_out.push(key),
        }
    }
    let warning = (!left_out.is_empty()).then(|| beyond(&left_out));
    (kept, warning)
}

fn beyond(left_out: &[String]) -> String {
    let (most, length) = NAMED;
    let name = |key: &String| format!("\"{}\"", key.chars().take(length).collect::<String>().escape_debug());
    let names: Vec<String> = left_out.iter().take(most).map(name).collect();
    let more = if left_out.len() > most { ", …" } else { "" };
    format!(
        "The file's metadata is more than a student takes along ({MOST_ENTRIES} entries, {MOST_BYTES} bytes). It goes without {}{more}.",
        names.join(", ")
    )
}

/// As a file has it.
pub fn entries(metadata: &BTreeMap<String, String>) -> Vec<StringStringEntryProto> {
    let entry = |(key, value): (&String, &String)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    metadata.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, usize)]) -> (Vec<String>, Option<String>) {
        let entry = |(key, length): &(&str, usize)| StringStringEntryProto {
            key: Some((*key).to_owned()),
            value: Some("v".repeat(*length)),
        };
        let (kept, warning) = kept(entries.iter().map(entry).collect());
        (kept.into_keys().collect(), warning)
    }

    #[test]
    fn entries_are_kept_as_long_as_there_is_room() {
        assert_eq!(of(&[("names", MOST_BYTES - 5)]), (vec!["names".to_owned()], None));
        let (kept, warning) = of(&[("names", MOST_BYTES - 4), ("task", 8), ("pkg.torch.trace", 8)]);
        assert_eq!(kept, ["task"]);
        assert!(warning.unwrap().ends_with("without \"names\"."));
    }

    #[test]
    fn no_more_are_named_than_a_warning_has_room_for() {
        let keys: Vec<String> = (0..MOST_ENTRIES + 20).map(|index| format!("{index:0100}")).collect();
        let entries: Vec<(&str, usize)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
        let (kept, warning) = of(&entries);
        assert_eq!(kept.len(), MOST_ENTRIES);
        let warning = warning.unwrap();
        assert!(warning.len() < 800 && warning.ends_with("0\", …."), "{warning}");
    }
}
