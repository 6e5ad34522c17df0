//! Modules of torch.jit that cannot be taken are refused with their own reason, and quickly; whatever the bytes are, reading
//! them ends with an answer and runs nothing.

#[path = "fixtures/records.rs"]
mod records;
#[path = "fixtures/refusal.rs"]
mod refusal;

use kegd::{
    domain::problem::{ErrorCode, Problem},
    formats::{facts, file, graph::Graph, imported::ImportOptions, sniff::Format, torchscript},
};
use proptest::prelude::*;
use records::Records;
use refusal::{check, digest, text};
use rstest::rstest;
use zip::CompressionMethod;

fn fixture(name: &str) -> Records {
    Records::read(&std::fs::read(format!("tests/fixtures/torchscript/{name}.pt")).unwrap())
}

fn plain() -> Records {
    fixture("lenet5_traced")
}

fn shaped(shape: &[usize]) -> ImportOptions {
    ImportOptions { input_shape: Some(shape.to_vec()), ..ImportOptions::default() }
}

/// The traced LeNet5 with its outermost forward replaced.
fn with_body(body: &str) -> Vec<u8> {
    let mut records = plain();
    let indented: String = body.lines().map(|line| format!("    {line}\n")).collect();
    let code =
        format!("class LeNet5(Module):\n  def forward(self: __torch__.LeNet5, x: Tensor) -> Tensor:\n{indented}");
    *records.get("code/__torch__/make.py") = code.replace("__torch__.LeNet5", "__torch__.make.LeNet5").into_bytes();
    records.bytes()
}

#[track_caller]
fn refused(bytes: &[u8], code: ErrorCode, words: &[&str]) -> Problem {
    check(torchscript::import(bytes, &ImportOptions::default()).expect_err("the archive is refused"), code, words)
}

#[test]
fn a_body_of_ones_own_is_taken() {
    let flat = "flat = torch.flatten(torch.adaptive_avg_pool2d(x, [4, 8]), 1)\nfc2 = self.fc2\n";
    let called =
        torchscript::import(&with_body(&format!("{flat}return (fc2).forward(flat, )")), &ImportOptions::default());
    let called = called.unwrap().graph;
    assert_eq!(called.classes(), 10);
    // As torch 1.4 to 1.8 traced a layer.
    let old = "weight = fc2.weight\nbias = fc2.bias\nreturn torch.addmm(bias, flat, torch.t(weight), beta=1, alpha=1)";
    let old = torchscript::import(&with_body(&format!("{flat}{old}")), &ImportOptions::default()).unwrap().graph;
    let names =
        |graph: &Graph| -> Vec<String> { facts::facts(graph).unwrap().1.into_iter().map(|layer| layer.name).collect() };
    assert_eq!((names(&old), &old.weights), (names(&called), &called.weights));
}

#[test]
fn other_kinds_of_archives_have_their_remedies() {
    refused(&plain().without("data.pkl").bytes(), ErrorCode::InvalidModel, &["data.pkl", "torch.jit.save"]);
    refused(&plain().with("model.json", b"{}").bytes(), ErrorCode::UnsupportedFormat, &["torch 1.3", "torch.jit.load"]);
    let mut big = plain();
    *big.get("byteorder") = b"big".to_vec();
    refused(&big.bytes(), ErrorCode::UnsupportedFormat, &["little-endian"]);
    refused(&plain().without("code/__torch__/make.py").bytes(), ErrorCode::InvalidModel, &["code/__torch__/make.py"]);
    refused(&plain().without("/data/3").bytes(), ErrorCode::InvalidModel, &["data/3"]);
    let mut no_module = plain();
    *no_module.get("data.pkl") = b"\x80\x02).".to_vec();
    refused(&no_module.bytes(), ErrorCode::InvalidModel, &["no module"]);
}

#[test]
fn archives_are_read_as_they_are_stored() {
    refused(&plain().pack(CompressionMethod::Deflated), ErrorCode::InvalidModel, &["compressed"]);
    let whole = plain().bytes();
    for length in (0..whole.len()).step_by(997) {
        refused(&whole[..length], ErrorCode::InvalidModel, &["cut short"]);
    }
}

