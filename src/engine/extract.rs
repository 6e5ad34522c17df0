//! Trains one generator against the frozen teacher (KegNet, section 4): classifier, decoder and diversity loss.

use std::{ops::RangeInclusive, path::Path};

use tch::{TchError, Tensor, nn};

use super::{
    adam::{Adam, Rate},
    checkpoint::{Keeper, Stage, State, trainable, under, variables},
    losses,
    observer::{Observer, Stop},
    sampler::{Draw, Trained},
    samples,
    seed::{Stream, seed},
    teacher::{self, Teacher},
    ticker::Ticker,
};
use crate::{
    domain::{
        config::{Extraction, Settings},
        job::Phase,
        problem::{ErrorCode, Problem},
        task::TaskSpec,
    },
    nets::decoder::Decoder,
    protocol::Role,
};

/// One generator's training: what is trained, and how.
pub struct Training<'a> {
    teacher: &'a Teacher,
    extraction: &'a Extraction,
    job_seed: u64,
    /// Number of the generator among those of the job; it selects the random streams.
    index: u32,
    pub generator: Trained,
    decoder: Decoder,
    decoder_store: nn::VarStore,
    adam: Adam,
}

/// Losses of one epoch, means over its steps.
struct Epoch {
    classifier: f64,
    decoder: f64,
    diversity: Option<f64>,
    batch_norm: Option<f64>,
    /// Share of inputs that the teacher puts into the class asked for.
    hit_rate: f64,
}

impl<'a> Training<'a> {
    /// Generator and decoder from the random stream of generator `index`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn new(teacher: &'a Teacher, settings: &'a Settings, index: u32) -> Result<Self, Stop> {
        seed(settings.seed, Stream::Extract { index, epoch: 0 });
        let shape = super::sampler::shape(&teacher.graph, settings);
        let features = shape.elements();
        let generator = Trained::fresh(shape.clone(), settings.extraction.form, teacher.device());
        let decoder_store = nn::VarStore::new(teacher.device());
        let decoder = Decoder::new(&decoder_store.root(), features, shape.latent, settings.extraction.decoder_layers);
        let mut weights = under("generator", trainable(&generator.store));
        weights.extend(under("decoder", trainable(&decoder_store)));
        let adam = Adam::new(weights)?;
        let (extraction, job_seed) = (&settings.extraction, settings.seed);
        Ok(Self { teacher, extraction, job_seed, index, generator, decoder, decoder_store, adam })
    }

    /// Everything that the next epoch depends on, but for its random stream.
    fn state(&self) -> State {
        let mut state = under("generator", variables(&self.generator.store));
        state.extend(under("decoder", variables(&self.decoder_store)));
        state.extend(under("adam", self.adam.state()));
        state
    }

    /// Trains the epochs `epochs`, the first of which is 1, and calls `after` with the number of each as it is finished.
    ///
    /// # Errors
    /// `training_diverged` where a loss is not finite, [`Stop::Canceled`], and what libtorch reports.
    pub fn run(
        &mut self,
        epochs: RangeInclusive<u32>,
        ticker: &mut Ticker<'_>,
        mut after: impl FnMut(u32, &Self, &mut Ticker<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        for epoch in epochs {
            seed(self.job_seed, Stream::Extract { index: self.index, epoch });
            let losses = self.epoch(ticker)?;
            self.report(&losses, epoch, ticker)?;
            after(epoch, self, ticker)?;
        }
        Ok(())
    }

    fn epoch(&mut self, ticker: &mut Ticker<'_>) -> Result<Epoch, Stop> {
        let steps = self.extraction.steps_per_epoch;
        let mut sums = [0.0; 5];
        for _ in 0..steps {
            let parts = self.step()?;
            for (sum, part) in sums.iter_mut().zip(&parts) {
                *sum += part;
            }
            ticker.tick()?;
        }
        let [classifier, decoder, diversity, batch_norm, hit_rate] = sums.map(|sum| sum / f64::from(steps));
        let diversity = (self.extraction.beta > 0.0).then_some(diversity);
        let batch_norm = self.teacher.has_record(self.extraction.batch_norm).then_some(batch_norm);
        Ok(Epoch { classifier, decoder, diversity, batch_norm, hit_rate })
    }

    fn step(&mut self) -> Result<[f64; 5], TchError> {
        let draw = Draw::random(&self.generator.shape, i64::from(self.extraction.batch_size), self.teacher.device())?;
        let x = self.generator.net.forward(&draw.labels, &draw.z, true)?;
        let (logits, off_record) = self.teacher.logits_on_record(&x, self.extraction.batch_norm)?;
        let classifier = losses::classifier(&logits, &draw.labels)?;
        let decoder = losses::decoder(&self.decoder.forward(&x)?, &draw.z)?;
        let mut total = classifier.f_add(&decoder.f_mul_scalar(self.extraction.alpha)?)?;
        let mut diversity = 0.0;
        // The term costs more than all the rest together, so it is not computed where its weight is 0.
        if self.extraction.beta > 0.0 {
            let loss = losses::diversity(&x, &draw.z)?;
            diversity = scalar(&loss)?;
            total = total.f_add(&loss.f_mul_scalar(self.extraction.beta)?)?;
        }
        let mut batch_norm = 0.0;
        if let Some(loss) = off_record {
            batch_norm = scalar(&loss)?;
            total = total.f_add(&loss.f_mul_scalar(self.extraction.batch_norm)?)?;
        }
        self.adam.minimise(&total, Rate::Absolute(self.extraction.learning_rate))?;
        let hit_rate = teacher::accuracy(&logits, &draw.labels.f_argmax(-1, false)?)?;
        Ok([scalar(&classifier)?, scalar(&decoder)?, diversity, batch_norm, hit_rate])
    }

    fn report(&self, losses: &Epoch, epoch: u32, ticker: &mut Ticker<'_>) -> Result<(), Stop> {
        let record = losses.batch_norm.unwrap_or(0.0);
        if ![losses.classifier, losses.decoder, record].iter().all(|loss| loss.is_finite()) {
            let detail = format!("the losses of generator {} are no longer finite after epoch {epoch}", self.index);
            return Err(Problem::new(ErrorCode::TrainingDiverged, detail)
                .hint("Lower extraction.learning_rate, or use another seed.")
                .into());
        }
        let mut values = vec![
            ("classifier_loss", losses.classifier),
            ("decoder_loss", losses.decoder),
            ("teacher_hit_rate", losses.hit_rate),
        ];
        values.extend(losses.diversity.map(|value| ("diversity_loss", value)));
        values.extend(losses.batch_norm.map(|value| ("batch_norm_loss", value)));
        ticker.metrics(&values);
        Ok(())
    }
}

