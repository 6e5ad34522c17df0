//! What libtorch can run on here; asked by the worker, which must not load it.

use crate::engine;

/// Prints the GPUs that libtorch can use, one `cuda:N` on a line. None is no error.
pub fn probe_devices() {
    for gpu in engine::gpus() {
        println!("{gpu}");
    }
}
