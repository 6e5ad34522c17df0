//! What became of a student's second game, for the report.

use serde::{Deserialize, Serialize};

/// A second game is played only by a student that agrees with its teacher on this share of the pool after the first: of one
/// that is far too small for what the generators find nothing of it would count.
const LEARNED: f64 = 0.9;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondGame {
    /// None was planned.
    #[default]
    None,
    /// It was not played. After the first, the student agreed with its teacher on this share of the pool, in whole percent.
    Refused { agreed: u8 },
    /// This share of the way that the weights went in it counts, in percent.
    Counts {
        percent: u8,
        /// How often it was begun once more, in steps a quarter as large.
        #[serde(default)]
        again: u8,
    },
}

impl SecondGame {
    /// Whether a student is refused that agrees on this share of the pool.
    pub fn refused(agreement: f64) -> Option<Self> {
        // Rounded down: `90 %, less than 90 %` would explain nothing.
        (agreement < LEARNED).then_some(Self::Refused { agreed: (100.0 * agreement) as u8 })
    }

    pub fn counts(share: f64, again: u8) -> Self {
        Self::Counts { percent: (100.0 * share).round() as u8, again }
    }

    /// In words for the report.
    pub fn note(self) -> Option<String> {
        let note = match self {
            Self::None => return None,
            Self::Refused { agreed } => format!(
                "There was no second game: after the first the student agreed with the teacher on {agreed} % of the samples, and below {:.0} % a second takes more than it gives.",
                100.0 * LEARNED
            ),
            Self::Counts { percent: 0, .. } => "Nothing of the second game counts: at its end and a quarter, half and three quarters of the way there, the student was farther from the teacher on the samples of some generator than before it.".to_owned(),
            Self::Counts { percent: 100, .. } => "The second game counts in full: after it the student was no farther from the teacher on the samples of any generator than before it.".to_owned(),
            Self::Counts { percent, .. } => format!(
                "Of the way that the weights went in the second game, {percent} % counts: farther on, the student was farther from the teacher on the samples of some generator than before it."
            ),
        };
        Some(note + self.steps())
    }

    /// What is to be said of how large its steps were.
    fn steps(self) -> &'static str {
        match self {
            Self::Counts { again: 1, .. } => {
                " It was played in steps a quarter as large: at first the student forgot its teacher in it."
            }
            Self::Counts { again: 2.., .. } => {
                " It was played in steps a sixteenth as large: at first the student forgot its teacher in it, twice."
            }
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_student_is_refused_below_the_share_and_the_reason_never_rounds_up_to_it() {
        assert_eq!(SecondGame::refused(0.9), None);
        let refused = SecondGame::refused(0.8999).unwrap();
        assert_eq!(refused, SecondGame::Refused { agreed: 89 });
        let note = refused.note().unwrap();
        assert!(note.contains("on 89 % of the samples, and below 90 %"), "{note}");
    }

    #[test]
    fn the_note_says_how_much_counts() {
        assert_eq!(SecondGame::default().note(), None);
        for (share, words) in [(0.0, "Nothing of"), (0.75, "75 % counts"), (1.0, "in full")] {
            let notes = [0, 1, 2].map(|again| SecondGame::counts(share, again).note().unwrap());
            assert!(notes.iter().all(|note| note.contains(words)), "{share}");
            assert!(
                notes[0].len() < notes[1].len() && notes[1].contains("a quarter") && notes[2].contains("a sixteenth")
            );
        }
    }
}
