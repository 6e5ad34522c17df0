//! Networks that we define ourselves, on tch.

pub mod decoder;
pub mod generator;
mod layers;
pub mod pixels;
pub mod smooth;
