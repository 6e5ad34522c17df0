//! What kind of file an upload is, told by its first bytes alone; what we cannot read is refused with a remedy.

use crate::domain::problem::{ErrorCode, Problem};

/// How much of a file [`sniff`] wants to see; it may be shorter.
pub const HEAD: usize = 8192;

/// A model format that we recognise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Onnx,
    TorchScript,
    /// The archive of `torch.export.save`.
    Pt2,
    Safetensors,
}

impl Format {
    /// The stable name in the API: `ModelFacts::format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::TorchScript => "torchscript",
            Self::Pt2 => "pt2",
            Self::Safetensors => "safetensors",
        }
    }

    const ALL: [Self; 4] = [Self::Onnx, Self::TorchScript, Self::Pt2, Self::Safetensors];

    /// The format of that [`Self::name`].
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What files of the format are called: `student.<suffix>`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::TorchScript => "pt",
            other => other.name(),
        }
    }
}

const EXPORT: &str = "torch.onnx.export(model.eval(), (example,), \"model.onnx\").";

/// Files that are told by a constant at the start: offset, bytes, what it is, what to do.
const MAGIC: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\x89PNG", "a PNG image", MODEL_WANTED),
    (0, b"\xff\xd8\xff", "a JPEG image", MODEL_WANTED),
    (0, b"GIF8", "a GIF image", MODEL_WANTED),
    (0, b"BM", "a BMP image", MODEL_WANTED),
    (8, b"WEBP", "a WebP image", MODEL_WANTED),
    (0, b"%PDF", "a PDF document", MODEL_WANTED),
    (0, b"\x7fELF", "an executable", MODEL_WANTED),
    (0, b"\x93NUMPY", "a NumPy array", "The model part takes the network; arrays belong into the eval part, as .npz."),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, perhaps of Keras", KERAS),
    (
        4,
        b"TFL3",
        "a TensorFlow Lite model",
        "Convert it: python -m tf2onnx.convert --tflite model.tflite --output model.onnx.",
    ),
    (0, b"GGUF", "a GGUF file", "It holds a language model's weights; kegd shrinks classifiers given as ONNX."),
    (0, b"\x1f\x8b", "a gzip file", UNPACK),
    (0, b"BZh", "a bzip2 file", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz file", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
];

const MODEL_WANTED: &str = "The model part takes a network: an ONNX file, an archive of torch.export.save or torch.jit.save, or \
     safetensors weights with `arch`.";
const UNPACK: &str = "Unpack it and send the ONNX file inside.";
const KERAS: &str = "Convert it: model.export(\"model.onnx\", format=\"onnx\") in Keras 3, or tf2onnx.";
const PICKLE: &str = "A pickle runs code when it is read, so it is never opened here. Convert it where it was made. \
     A state dict: safetensors.torch.save_file(torch.load(\"model.pth\", weights_only=True), \"model.safetensors\"), \
     which is sent with the name of its network in config, as {\"arch\": \"resnet18\"} (GET /formats lists the names). \
     Any network: model.load_state_dict(torch.load(\"model.pth\", weights_only=True)); \
     torch.onnx.export(model.eval(), (example,), \"model.onnx\").";

