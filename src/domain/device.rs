//! Devices: what a job asks for, and what a slot is.

/// Whether a slot of the device `slot` (`cpu`, `cuda:0`) may run what asks for `wanted` (`auto`, `cpu`, `cuda`, `cuda:1`).
pub fn may_run(wanted: &str, slot: &str) -> bool {
    match wanted {
        "auto" => true,
        "cuda" => slot.starts_with("cuda:"),
        wanted => wanted == slot,
    }
}
