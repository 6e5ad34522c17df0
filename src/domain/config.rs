//! The configuration of a job: as a client writes it ([`JobConfig`], everything optional) and as resolved with every
//! default filled in ([`Settings`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    architecture::Architecture,
    given::{GivenStudent, StudentConfig},
    ids::JobId,
    layer_choice::LayerChoice,
    problem::{ErrorCode, Problem},
    targets::OneOrMore,
};

/// A named set of hyper-parameters; members given beside it override its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// A good student in minutes on a CPU.
    #[default]
    Fast,
    /// The reference method and its hyper-parameters.
    Paper,
    /// Usually the highest accuracy, in one and a half to six times as long as `fast` for images. About the same student as by `fast`
    /// where that is too small for a second game.
    Best,
}

/// Where training inputs come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// Generators trained against the teacher.
    #[default]
    Kegnet,
    /// U(-1, 1), a baseline.
    Uniform,
    /// N(0, 1), a baseline.
    Gaussian,
}

/// Which network generates images; feature vectors have one alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// That of the KegNet paper: transposed convolutions, each image standardised.
    #[default]
    Reference,
    /// Upsampling with convolutions, and pixels as `input.mean` and `input.std` tell.
    Smooth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    #[default]
    Tucker,
    /// Distil into an uncompressed copy.
    None,
}

/// `input`: what the model takes, where the file does not say, and how its training data was normalised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object, as {\"mean\": [0.5], \"std\": [0.5]}")]
pub struct InputConfig {
    /// Without the batch, as the model takes it: `[channels, height, width]`, `[height, width, channels]` or `[features]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// Per channel, in units of the 0..1 image, as `std` is; for images from -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f64>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object, as {\"ratio\": 4}")]
pub struct CompressionConfig {
    pub method: Option<Method>,
    /// Teacher parameters divided by student parameters. Here as in the four targets below, a list of up to eight asks for a
    /// student of each: the generators are trained once. Of the five, and `layers`, at most one can be given.
    pub ratio: Option<OneOrMore<f64>>,
    /// Most parameters of the student.
    pub parameters: Option<OneOrMore<u64>>,
    /// Most multiply-accumulates of the student, for one input.
    pub macs: Option<OneOrMore<u64>>,
    /// Most bytes of the student's ONNX file.
    pub bytes: Option<OneOrMore<u64>>,
    /// How many times faster than the teacher the student shall be, for one input at a time, measured on the device of the
    /// run. What is measured differs a little from run to run, and so may the student.
    pub latency: Option<OneOrMore<f64>>,
    /// What becomes of layers by name, in place of a target: a layer's own, as the plan shows it, or else its node's.
    pub layers: Option<BTreeMap<String, LayerChoice>>,
    /// Names of layers that stay as they are under any target, as `layers` knows them.
    pub keep: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object, as {\"generators\": 3}")]
pub struct ExtractionConfig {
    pub sampler: Option<Sampler>,
    pub form: Option<Form>,
    /// How many are trained, one after the other.
    pub generators: Option<u32>,
    /// Of each generator.
    pub epochs: Option<u32>,
    pub steps_per_epoch: Option<u32>,
    /// Inputs of one step.
    pub batch_size: Option<u32>,
    /// Numbers in the latent vector z.
    pub latent_dim: Option<u32>,
    /// Weight of the diversity loss.
    pub alpha: Option<f64>,
    /// Weight of the decoder's loss: how far z can be read from what was generated of it.
    pub beta: Option<f64>,
    /// Weight of the distance from what the teacher's batch norm recorded of its training data; nothing where it has none. With
    /// it, what the generators make is easy for small students: no loss of accuracy is predicted then.
    pub batch_norm: Option<f64>,
    /// Hidden layers of the decoder.
    pub decoder_layers: Option<u32>,
    /// Of generator and decoder (Adam).
    pub learning_rate: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object, as {\"epochs\": 10}")]
pub struct DistillationConfig {
    /// Inputs drawn of each generator once: what `epochs` learn from, and what a student is judged by.
    pub samples_per_generator: Option<u32>,
    /// Passes over these samples.
    pub epochs: Option<u32>,
    /// Inputs of one step, also in the games.
    pub batch_size: Option<u32>,
    /// Of the student (Adam).
    pub learning_rate: Option<f64>,
    /// Steps of the game with which two ways to spend a budget are tried before one is taken; 0 takes the first untried.
    pub trial_steps: Option<u32>,
    /// Steps of the adversarial generator, each followed by `student_steps` of the student; 0 leaves it out.
    pub adversarial_steps: Option<u32>,
    /// Steps of a second game with fresh generators, for a student that has learned the first. It counts as far as the
    /// student is no farther from the teacher on the samples of any generator, and only where the first has steps. A twentieth
    /// of them is taken anew, twice at most, should it ruin the student. It goes without `epochs`, which learn from these samples.
    pub further_steps: Option<u32>,
    /// Steps of the student after each step of the adversarial generator.
    pub student_steps: Option<u32>,
    /// Adversarial generators, which take their steps in turn.
    pub rivals: Option<u32>,
    /// As `extraction.batch_norm`, for the adversarial generators.
    pub batch_norm: Option<f64>,
    /// Decay of the exponential average of the student's weights; 0 keeps the last weights.
    pub average_decay: Option<f64>,
}

/// `config`, as a client sends it. Unknown members are an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object, as {\"preset\": \"fast\"}")]
pub struct JobConfig {
    pub name: Option<String>,
    /// The network of a file of bare weights (safetensors), which has none with it. `GET /formats` tells more of each.
    pub arch: Option<Architecture>,
    #[serde(default)]
    pub preset: Preset,
    #[serde(default)]
    pub input: InputConfig,
    /// Names of the classes, in the order of the model's output.
    pub classes: Option<Vec<String>>,
    #[serde(default)]
    pub compression: CompressionConfig,
    /// A student that is no compressed teacher. It takes the teacher's inputs and tells its classes apart; `compression` is
    /// left out then.
    pub student: Option<StudentConfig>,
    #[serde(default)]
    pub extraction: ExtractionConfig,
    #[serde(default)]
    pub distillation: DistillationConfig,
    pub seed: Option<u64>,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: Option<String>,
    pub priority: Option<i32>,
    /// Whether the uploads (model, side files, `eval`) stay once the job has succeeded. `false` deletes them with its
    /// success: nobody can download or retry them then. Default `true`.
    pub keep_upload: Option<bool>,
    /// A finished job of the same owner, of the same model, whose trained generators are used again: none is trained.
    /// `extraction` and `input` are that job's; what is given of them here must be the same.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub from_job: Option<JobId>,
}

impl JobConfig {
    /// Reads the JSON of a `config` part.
    ///
    /// # Errors
    /// `unknown_field` or `invalid_config`, with the member's path in `param`.
    pub fn parse(json: &[u8]) -> Result<Self, Problem> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let config = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let detail = error.inner().to_string();
            let code =
                if detail.starts_with("unknown field") { ErrorCode::UnknownField } else { ErrorCode::InvalidConfig };
            // `.` is the whole, and `?` a place that a broken text does not even have.
            let param = if matches!(path.as_str(), "." | "?") { "config".to_owned() } else { format!("config.{path}") };
            Problem::new(code, format!("{param}: {detail}"))
                .param(param)
                .hint("docs/CONFIG.md and GET /openapi.json list every member of config and its type.")
        })?;
        reader.end().map_err(|error| {
            Problem::new(ErrorCode::InvalidConfig, format!("config: text after the JSON object: {error}"))
                .param("config")
                .hint("Send one JSON object and nothing after it.")
        })?;
        Ok(config)
    }

    /// As a client could have written it: without the members that were left out, so that it reads, and hashes, the same in
    /// versions that know more members, and fewer.
    ///
    /// # Errors
    /// Those of serde, for numbers that JSON does not have; none was read from JSON.
    pub fn written(&self) -> Result<serde_json::Value, serde_json::Error> {
        let mut written = serde_json::to_value(self)?;
        drop_left_out(&mut written);
        Ok(written)
    }
}

