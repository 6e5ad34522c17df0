//! How much of a student's course is done, and how many steps that is.

use crate::{
    domain::config::Distillation,
    engine::{checkpoint::Stage, game::Leg},
};

/// So often at most the second game is begun once more.
pub const MOST_AGAIN: u8 = 2;

/// The second game, first begun.
pub const SECOND: Leg = Leg::Second { again: 0 };

/// The second game's opening is its rounds divided by this: enough of them to see that its steps ruin the student.
const OPENING: u32 = 20;

/// Rounds of the second game's opening.
pub fn opening(distillation: &Distillation) -> u32 {
    SECOND.rounds(distillation).div_ceil(OPENING)
}

/// Epochs of the pool, then rounds of the two games.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub epochs: u32,
    pub first: u32,
    pub second: u32,
    /// How often the second was begun once more.
    pub again: u8,
}

impl Done {
    /// The whole course, at its longest.
    pub fn all(distillation: &Distillation) -> Self {
        let (first, second) = (Leg::First.rounds(distillation), SECOND.rounds(distillation));
        let again = if second > 0 { MOST_AGAIN } else { 0 };
        Self { epochs: distillation.epochs, first, second, again }
    }

    /// What a checkpoint's stage says of the course that `all` is.
    pub fn by(stage: Option<Stage>, all: Self) -> Self {
        match stage {
            Some(Stage::Pool { epoch }) => Self { epochs: epoch, ..Self::default() },
            Some(Stage::Game { round }) => Self { first: round, second: 0, again: 0, ..all },
            Some(Stage::SecondGame { round, again }) => Self { second: round, again, ..all },
            _ => Self::default(),
        }
    }

    /// The steps that a ticker counts, where an epoch of the pool has `batches`: those of students and generators, and the
    /// looks at the student after the first game and after each opening of the second.
    pub fn steps(self, distillation: &Distillation, batches: u64) -> u64 {
        let opening = opening(distillation);
        let again = u64::from(self.again);
        let rounds = u64::from(self.first) + again * u64::from(opening) + u64::from(self.second);
        // Nothing is decided by how the last opening ends.
        let opened = self.second > opening && self.again < MOST_AGAIN;
        let looks = again + u64::from(self.second > 0) + u64::from(opened);
        u64::from(self.epochs) * batches + rounds * (1 + u64::from(distillation.student_steps)) + looks
    }
}
