//! Real accuracy of one network where real data is: no part of any job.

use std::path::Path;

use super::{
    evalset::{self, EvalSet},
    executor::Executor,
    observer::Stop,
    run::{Model, device},
    teacher::{accuracy, answer},
};
use crate::domain::{
    problem::{ErrorCode, Problem},
    report::Score,
    task::TaskSpec,
};

/// How often the model of `spec` is right on the evaluation set of `spec`; both lie in `dir`.
///
/// # Errors
/// Where either of them cannot be read, or they do not fit each other.
pub fn score(spec: &TaskSpec, dir: &Path) -> Result<Score, Stop> {
    super::cuda::load();
    tch::set_num_threads(spec.threads.max(1) as i32);
    let device = device(&spec.device)?;
    let Some(eval) = &spec.eval else {
        return Err(Problem::new(ErrorCode::InvalidEval, "there is nothing to score the model on")
            .param("eval")
            .into());
    };
    let Model { imported, facts } = Model::load(spec, dir)?;
    let eval = dir.join(eval);
    evalset::check_headers(&eval, &imported.graph.input.shape)?;
    let set = EvalSet::read(&eval, &imported.graph.input.shape, facts.classes, &spec.settings.input, device)?;
    let logits = answer(&Executor::new(&imported.graph, device)?, &set.x)?;
    Ok(Score {
        accuracy: accuracy(&logits, &set.y)?,
        n: set.x.size()[0] as u64,
        parameters: facts.parameters,
        macs: facts.macs,
    })
}