fn drop_left_out(value: &mut serde_json::Value) {
    let Some(members) = value.as_object_mut() else { return };
    members.values_mut().for_each(drop_left_out);
    members.retain(|_, member| !member.is_null());
}

/// How much of which layer to compress: by a target, or several in turn, or by layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Compression {
    pub method: Method,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<OneOrMore<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<OneOrMore<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<OneOrMore<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<OneOrMore<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<OneOrMore<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<BTreeMap<String, LayerChoice>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Extraction {
    pub sampler: Sampler,
    /// Jobs from before there was a choice had the reference's.
    #[serde(default)]
    pub form: Form,
    pub generators: u32,
    pub epochs: u32,
    pub steps_per_epoch: u32,
    pub batch_size: u32,
    pub latent_dim: u32,
    pub alpha: f64,
    pub beta: f64,
    /// Jobs from before it was looked at had none.
    #[serde(default)]
    pub batch_norm: f64,
    pub decoder_layers: u32,
    pub learning_rate: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Distillation {
    pub samples_per_generator: u32,
    pub epochs: u32,
    pub batch_size: u32,
    pub learning_rate: f64,
    /// Jobs from before there was a trial had none.
    #[serde(default)]
    pub trial_steps: u32,
    pub adversarial_steps: u32,
    /// Jobs from before there was a second game had none.
    #[serde(default)]
    pub further_steps: u32,
    pub student_steps: u32,
    /// Jobs from before there was a choice had one.
    #[serde(default = "one")]
    pub rivals: u32,
    /// Jobs from before it was looked at had none.
    #[serde(default)]
    pub batch_norm: f64,
    pub average_decay: f64,
}

/// A configuration with every default filled in: what a job runs with, and what `GET /jobs/{id}` shows as `config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Settings {
    pub name: String,
    /// The network of bare weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Architecture>,
    pub preset: Preset,
    pub input: InputConfig,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    pub compression: Compression,
    /// The student that came along; none where it is the compressed teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student: Option<GivenStudent>,
    pub extraction: Extraction,
    pub distillation: Distillation,
    pub seed: u64,
    pub device: String,
    pub priority: i32,
    /// Whether the uploads stay once the job has succeeded.
    #[serde(default = "kept")]
    pub keep_upload: bool,
    /// The job whose generators are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub from_job: Option<JobId>,
}

fn one() -> u32 {
    1
}

/// Jobs from before there was a choice kept theirs.
fn kept() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_left_out_is_not_written() {
        let sections = json!({"preset": "fast", "input": {}, "compression": {}, "extraction": {}, "distillation": {}});
        assert_eq!(JobConfig::default().written().unwrap(), sections);
        let config = json!({
            "preset": "best", "name": "n", "seed": 1, "classes": ["a", "b"], "input": {"mean": [0.5]},
            "compression": {"ratio": [2.0, 4.0], "keep": ["fc"]}, "extraction": {"beta": 0.0}, "distillation": {},
            "student": {"arch": "mlp"}
        });
        let read = JobConfig::parse(config.to_string().as_bytes()).unwrap();
        assert_eq!(read.written().unwrap(), config);
    }
}