fn scalar(tensor: &Tensor) -> Result<f64, TchError> {
    tensor.f_double_value(&[])
}

/// The epochs whose samples are kept: 1, 2, 5, 10, 20, 50, … and the last.
fn keeps_samples(epoch: u32, last: u32) -> bool {
    let decade = 10u32.pow(epoch.max(1).ilog10());
    epoch == last || [1, 2, 5].contains(&(epoch / decade)) && epoch.is_multiple_of(decade)
}

/// Trains generator `index` and leaves `generator-<index>.safetensors` and sample files in `dir`.
///
/// # Errors
/// As [`Training::run`], and what the file system reports.
pub fn extract(
    teacher: &Teacher,
    spec: &TaskSpec,
    index: u32,
    dir: &Path,
    observer: &mut dyn Observer,
) -> Result<(), Stop> {
    let settings = &spec.settings;
    let (epochs, steps_per_epoch) = (settings.extraction.epochs, u64::from(settings.extraction.steps_per_epoch));
    let mut training = Training::new(teacher, settings, index)?;
    let mut keeper = Keeper::new(spec, dir);
    let done = match keeper.take_up(&training.state())? {
        Some(Stage::Extract { epoch }) => epoch,
        _ => 0,
    };
    let shown = samples::Shown::new(teacher, settings, index)?;
    let mut ticker = Ticker::new(observer, Phase::Extracting, (0.0, 1.0), u64::from(epochs) * steps_per_epoch)
        .with_checkpoints(u64::from(done) * steps_per_epoch);
    training.run(done + 1..=epochs, &mut ticker, |epoch, training, ticker| {
        if keeps_samples(epoch, epochs) {
            shown.write(&training.generator, epoch, dir, ticker.observer())?;
        }
        // The last epoch's result follows at once.
        if epoch == epochs {
            return Ok(());
        }
        keeper.boundary(ticker, Stage::Extract { epoch }, || training.state())
    })?;
    let path = dir.join(format!("generator-{index}.safetensors"));
    training.generator.save(&path)?;
    observer.artifact(&path, Role::Generator);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::keeps_samples;

    #[test]
    fn samples_are_kept_at_round_epochs_and_at_the_last() {
        let kept: Vec<u32> = (1..=130).filter(|&epoch| keeps_samples(epoch, 130)).collect();
        assert_eq!(kept, [1, 2, 5, 10, 20, 50, 100, 130]);
    }
}
