//! Writes the pickle of a module: what [`super::pickle`] reads, opcode by opcode.

use crate::formats::graph::{Data, Tensor};

/// A pickle while it is written.
pub struct Pickler {
    bytes: Vec<u8>,
}

impl Pickler {
    pub fn new() -> Self {
        Self { bytes: vec![0x80, 2] }
    }

    /// The bytes, with the opcode that ends them.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'.');
        self.bytes
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn int(&mut self, number: i64) {
        self.bytes.extend([0x8a, 8]);
        self.bytes.extend(number.to_le_bytes());
    }

    /// A string, shorter than 4 GiB.
    pub fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.bytes());
    }

    pub fn truth(&mut self, truth: bool) {
        self.bytes.push(if truth { 0x88 } else { 0x89 });
    }

    pub fn empty_tuple(&mut self) {
        self.bytes.push(b')');
    }

    fn ints(&mut self, numbers: impl Iterator<Item = usize>) {
        self.bytes.push(b'(');
        for number in numbers {
            self.int(number as i64);
        }
        self.bytes.push(b't');
    }

    /// An object of a class; `attributes` writes names and values in turn.
    pub fn object(&mut self, (module, class): (&str, &str), attributes: impl FnOnce(&mut Self)) {
        self.global(module, class);
        self.bytes.extend([b')', 0x81, b'}', b'(']);
        attributes(self);
        self.bytes.extend([b'u', b'b']);
    }

    /// A tensor, whose elements are the record `data/<record>`.
    pub fn tensor(&mut self, tensor: &Tensor, record: &str, requires_grad: bool) {
        let kind = match tensor.data {
            Data::F32(_) => "FloatStorage",
            Data::I64(_) => "LongStorage",
            Data::Bool(_) => "BoolStorage",
        };
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.extend(*b"((");
        self.text("storage");
        self.global("torch", kind);
        self.text(record);
        self.text("cpu");
        self.int(tensor.len() as i64);
        self.bytes.extend(*b"tQ");
        self.int(0);
        self.ints(tensor.shape.iter().copied());
        self.ints((0..tensor.shape.len()).map(|axis| tensor.shape[axis + 1..].iter().product()));
        self.truth(requires_grad);
        self.global("collections", "OrderedDict");
        self.bytes.extend(*b")RtR");
    }
}
