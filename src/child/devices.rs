//! What libtorch can run on here; asked by the worker, which must not load it.

/// Prints the GPUs that libtorch can use, one `cuda:N` on a line. None is no error.
pub fn probe_devices() {
    let gpus = if tch::Cuda::is_available() { tch::Cuda::device_count() } else { 0 };
    for index in 0..gpus {
        println!("cuda:{index}");
    }
}