/// Tells the format of a file from its first bytes (up to [`HEAD`] of them) and its length in bytes.
///
/// # Errors
/// `empty_file`; `unsupported_format`, saying what the file seems to be and how to get an ONNX file from it.
pub fn sniff(head: &[u8], len: u64) -> Result<Format, Problem> {
    if len == 0 || head.is_empty() {
        return Err(Problem::new(ErrorCode::EmptyFile, "The model file has no bytes.")
            .param("model")
            .hint("Check the path that was sent: curl -F model=@model.onnx."));
    }
    if head.starts_with(b"PK\x03\x04") {
        return zip(head);
    }
    if is_safetensors(head, len) {
        return Ok(Format::Safetensors);
    }
    if is_onnx(head, len) {
        return Ok(Format::Onnx);
    }
    if let Some((_, _, what, hint)) =
        MAGIC.iter().find(|(at, magic, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
    {
        return Err(unsupported(what, hint));
    }
    // Protocol 2 to 5: the opcode PROTO, then the version. Older torch.save files begin so too.
    if head[0] == 0x80 && matches!(head.get(1), Some(2..=5)) {
        return Err(unsupported("a Python pickle (torch.save, joblib)", PICKLE));
    }
    if is_text(head) {
        return Err(unsupported("text", MODEL_WANTED));
    }
    Err(unsupported("of no kind we recognise", &format!("kegd reads ONNX files; from PyTorch: {EXPORT}")))
}

fn unsupported(what: &str, hint: &str) -> Problem {
    Problem::new(ErrorCode::UnsupportedFormat, format!("The model file is {what}.")).param("model").hint(hint)
}

/// A zip archive by the names of its first entries, which stand uncompressed in the local headers.
fn zip(head: &[u8]) -> Result<Format, Problem> {
    let has = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
    // PyTorch writes weights first, and what says that it is such an archive last.
    const RECORDS: [&[u8]; 5] = [
        b"archive_format",
        b"serialized_exported_program",
        b"data/weights/weight_",
        b"_weights_config.json",
        b"data/aotinductor/",
    ];
    if RECORDS.iter().any(|record| has(record)) {
        return Ok(Format::Pt2);
    }
    // What is first of a scripted module is what was saved along with it (`_extra_files`), its first tensor, or a pickle that
    // names its own classes; a state dictionary has none of those, and its tensors are behind its pickle.
    let first = first_record(head).and_then(|name| name.split_once('/')).map_or("", |(_, inner)| inner);
    if has(b"__torch__") || matches!(first, "data/0" | "constants/0") || first.starts_with("extra/") {
        return Ok(Format::TorchScript);
    }
    if has(b"data.pkl") {
        return Err(unsupported("a Python pickle in a zip archive (torch.save)", PICKLE));
    }
    if has(b".npy") {
        return Err(unsupported(
            "a NumPy archive (.npz)",
            "Arrays belong into the eval part; the model part takes ONNX.",
        ));
    }
    if has(b"model.weights.h5") || has(b"config.json") {
        return Err(unsupported("a Keras archive", KERAS));
    }
    Err(unsupported("a zip archive", UNPACK))
}

/// The name of the first record, by its local header.
fn first_record(head: &[u8]) -> Option<&str> {
    let length = u16::from_le_bytes(head.get(26..28)?.try_into().ok()?);
    std::str::from_utf8(head.get(30..30 + usize::from(length))?).ok()
}

/// <https://huggingface.co/docs/safetensors>: 8 bytes of header length, little endian, then JSON.
fn is_safetensors(head: &[u8], len: u64) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    let header = u64::from_le_bytes(*length);
    rest.first() == Some(&b'{') && header >= 2 && header <= len.saturating_sub(8)
}

/// Walks the top-level fields of `ModelProto` as far as the head goes. Nothing but their numbers and wire types tells an
/// ONNX file from other protobuf. A file cut short still begins as one, and is then refused with that reason.
fn is_onnx(head: &[u8], len: u64) -> bool {
    const VARINT: u64 = 0;
    const BYTES: u64 = 2;
    let mut at = 0usize;
    let mut fields = 0;
    while at < head.len() {
        let Some((tag, after)) = varint(head, at) else { return fields > 0 && head.len() as u64 != len };
        let (number, wire) = (tag >> 3, tag & 7);
        let Some((value, next)) = varint(head, after) else { return fields > 0 };
        match (number, wire) {
            // ir_version: small, and first in every file that a protobuf library wrote.
            (1, VARINT) if value <= 1000 => at = next,
            (5, VARINT) => at = next,
            (2 | 3 | 4 | 6 | 7 | 8 | 14 | 20 | 25 | 26, BYTES) if fields > 0 || value <= len => {
                let Some(end) = usize::try_from(value).ok().and_then(|size| next.checked_add(size)) else {
                    return false;
                };
                at = end;
            }
            _ => return false,
        }
        fields += 1;
    }
    fields > 1 || len > head.len() as u64 || at as u64 > len
}

fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

fn is_text(head: &[u8]) -> bool {
    let head = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The head may end within a character.
        Err(error) if error.error_len().is_none() => return is_text(&head[..error.valid_up_to()]),
        Err(_) => return false,
    };
    !head.is_empty() && head.chars().all(|c| !c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(head: &[u8]) -> ErrorCode {
        sniff(head, head.len() as u64).expect_err("refused").code
    }

    fn detail(head: &[u8]) -> String {
        sniff(head, head.len() as u64).expect_err("refused").detail
    }

    /// The head of a zip archive whose first record has that name.
    fn beginning_with(record: &str) -> Vec<u8> {
        let mut head = b"PK\x03\x04".to_vec();
        head.resize(26, 0);
        head.extend((record.len() as u32).to_le_bytes());
        head.extend(record.as_bytes());
        head
    }

    #[test]
    fn an_empty_file_is_its_own_error() {
        assert_eq!(code(b""), ErrorCode::EmptyFile);
    }

    #[test]
    fn files_we_cannot_read_are_named() {
        for (head, what) in [
            (&b"\x89PNG\r\n\x1a\n0000"[..], "PNG"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"),
            (b"GIF89a\x01\0", "GIF"),
            (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
            (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
            (b"\x80\x04\x95\x10\0\0\0\0", "pickle"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "pickle"),
            (b"PK\x03\x04\0\0\0\0archive/data.pkl FB", "pickle"),
            (b"PK\x03\x04\0\0\0\0x.npy\x93NUMPY", "npz"),
            (b"PK\x03\x04\0\0\0\0metadata.json config.json", "Keras"),
            (b"PK\x03\x04\0\0\0\0notes.txt", "zip"),
            (b"\x18\0\0\0TFL3\0\0", "TensorFlow Lite"),
            (b"{\"model\": 1}", "text"),
            (b"\xe9\xa1\x13\x07\x99\x12\xff\x00\x01", "no kind"),
        ] {
            assert_eq!(code(head), ErrorCode::UnsupportedFormat, "{what}");
            assert!(detail(head).contains(what), "{} does not name {what}", detail(head));
            assert!(sniff(head, head.len() as u64).expect_err("refused").hint.is_some());
        }
    }

    #[test]
    fn a_pickle_becomes_safetensors_or_onnx() {
        for pickle in [&b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."[..], b"PK\x03\x04\0\0\0\0archive/data.pkl FB"] {
            let hint = sniff(pickle, pickle.len() as u64).unwrap_err().hint.unwrap();
            for word in ["safetensors.torch.save_file", "\"arch\"", "torch.onnx.export", "weights_only=True"] {
                assert!(hint.contains(word), "{hint}");
            }
        }
    }

    #[test]
    fn formats_we_know_are_told_apart() {
        let scripted = b"PK\x03\x04\0\0\0\0m/data.pkl\x80\x02c__torch__.Net\n";
        assert_eq!(sniff(scripted, 100).unwrap(), Format::TorchScript);
        assert_eq!(sniff(b"PK\x03\x04\0\0\0\0m/archive_formatpt2", 100).unwrap(), Format::Pt2);
        assert_eq!(sniff(b"\x10\0\0\0\0\0\0\0{\"a\": 1}        ", 24).unwrap(), Format::Safetensors);
        // ir_version 8, producer_name "pytorch", then a graph of 1000 bytes.
        let onnx = b"\x08\x08\x12\x07pytorch\x3a\xe8\x07\x0a";
        assert_eq!(sniff(onnx, 1014).unwrap(), Format::Onnx);
        let weights = b"PK\x03\x04\0\0\0\0m/data/weights/weight_0FB";
        assert_eq!(sniff(weights, 100).unwrap(), Format::Pt2);
        for first in ["m/data/0", "m/constants/0", "m/extra/config.json"] {
            assert_eq!(sniff(&beginning_with(first), 100).unwrap(), Format::TorchScript, "{first}");
        }
        assert!(sniff(&beginning_with("extra/config.json"), 100).is_err());
    }

    #[test]
    fn an_onnx_file_cut_short_is_still_recognised() {
        let onnx = b"\x08\x08\x12\x07pytorch\x3a\xe8\x07\x0a";
        for len in 2..=onnx.len() {
            let head = &onnx[..len];
            assert!(sniff(head, len as u64).is_ok() || len < 4, "cut at {len}");
        }
    }
}
