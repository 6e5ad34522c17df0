//! What is known of a student's quality without data: the audit of a job's result. `docs/AUDIT.md` explains each figure.

use serde::{Deserialize, Serialize};

use super::prediction::Prediction;

/// Where inputs of the audit come from. The student trained on none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputSource {
    /// A generator that was trained for this check alone.
    HeldOutGenerator,
    /// Two inputs of that generator, added with random weights.
    Mixtures,
    /// Images from formulas: smooth fields, blobs, contours. None for feature vectors.
    Procedural,
    /// Standard normal noise.
    Noise,
    /// A fresh generator that searched for inputs on which the two networks differ, with both at hand.
    WorstCase,
}

impl InputSource {
    /// Inputs that were drawn without looking at the student. Where somebody searches, something is found: that tells how
    /// bad it can be, not how bad it is.
    pub fn is_drawn(self) -> bool {
        self != Self::WorstCase
    }

    /// For tables: few words, no capital.
    pub fn words(self) -> &'static str {
        match self {
            Self::HeldOutGenerator => "unseen generator",
            Self::Mixtures => "mixtures of its inputs",
            Self::Procedural => "images from formulas",
            Self::Noise => "noise",
            Self::WorstCase => "worst case, searched for",
        }
    }
}

/// A share of `n` inputs, 0 to 1, with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Proportion {
    pub share: f64,
    pub low: f64,
    pub high: f64,
    pub n: u64,
}

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

impl Proportion {
    /// `hits` of `n` (at least 1), with the score interval of Wilson (1927), which holds for shares close to 0 and 1 too.
    pub fn wilson(hits: u64, n: u64) -> Self {
        let count = n.max(1) as f64;
        let share = hits as f64 / count;
        let scale = 1.0 + Z * Z / count;
        let centre = (share + Z * Z / (2.0 * count)) / scale;
        let half = Z / scale * (share * (1.0 - share) / count + Z * Z / (4.0 * count * count)).sqrt();
        // Rounding must not shut out what was seen.
        let (low, high) = ((centre - half).clamp(0.0, share), (centre + half).clamp(share, 1.0));
        Self { share, low, high, n }
    }
}

/// KL(teacher ‖ student) of the class probabilities, in nats: mean and percentiles over inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Divergence {
    pub mean: f64,
    pub p95: f64,
    pub p99: f64,
}

/// The inputs of which the teacher is sure: its highest probability is above 0.9.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sure {
    /// Share of the source's inputs.
    pub share: f64,
    /// Agreement on these; null where there are none.
    pub agreement: Option<Proportion>,
}

/// The same figure of both networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Both {
    pub teacher: f64,
    pub student: f64,
}

/// How alike the two networks answer on one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SourceAudit {
    pub source: InputSource,
    /// How often the student's first choice is the teacher's.
    pub agreement: Proportion,
    pub kl: Divergence,
    /// Mean absolute difference of the centred logits, divided by the mean absolute centred logit of the teacher: 0 is the
    /// same, 1 is as much as there is.
    pub logit_difference: f64,
    pub sure: Sure,
    /// Mean of the highest probability.
    pub confidence: Both,
    /// Mean entropy of the class probabilities, in nats.
    pub entropy: Both,
    /// exp of the entropy of the teacher's mean probabilities: how many classes the source speaks of.
    pub effective_classes: f64,
}

/// One class on the held-out generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClassCoverage {
    /// Its name, or its number where the job has no names.
    pub class: String,
    /// Inputs for which the generator was asked for it.
    pub asked: u64,
    /// Of these, those that the teacher puts into it.
    pub hits: u64,
    /// Inputs that the teacher puts into it, whatever was asked.
    pub answers: u64,
    /// Of these, those that the student puts into it as well.
    pub agreed: u64,
}

/// Whether the held-out generator speaks of all classes: of what it leaves out, agreement says nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Coverage {
    /// How often the teacher answers the class that was asked for.
    pub hits: Proportion,
    /// exp of the entropy of the teacher's mean probabilities.
    pub effective_classes: f64,
    /// Classes in all.
    pub classes: u64,
    /// How many of them the teacher answered for no input, and the names of the first 20.
    pub missed: u64,
    pub missed_names: Vec<String>,
    /// The mean over the answered classes of the share of their inputs that both networks put there.
    pub balanced_agreement: f64,
    /// The answered class for which that share is lowest.
    pub lowest_class: Option<String>,
    /// That share.
    pub lowest_agreement: f64,
    /// Every class, where there are at most 100.
    pub by_class: Vec<ClassCoverage>,
}

/// What can be said of a student without data. None of it is accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Audit {
    pub sources: Vec<SourceAudit>,
    /// The drawn source with the lowest agreement; the worst case is not one of them.
    pub lowest: InputSource,
    pub coverage: Coverage,
    /// Relative error of all weights straight after compression: ‖W − W̃‖ / ‖W‖ of the layers, root mean square by parameters.
    pub weight_error: f64,
    /// Predicted, not measured; null where nothing can be predicted.
    #[serde(default)]
    pub prediction: Option<Prediction>,
    /// Why there is no prediction, in words.
    #[serde(default)]
    pub no_prediction: Option<String>,
}

impl Audit {
    /// None where this kind of input has no such source.
    pub fn of(&self, source: InputSource) -> Option<&SourceAudit> {
        self.sources.iter().find(|found| found.source == source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of R's `prop.test(x, n, correct = FALSE)`, and of the closed forms at 0 and 1: z² / (n + z²).
    #[test]
    fn wilsons_interval_is_the_published_one() {
        let edge = Z * Z / (10.0 + Z * Z);
        for (hits, n, low, high) in [
            (10, 20, 0.299_298, 0.700_702),
            (95, 100, 0.888_250, 0.978_457),
            (0, 10, 0.0, edge),
            (10, 10, 1.0 - edge, 1.0),
        ] {
            let found = Proportion::wilson(hits, n);
            assert!((found.low - low).abs() < 1e-4 && (found.high - high).abs() < 1e-4, "{found:?}");
            assert_eq!((found.share, found.n), (hits as f64 / n as f64, n));
        }
    }
}
