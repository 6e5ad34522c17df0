//! In what the weights of a file differ from those that an architecture has.

use crate::{
    domain::{
        architecture::Architecture,
        problem::{Cause, ErrorCode, Problem},
    },
    formats::architectures::Shapes,
};

/// How many differences one problem lists.
const MAX_CAUSES: usize = 100;

/// Names, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    missing: Vec<String>,
    unexpected: Vec<String>,
    misshapen: Vec<String>,
}

impl Difference {
    pub fn between(expected: &Shapes, found: &Shapes) -> Self {
        let mut difference = Self::default();
        for (name, shape) in expected {
            match found.get(name) {
                None => difference.missing.push(format!("`{name}` is missing: {shape:?} is expected")),
                Some(other) if other != shape => {
                    difference.misshapen.push(format!("`{name}` has the shape {other:?}: {shape:?} is expected"));
                }
                Some(_) => {}
            }
        }
        let unexpected = found.iter().filter(|(name, _)| !expected.contains_key(*name));
        difference.unexpected =
            unexpected.map(|(name, shape)| format!("`{name}` of {shape:?} is unexpected")).collect();
        difference
    }

    pub fn is_none(&self) -> bool {
        self.count() == 0
    }

    pub fn count(&self) -> usize {
        self.missing.len() + self.unexpected.len() + self.misshapen.len()
    }

    /// `2 missing, 1 unexpected`
    pub fn words(&self) -> String {
        let counts = [
            (self.missing.len(), "missing"),
            (self.unexpected.len(), "unexpected"),
            (self.misshapen.len(), "of another shape"),
        ];
        let words = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// Everything that differs; `fitting` are architectures that the weights are those of.
    pub fn problem(self, architecture: Architecture, fitting: &[Architecture]) -> Problem {
        let detail = format!("The weights are not those of `{architecture}`: {}.", self.words());
        let hint = match fitting.first() {
            Some(other) => format!("They are those of `{other}`: give {{\"arch\": \"{other}\"}}."),
            None => {
                "Other networks than those of GET /formats are taken as ONNX files, which have the network with them."
                    .to_owned()
            }
        };
        let causes = self.missing.into_iter().chain(self.misshapen).chain(self.unexpected).take(MAX_CAUSES);
        let cause = |detail| Cause { detail, param: Some("model".to_owned()), operator: None };
        Problem::new(ErrorCode::InvalidModel, detail)
            .param("config.arch")
            .hint(hint)
            .errors(causes.map(cause).collect())
    }
}
