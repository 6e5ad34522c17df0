//! The science, on libtorch: from a graph to a smaller graph that answers alike.

mod adam;
mod audit;
mod axes;
mod beginning;
mod checkpoint;
pub mod compress;
mod cuda;
mod distill;
pub mod error;
#[cfg(not(fuzzing))]
mod evalset;
#[cfg(fuzzing)]
pub mod evalset;
pub mod executor;
mod extract;
mod files;
mod finish;
mod game;
mod given;
mod initial;
mod landmarks;
mod latency;
pub mod latent;
mod learned;
mod losses;
pub mod npz;
mod npz_headers;
pub mod observer;
mod opaque;
mod pieces;
mod pool;
mod procedural;
mod reading;
mod record;
mod rival;
mod run;
mod sampler;
mod samples;
mod score;
mod second_game;
mod seed;
mod student;
mod teacher;
mod ticker;
mod trial;

pub use cuda::{gpus, load as load_cuda};
pub use run::run;
pub use score::score;