/// `_extra_files` are written first, and may be longer than what a format is told by.
#[test]
fn files_saved_along_with_a_module_change_nothing() {
    let mut records = plain();
    let folder = records.0[0].0.split_once('/').unwrap().0.to_owned();
    let notes = format!("{{\"names\": \"{}\"}}", "tabby ".repeat(2000));
    let along = ["config.json", "notes.txt"].map(|name| (format!("{folder}/extra/{name}"), notes.clone().into_bytes()));
    records.0.splice(0..0, along);
    let read = |bytes: &[u8]| file::read(bytes, &ImportOptions::default()).unwrap();
    let (format, imported) = read(&records.bytes());
    assert_eq!((format, imported.graph), (Format::TorchScript, read(&plain().bytes()).1.graph));
}

/// The traced LeNet5 with an example of another type.
fn traced_with(storage: &str) -> Vec<u8> {
    let mut records = plain();
    let pickle = records.get("traced_inputs.pkl");
    let at = pickle.windows(12).position(|bytes| bytes == b"FloatStorage").unwrap();
    pickle.splice(at..at + 12, storage.bytes());
    records.bytes()
}

#[test]
fn examples_of_other_types_than_float32() {
    for storage in ["ByteStorage", "LongStorage", "BoolStorage", "ComplexFloatStorage"] {
        refused(&traced_with(storage), ErrorCode::NotAClassifier, &["\"x\"", "not of floats", "bytes or tokens"]);
        let problem = torchscript::port(&traced_with(storage), &ImportOptions::default()).unwrap_err();
        assert_eq!(problem.code, ErrorCode::NotAClassifier);
    }
    let is_told = |storage: &str| {
        let imported = torchscript::import(&traced_with(storage), &ImportOptions::default()).unwrap();
        imported.warnings.iter().any(|warning| warning.contains("takes and gives float32"))
    };
    let told = ["HalfStorage", "BFloat16Storage", "DoubleStorage", "FloatStorage"].map(is_told);
    assert_eq!(told, [true, true, true, false]);
}

/// A script does not tell what it is asked with.
#[test]
fn the_shape_of_a_script_is_asked_for() {
    let bytes = fixture("lenet5_scripted").bytes();
    refused(&bytes, ErrorCode::InvalidConfig, &["does not tell the shape of its input \"x\"", "config.input.shape"]);
    assert!(torchscript::import(&bytes, &shaped(&[1, 32, 32])).is_ok());
    let problem = torchscript::import(&bytes, &shaped(&[3, 32, 32])).unwrap_err();
    assert_eq!(problem.code, ErrorCode::InvalidModel);
    assert!(problem.detail.contains("of \"conv1\""), "{}", problem.detail);
}

#[test]
fn every_unknown_operator_is_listed_with_its_place() {
    let body =
        "a = torch.fft_fft2(x)\nb = torch.relu(a)\nc = ops.mine.relu(x)\nreturn torch.add(b, torch.cumsum(x, 1))";
    let words = ["3 of the model's nodes", "aten.fft_fft2 in \"forward\", line 3", "aten.cumsum", "mine.relu"];
    let problem = refused(&with_body(body), ErrorCode::UnsupportedOperators, &words);
    assert_eq!(problem.errors[0].operator.as_deref(), Some("aten.fft_fft2"));
}

#[test]
fn picks_along_several_axes() {
    let body = "i = torch.zeros([2], dtype=4)\ny = torch.index(x, [None, i, i])\nreturn torch.flatten(y, 1)";
    refused(&with_body(body), ErrorCode::UnsupportedOperators, &["aten.index", "several axes"]);
}

