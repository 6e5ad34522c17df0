//! A panic of the engine as a failure with a code. libtorch's errors arrive here where a call had no `f_*` twin.

use std::any::Any;

use crate::{
    domain::problem::{ErrorCode, Problem},
    engine::error::{first_line, out_of_memory},
};

pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Problem {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
    out_of_memory(text).unwrap_or_else(|| {
        Problem::new(ErrorCode::Internal, format!("the engine stopped: {}", first_line(text)))
            .hint("This is a fault of the program, not of the upload; the run's log has the details.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_other_faults() {
        let code = |text: &'static str| of_panic(&text).code;
        assert_eq!(code("index out of bounds"), ErrorCode::Internal);
        assert_eq!(code("CUDA out of memory. Tried to allocate 2.00 GiB"), ErrorCode::OutOfMemory);
        assert_eq!(code("std::bad_alloc"), ErrorCode::OutOfMemory);
        assert_eq!(code("[enforce fail] DefaultCPUAllocator: can't allocate memory"), ErrorCode::OutOfMemory);
        let owned: Box<dyn Any + Send> = Box::new("mat1 and mat2\nframe #0: at::".to_owned());
        assert_eq!(of_panic(owned.as_ref()).detail, "the engine stopped: mat1 and mat2");
    }
}
