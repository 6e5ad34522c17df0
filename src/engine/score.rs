//! Real accuracy of one network, where real data is: no part of any job.

use std::path::{Path, PathBuf};

use super::{
    checkpoint,
    evalset::EvalSet,
    executor::Executor,
    observer::Stop,
    run::{Model, device},
    teacher::answer,
};
use crate::domain::{
    problem::{ErrorCode, Problem},
    report::Score,
    task::TaskSpec,
};

/// How often the model of `spec` is right on the evaluation set of `spec`; both lie in `dir`. With `checkpoints`, files of
/// that student's training, the same of each of them instead.
///
/// # Errors
/// Where one of them cannot be read, or they do not fit each other.
pub fn score(spec: &TaskSpec, dir: &Path, checkpoints: &[PathBuf]) -> Result<Vec<Score>, Stop> {
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
    let input = (imported.graph.input.shape.as_slice(), imported.graph.layout);
    let set = EvalSet::read(&eval, input, facts.classes, &spec.settings.input, device)?;
    if let Some(doubt) = set.doubt() {
        eprintln!("warning: {doubt}");
    }
    let executor = Executor::new(&imported.graph, device)?;
    let of = |at: Option<String>| -> Result<Score, Stop> {
        let accuracy = set.accuracy(|x| answer(&executor, x))?;
        Ok(Score { accuracy, n: set.count(), parameters: facts.parameters, macs: facts.macs, at })
    };
    if checkpoints.is_empty() {
        return Ok(vec![of(None)?]);
    }
    let weights = executor.weights();
    checkpoints.iter().map(|path| of(Some(checkpoint::weigh(path, &weights)?.to_string()))).collect()
}
