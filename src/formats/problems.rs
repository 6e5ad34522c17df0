//! What importers of every format refuse in the same words.

use std::collections::BTreeMap;

use crate::domain::problem::{Cause, ErrorCode, Problem};

/// Longest name of an input, an output, a value, a weight or a node, in bytes. Names go into the job's row and into every
/// answer about it; exporters write a tenth of this.
pub const MAX_NAME: usize = 1024;

/// How many causes, and how many operators, one problem lists.
const MAX_CAUSES: usize = 100;

/// `invalid_model`: the file contradicts itself.
pub fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidModel, detail).param("model")
}

/// `not_a_classifier`, of the input.
pub fn not_a_classifier(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::NotAClassifier, detail).param("model")
}

/// All nodes that cannot be taken, each with its operator.
pub fn unsupported(causes: Vec<(String, Cause)>) -> Problem {
    let mut all = Causes::default();
    for (kind, cause) in causes {
        all.add(&kind, || cause);
    }
    all.problem()
}

/// Nodes that cannot be taken, as many of them as one problem lists; the others are counted.
#[derive(Default)]
pub struct Causes {
    listed: Vec<Cause>,
    kinds: BTreeMap<String, usize>,
    count: usize,
}

impl Causes {
    /// Notes a node of the operator `kind`; `cause` is asked only where it is listed.
    pub fn add(&mut self, kind: &str, cause: impl FnOnce() -> Cause) {
        self.count += 1;
        if self.listed.len() < MAX_CAUSES {
            self.listed.push(cause());
        }
        if let Some(count) = self.kinds.get_mut(kind) {
            *count += 1;
        } else if self.kinds.len() < MAX_CAUSES {
            self.kinds.insert(kind.to_owned(), 1);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `unsupported_operators`.
    pub fn problem(self) -> Problem {
        let named: usize = self.kinds.values().sum();
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
        let more = if named < self.count { ", …" } else { "" };
        let detail = format!("{} of the model's nodes cannot be taken: {}{more}.", self.count, kinds.join(", "));
        Problem::new(ErrorCode::UnsupportedOperators, detail)
            .param("model")
            .hint("GET /formats lists the operators that are read. Leave pre- and post-processing out of the export.")
            .errors(self.listed)
    }
}

/// Refuses names that are longer than any exporter's.
///
/// # Errors
/// `invalid_model`, with the name's length and beginning.
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), Problem> {
    let Some(long) = names.into_iter().find(|name| name.len() > MAX_NAME) else { return Ok(()) };
    let start: String = long.chars().take(40).collect();
    let (bytes, start) = (long.len(), start.escape_debug());
    Err(invalid(format!("A name has {bytes} bytes, and may have at most {MAX_NAME}; it begins with \"{start}\"."))
        .hint("Give inputs, outputs, values, weights and nodes shorter names, and export the model again."))
}

/// Refuses weights that are infinite or not numbers.
pub fn check_finite(not_finite: &[String]) -> Result<(), Problem> {
    if not_finite.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = not_finite.iter().take(12).map(|name| format!("\"{name}\"")).collect();
    let more = if not_finite.len() > shown.len() { ", …" } else { "" };
    let detail = format!("{} tensors hold NaN or infinity: {}{more}.", not_finite.len(), shown.join(", "));
    Err(Problem::new(ErrorCode::InvalidWeights, detail)
        .param("model")
        .hint("Training may have diverged: export an earlier checkpoint."))
}

/// The input's shape without the batch, from what the file declares of it (`None`: nothing) and what the client says.
/// `input` is the input in words.
///
/// # Errors
/// `not_a_classifier` where there is but a batch, `invalid_model` where an extent is open, `invalid_config` where the two
/// contradict each other.
pub fn input_shape(
    input: &str,
    declared: Option<Vec<Option<usize>>>,
    given: Option<&[usize]>,
) -> Result<Vec<usize>, Problem> {
    if declared.as_ref().is_some_and(Vec::is_empty) {
        return Err(not_a_classifier(format!("The input {input} has no axes beside the batch."))
            .hint("The first axis is the batch; the others are channels, height and width, or features."));
    }
    let Some(given) = given else {
        let shape = declared.and_then(|shape| shape.into_iter().collect::<Option<Vec<usize>>>());
        return shape.ok_or_else(|| {
            invalid(format!("The file leaves extents of the input open: {input}."))
                .param("config.input.shape")
                .hint("Give config.input.shape, without the batch: {\"input\": {\"shape\": [3, 224, 224]}}.")
        });
    };
    let contradicts = declared.as_ref().is_some_and(|declared| {
        declared.len() != given.len()
            || declared.iter().zip(given).any(|(own, given)| own.is_some_and(|own| own != *given))
    });
    if contradicts || given.is_empty() || given.contains(&0) {
        let detail = format!("config.input.shape is {given:?}, but the file declares {input} (batch first).");
        let declared = declared.unwrap_or_default();
        let open = |extent: &Option<usize>| extent.map_or_else(|| "…".to_owned(), |extent| extent.to_string());
        let hint = if declared.iter().all(Option::is_some) {
            "Leave it out: the file declares every extent.".to_owned()
        } else {
            let pattern: Vec<String> = declared.iter().map(open).collect();
            format!(
                "Give it without the batch, as [{}], with numbers for what the file leaves open.",
                pattern.join(", ")
            )
        };
        return Err(Problem::new(ErrorCode::InvalidConfig, detail).param("config.input.shape").hint(hint));
    }
    Ok(given.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_beyond_those_that_are_listed_are_counted_and_not_kept() {
        let mut causes = Causes::default();
        for index in 0..1000 {
            let cause = || Cause { detail: format!("number {index}"), param: None, operator: None };
            causes.add(&format!("aten.op{index:03}"), cause);
            causes.add("aten.op000", cause);
        }
        assert_eq!((causes.listed.len(), causes.kinds.len()), (MAX_CAUSES, MAX_CAUSES));
        let problem = causes.problem();
        assert!(
            problem.detail.starts_with("2000 of the model's nodes") && problem.detail.contains("aten.op000 (1001)")
        );
        assert!(problem.detail.ends_with("aten.op099 (1), …."), "{}", problem.detail);
        assert_eq!(problem.errors[99].detail, "number 49");
    }

    #[test]
    fn a_shape_that_contradicts_the_file_is_told_what_fits() {
        let hint = |declared: &[Option<usize>], given: &[usize]| {
            let refused = input_shape("\"x\"", Some(declared.to_vec()), Some(given)).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some("config.input.shape"));
            refused.hint.unwrap()
        };
        let open = hint(&[Some(3), None, None], &[224, 224, 3]);
        assert!(open.contains("as [3, …, …], with numbers"), "{open}");
        let all = hint(&[Some(3), Some(32), Some(32)], &[3, 224, 224]);
        assert!(all.starts_with("Leave it out"), "{all}");
    }
}
