//! Names that nothing has yet.

use std::collections::{HashMap, HashSet};

/// Names that are taken, and gives out others.
#[derive(Default)]
pub struct FreeNames {
    taken: HashSet<String>,
    /// Where to go on for a name that was asked for before: without it, asking n times for one name would take n² steps.
    next: HashMap<String, u32>,
}

impl FreeNames {
    /// `base`, or that with a number behind it, whichever is free yet; from now on it is taken.
    pub fn give(&mut self, base: &str) -> String {
        if self.taken.insert(base.to_owned()) {
            return base.to_owned();
        }
        let next = self.next.entry(base.to_owned()).or_insert(2);
        loop {
            let name = format!("{base}_{next}");
            // There are more numbers than names.
            *next = next.saturating_add(1);
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

impl FromIterator<String> for FreeNames {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self { taken: names.into_iter().collect(), next: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_the_first_free_number() {
        let mut names: FreeNames = ["a", "a_2", "b_2"].map(str::to_owned).into_iter().collect();
        let given = ["a", "a", "b", "b", "a_2", "c"].map(|base| names.give(base));
        assert_eq!(given, ["a_3", "a_4", "b", "b_3", "a_2_2", "c"]);
    }

    #[test]
    fn one_name_may_be_asked_for_without_end() {
        let mut names = FreeNames::default();
        for _ in 0..200_000 {
            names.give("z");
        }
        assert_eq!(names.give("z"), "z_200001");
    }
}
