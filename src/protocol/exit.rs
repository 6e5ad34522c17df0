//! Exit codes of a child. They only confirm its last line: what is not said there is not believed.

/// After `done`.
pub const DONE: i32 = 0;
/// After `failed`.
pub const FAILED: i32 = 1;
/// After a `cancel`, or when the supervisor is gone.
pub const STOPPED: i32 = 3;
/// After a `checkpoint_and_exit`, or the SIGTERM of a service manager that ends a whole group of processes.
pub const INTERRUPTED: i32 = 4;
/// It was not started by a supervisor, or cannot speak to it.
pub const MISUSED: i32 = 64;
