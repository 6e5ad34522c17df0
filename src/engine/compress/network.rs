//! What is compressed, and what the student is held against.

use crate::formats::graph::Graph;

/// A network to be compressed.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// As it was uploaded: what a ratio counts from, and what a student has to be faster than.
    pub uploaded: &'a Graph,
    /// The same function, whose layers have taken in their batch norms ([`super::absorb`]): what is taken apart.
    pub whole: &'a Graph,
}

impl<'a> From<&'a Graph> for Network<'a> {
    /// A network without batch norms to take in.
    fn from(graph: &'a Graph) -> Self {
        Self { uploaded: graph, whole: graph }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{architecture::Architecture, config::Compression, problem::Problem},
        engine::{
            compress::{absorb, apply, plan},
            initial::initialise,
        },
        formats::architectures::{Shapes, Sizes, blueprint},
    };

    #[test]
    fn a_ratio_counts_from_what_was_uploaded_and_the_plan_tells_the_students_size() {
        let sizes = Sizes { input: &[3, 8, 8], classes: 10, found: &Shapes::new() };
        let mut uploaded = blueprint(Architecture::Resnet14, sizes).unwrap().blank().unwrap();
        initialise(&mut uploaded, 1);
        let whole = absorb(&uploaded).unwrap();
        assert!(whole.parameters() < uploaded.parameters());
        let network = Network { uploaded: &uploaded, whole: &whole };
        let student = |ratio: f64| -> Result<u64, Problem> {
            let plan = plan(network, &Compression { ratio: Some(ratio.into()), ..Compression::default() })?;
            let parameters = apply(&whole, &plan)?.parameters();
            assert_eq!(plan.parameters(&whole), parameters);
            Ok(parameters)
        };
        // What is left to spend is less than what the absorbed norms came to.
        let (allowed, gone) = (uploaded.parameters() / 4, uploaded.parameters() - whole.parameters());
        let made = student(4.0).unwrap();
        assert!(made <= allowed && allowed - made < gone / 4, "{made} of {allowed}, {gone}");
        let hint = student(900.0).unwrap_err().hint.unwrap();
        let largest: f64 = hint.trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
        let least = student(largest).unwrap();
        assert!(uploaded.parameters() as f64 / least as f64 >= largest);
    }
}
