//! CUDA for a binary that is linked against the CPU half of libtorch alone.

use std::sync::Once;

/// Loads libtorch's CUDA half where it can be found (`LD_LIBRARY_PATH`, or beside libtorch). Its kernels register
/// themselves as it loads, so this comes before the first tensor. Without it everything runs on the CPU.
pub fn load() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the name is a NUL-terminated constant. The library's initialisers are those of the libtorch that this
        // process is already linked against, and they run once.
        unsafe { libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    });
}

/// The GPUs that libtorch can use, as `cuda:N`.
pub fn gpus() -> Vec<String> {
    load();
    let count = if tch::Cuda::is_available() { tch::Cuda::device_count() } else { 0 };
    (0..count).map(|index| format!("cuda:{index}")).collect()
}