#[rstest]
#[case("return torch.relu(y)", "reads \"y\", which nothing binds")]
#[case("conv9 = self.conv9\nreturn x", "has no attribute \"conv9\"")]
#[case("return torch.relu(CONSTANTS.c99)", "no constant 99")]
#[case("return (self.conv1).backward(x, )", "no code of")]
#[case("a, b, = torch.size(x)\nreturn x", "takes a list for 2 values")]
#[case("return torch.view(x, [7, 7])", "line 3")]
#[case("return torch.relu(x, x, x)", "3 arguments of 1")]
#[case("if torch.relu(x):\n  y = x\nelse:\n  y = x\nreturn y", "branches on a computed value")]
#[case("if torch.gt(torch.size(x, 0), 4):\n  y = x\nelse:\n  y = x\nreturn y", "batch size, which is free")]
#[case("ops.prim.RaiseException(\"no\", \"ValueError\")\nreturn x", "raises \"no\"")]
#[case("y = torch.slice(x, 2, 0, 9)\nz = torch.add_(x, 1)\nreturn torch.flatten(y, 1)", "view of what was changed")]
#[case(
    "y = torch.contiguous(torch.permute(x, [0, 1, 3, 2]))\nz = torch.contiguous(y)\na = torch.add_(z, 1)\nreturn torch.flatten(torch.add(y, z), 1)",
    "may be a copy"
)]
#[case("a = [1]\nb = torch.append(a, a)\nreturn x", "appends a list to a list")]
#[case("self.count = 3\nreturn x", "changes the attribute \"count\"")]
#[case("return x y", "goes on where it should end")]
fn code_that_has_no_meaning(#[case] body: &str, #[case] reason: &str) {
    let problem = torchscript::import(&with_body(body), &ImportOptions::default()).unwrap_err();
    let text = text(&problem);
    assert!(text.contains(reason), "{text}");
}

#[test]
fn a_tuple_with_one_member_is_that_member() {
    let body = "return (None, torch.flatten(torch.relu(x), 1), None)";
    let imported = torchscript::import(&with_body(body), &ImportOptions::default()).unwrap();
    assert_eq!(imported.graph.classes(), 1024);
    assert!(imported.warnings.iter().any(|warning| warning.contains("tuple")), "{:?}", imported.warnings);
}

#[test]
fn answers_that_are_no_scores() {
    refused(&with_body("return (x, x)"), ErrorCode::NotAClassifier, &["answers with a tuple"]);
    refused(&with_body("return {\"scores\": x}"), ErrorCode::NotAClassifier, &["answers with a dictionary"]);
    refused(&with_body("return torch.relu(x)"), ErrorCode::NotAClassifier, &["(N, 1, 32, 32)"]);
    refused(&with_body("return x"), ErrorCode::NotAClassifier, &["output"]);
}

/// Little code that would take long, or make much of little.
#[rstest]
#[case("for i in range(9999999999):\n  pass\nreturn x", "list of more than")]
#[case("while True:\n  pass\nreturn x", "steps")]
#[case("while True:\n  x = torch.relu(x)\nreturn x", "nodes")]
#[case("a = [1]\nwhile True:\n  a = torch.add(a, a)\nreturn x", "list of more than")]
#[case("a = [1]\nwhile True:\n  b = torch.append(a, 1)\nreturn x", "lists take more")]
#[case("a = [1]\nwhile True:\n  a = [a, a]\nreturn x", "lists in each other")]
#[case("a = torch.mul([1], 65536)\nwhile torch.eq(a, a):\n  pass\nreturn x", "lists take more")]
#[case("while True:\n  a = torch.chunk(x, 32, 2)\nreturn x", "lists take more")]
#[case("return torch.flatten(torch.zeros([1048576, 1048576]), 1)", "more than")]
#[case("return torch.constant_pad_nd(x, [1099511627776, 1099511627776])", "line 3")]
#[case("return (self).forward(x, )", "deep")]
fn code_without_end(#[case] body: &str, #[case] reason: &str) {
    refused(&with_body(body), ErrorCode::InvalidModel, &[reason]);
}

/// Names are told with each cause of a refusal, so they are bounded while the code is followed.
#[test]
fn attributes_of_long_names() {
    let body = |name: &str| format!("layer = getattr(self, \"{name}\")\nreturn torch.flatten((layer).forward(x, ), 1)");
    // With ".weight" behind it.
    for (length, is_taken) in [(1017, true), (1018, false)] {
        let name = "n".repeat(length);
        let mut records = Records::read(&with_body(&body(&name)));
        let pickle = records.get("data.pkl");
        let old = b"X\x05\0\0\0conv1";
        let at = pickle.windows(old.len()).position(|bytes| bytes == old).unwrap();
        let new = [b"X", &(length as u32).to_le_bytes()[..], name.as_bytes()].concat();
        pickle.splice(at..at + old.len(), new);
        match torchscript::import(&records.bytes(), &ImportOptions::default()) {
            Ok(_) => assert!(is_taken),
            Err(problem) => {
                assert!(!is_taken, "{problem}");
                check(problem, ErrorCode::InvalidModel, &["1025 bytes, more than 1024"]);
            }
        }
    }
}

/// Whether `contiguous` copies does not matter where only its result is read, or nothing is changed.
#[rstest]
#[case("y = torch.permute(x, [0, 1, 3, 2])\nz = torch.contiguous(y)\na = torch.add_(z, 1)\nreturn torch.flatten(a, 1)")]
#[case("y = torch.permute(x, [0, 1, 3, 2])\nz = torch.contiguous(y)\nreturn torch.flatten(torch.add(y, z), 1)")]
fn what_may_be_a_copy(#[case] body: &str) {
    assert_eq!(torchscript::import(&with_body(body), &ImportOptions::default()).unwrap().graph.classes(), 1024);
}

/// A trace of no example at all fixes no batch.
#[test]
fn a_trace_of_an_empty_batch() {
    let body = "return torch.cat([torch.flatten(x, 1), torch.zeros([0])], 1)";
    let mut records = Records::read(&with_body(body));
    let pickle = records.get("traced_inputs.pkl");
    let at = pickle.windows(4).position(|bytes| bytes == b"K\x02K\x01").unwrap();
    pickle[at + 1] = 0;
    refused(&records.bytes(), ErrorCode::UnsupportedOperators, &["joins a constant of [0]"]);
}

#[test]
fn weights_that_diverged() {
    let mut records = plain();
    records.get("/data/0")[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(&records.bytes(), ErrorCode::InvalidWeights, &["conv1.weight"]);
}

const SEEDS: &[(&str, &[usize])] = &[
    ("mlp_scripted", &[16]),
    ("branches_scripted", &[6]),
    ("gates_traced", &[3, 32, 32]),
    ("attention_traced", &[1, 16, 16]),
    ("odds_traced", &[2, 9, 9]),
    ("signal_scripted", &[2, 40]),
];

/// What a word of the code is replaced by.
const WORDS: &[&str] =
    &["0", "-1", "9223372036854775807", "None", "[]", "x", "self", "True", "1e300", "\"a\"", "torch", "(", "]", ":"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn bytes_changed(which in 0..SEEDS.len(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (name, shape) = SEEDS[which];
        let mut bytes = fixture(name).bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        digest(&bytes, &shaped(shape), Format::TorchScript);
    }

    #[test]
    fn records_changed(which in 0..SEEDS.len(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (name, shape) = SEEDS[which];
        let mut records = fixture(name);
        let pickle = records.get("data.pkl");
        for (at, value) in changes {
            let at = at.index(pickle.len());
            pickle[at] = value;
        }
        digest(&records.bytes(), &shaped(shape), Format::TorchScript);
    }

    #[test]
    fn words_changed(which in 0..SEEDS.len(), file: prop::sample::Index, changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..WORDS.len()), 1..4)) {
        let (name, shape) = SEEDS[which];
        let mut records = fixture(name);
        let mut files: Vec<&mut Vec<u8>> =
            records.0.iter_mut().filter(|(name, _)| name.ends_with(".py")).map(|(_, code)| code).collect();
        let file = file.index(files.len());
        let code = String::from_utf8(files[file].clone()).unwrap();
        let mut words: Vec<&str> = code.split_inclusive(&[' ', ',', '(', '[', '\n'][..]).collect();
        for (at, word) in changes {
            let at = at.index(words.len());
            words[at] = WORDS[word];
        }
        *files[file] = words.concat().into_bytes();
        digest(&records.bytes(), &shaped(shape), Format::TorchScript);
    }
}
