//! Pickles as libtorch writes them beside a module: data without code. What a pickle names is noted and never run.
//!
//! Opcodes: <https://github.com/python/cpython/blob/main/Lib/pickletools.py>; those that libtorch writes:
//! <https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/serialization/pickler.h>.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// Values on the stack, in the memo and with members together: more than any module has.
const MAX_VALUES: usize = 1 << 21;

/// A value of a pickle. What is shared in the file is shared here.
#[derive(Clone, Debug)]
pub enum Pickled {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Tuple(Rc<[Pickled]>),
    List(Rc<RefCell<Vec<Pickled>>>),
    Dict(Rc<RefCell<Vec<(Pickled, Pickled)>>>),
    /// A name: `__torch__.Net`.
    Global(Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Rc<Strided>),
    Object(Rc<Object>),
    /// What a name gave that is not known here, and whose value nobody needs.
    Opaque,
}

/// The record that holds a tensor's elements.
#[derive(Debug)]
pub struct Storage {
    /// `FloatStorage`.
    pub kind: Rc<str>,
    /// The path of the record in the archive.
    pub record: String,
}

/// A tensor: a view of a storage.
#[derive(Debug)]
pub struct Strided {
    pub storage: Rc<Storage>,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// An instance of a class of the archive's.
#[derive(Debug)]
pub struct Object {
    /// `__torch__.torch.nn.modules.conv.Conv2d`.
    pub class: Rc<str>,
    pub attributes: RefCell<HashMap<Rc<str>, Pickled>>,
}

impl Object {
    pub fn get(&self, name: &str) -> Option<Pickled> {
        self.attributes.borrow().get(name).cloned()
    }
}

impl Pickled {
    /// The members of a list or a tuple.
    pub fn members(&self) -> Option<Vec<Self>> {
        match self {
            Self::Tuple(members) => Some(members.to_vec()),
            Self::List(members) => Some(members.borrow().clone()),
            _ => None,
        }
    }

    fn ints(&self) -> Option<Vec<i64>> {
        let int = |value: &Self| if let Self::Int(number) = value { Some(*number) } else { None };
        self.members()?.iter().map(int).collect()
    }

    fn text(&self) -> Option<Rc<str>> {
        if let Self::Text(text) | Self::Global(text) = self { Some(Rc::clone(text)) } else { None }
    }
}

/// A value, and all values that lie in it: lists and objects are empty when it is gone, whoever still holds them.
#[derive(Debug)]
pub struct Pickle {
    root: Pickled,
    _all: Containers,
}

impl Pickle {
    pub fn root(&self) -> &Pickled {
        &self.root
    }
}

/// Everything that has members, in the order in which it was made. It outlives whatever holds it, and lets go of one after the
/// other: values that lie in each other without end would take a stack without end.
#[derive(Debug, Default)]
struct Containers(Vec<Pickled>);

impl Drop for Containers {
    fn drop(&mut self) {
        // What can be filled after it was made may hold what is younger; it is emptied while all of that is held here.
        for container in &self.0 {
            match container {
                Pickled::List(members) => members.borrow_mut().clear(),
                Pickled::Dict(pairs) => pairs.borrow_mut().clear(),
                Pickled::Object(object) => object.attributes.borrow_mut().clear(),
                _ => {}
            }
        }
        // A tuple holds what is older.
        while self.0.pop().is_some() {}
    }
}

/// Reads one pickle, whose storages are records of `folder`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read(bytes: &[u8], folder: &str) -> Result<Pickle, String> {
    let (stack, marks, memo, all) = (Vec::new(), Vec::new(), HashMap::new(), Containers::default());
    let mut reader = Reader { folder, rest: bytes, stack, marks, memo, all };
    loop {
        let opcode = reader.byte()?;
        if opcode == b'.' {
            let root = reader.pop()?;
            return Ok(Pickle { root, _all: reader.all });
        }
        reader.step(opcode)?;
        if reader.stack.len() + reader.memo.len() + reader.all.0.len() > MAX_VALUES {
            return Err(format!("it has more than {MAX_VALUES} values"));
        }
    }
}

struct Reader<'a> {
    folder: &'a str,
    rest: &'a [u8],
    stack: Vec<Pickled>,
    marks: Vec<usize>,
    memo: HashMap<u32, Pickled>,
    /// The last member, so that it is let go of last.
    all: Containers,
}

impl<'a> Reader<'a> {
    fn step(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            0x80 => {
                self.byte()?;
                return Ok(());
            }
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            b'q' => {
                let at = u32::from(self.byte()?);
                return self.remember(at);
            }
            b'r' => {
                let at = self.word()?;
                return self.remember(at);
            }
            b'h' => {
                let at = u32::from(self.byte()?);
                self.recall(at)?
            }
            b'j' => {
                let at = self.word()?;
                self.recall(at)?
            }
            b'0' => {
                self.pop()?;
                return Ok(());
            }
            b'N' => Pickled::None,
            0x88 => Pickled::Bool(true),
            0x89 => Pickled::Bool(false),
            b'K' => Pickled::Int(self.byte()?.into()),
            b'M' => Pickled::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Pickled::Int(i32::from_le_bytes(self.array()?).into()),
            0x8a => self.long()?,
            b'G' => Pickled::Float(f64::from_be_bytes(self.array()?)),
            b'X' => {
                let length = self.word()? as usize;
                let text = std::str::from_utf8(self.take(length)?).map_err(|_| "its text is not UTF-8")?;
                Pickled::Text(text.into())
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Pickled::Global(format!("{module}.{name}").into())
            }
            b')' => Pickled::Tuple(Rc::from([])),
            b't' => Pickled::Tuple(self.marked()?.into()),
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(opcode - 0x84)).ok_or(SHORT)?;
                Pickled::Tuple(self.stack.split_off(from).into())
            }
            b']' => Pickled::List(Rc::default()),
            b'}' => Pickled::Dict(Rc::default()),
            b'Q' => storage(&self.pop()?, self.folder)?,
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                called(&function, &arguments)?
            }
            0x81 => {
                self.pop()?;
                let class = self.pop()?.text().ok_or("it makes an object of what is no class")?;
                Pickled::Object(Rc::new(Object { class, attributes: RefCell::default() }))
            }
            _ => return self.fill(opcode),
        };
        if matches!(value, Pickled::Tuple(_) | Pickled::List(_) | Pickled::Dict(_) | Pickled::Object(_)) {
            self.all.0.push(value.clone());
        }
        self.stack.push(value);
        Ok(())
    }

    /// Opcodes that put values into the one below them.
    fn fill(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'a' | b'e' => {
                let members = if opcode == b'a' { vec![self.pop()?] } else { self.marked()? };
                match self.stack.last() {
                    Some(Pickled::List(list)) => list.borrow_mut().extend(members),
                    _ => return Err("it appends to what is no list".into()),
                }
            }
            b's' | b'u' => {
                let members = if opcode == b's' {
                    let (value, key) = (self.pop()?, self.pop()?);
                    vec![key, value]
                } else {
                    self.marked()?
                };
                match self.stack.last() {
                    Some(Pickled::Dict(dict)) => {
                        let pairs = members.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
                        dict.borrow_mut().extend(pairs);
                    }
                    _ => return Err("it sets members of what is no dictionary".into()),
                }
            }
            b'b' => {
                let state = self.pop()?;
                if let (Some(Pickled::Object(object)), Pickled::Dict(members)) = (self.stack.last(), &state) {
                    let named = |(key, value): &(Pickled, Pickled)| Some((key.text()?, value.clone()));
                    object.attributes.borrow_mut().extend(members.borrow().iter().filter_map(named));
                }
            }
            other => return Err(format!("its opcode {other:#04x} is none that libtorch writes")),
        }
        Ok(())
    }

    fn remember(&mut self, at: u32) -> Result<(), String> {
        let value = self.stack.last().cloned().ok_or(SHORT)?;
        self.memo.insert(at, value);
        Ok(())
    }

    fn recall(&self, at: u32) -> Result<Pickled, String> {
        self.memo.get(&at).cloned().ok_or_else(|| format!("it recalls {at}, which it never noted"))
    }

    fn pop(&mut self) -> Result<Pickled, String> {
        self.stack.pop().ok_or_else(|| SHORT.into())
    }

    fn marked(&mut self) -> Result<Vec<Pickled>, String> {
        let from = self.marks.pop().filter(|from| *from <= self.stack.len()).ok_or(SHORT)?;
        Ok(self.stack.split_off(from))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("it ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], String> {
        self.take(SIZE)?.try_into().map_err(|_| "it ends early".into())
    }

    fn word(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let length = self.rest.iter().position(|byte| *byte == b'\n').ok_or("it ends early")?;
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length]).map_err(|_| "its text is not UTF-8".into())
    }

    /// An integer of up to eight bytes, little-endian with a sign.
    fn long(&mut self) -> Result<Pickled, String> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        if length > 8 {
            return Err("it has an integer of more than 64 bits".into());
        }
        let fill = if bytes.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 };
        let mut word = [fill; 8];
        word[..length].copy_from_slice(bytes);
        Ok(Pickled::Int(i64::from_le_bytes(word)))
    }
}

const SHORT: &str = "it takes more values than it made";

/// `("storage", type, record, device, elements)`.
fn storage(id: &Pickled, folder: &str) -> Result<Pickled, String> {
    let members = id.members().unwrap_or_default();
    match members.as_slice() {
        [kind, class, record, ..] if kind.text().as_deref() == Some("storage") => {
            let class = class.text().ok_or("a storage has no type")?;
            let kind = class.rsplit('.').next().unwrap_or_default().into();
            let record = format!("{folder}/{}", record.text().ok_or("a storage has no record")?);
            Ok(Pickled::Storage(Rc::new(Storage { kind, record })))
        }
        _ => Err("it refers to something else than a storage".into()),
    }
}

/// What a call of the name gives. Names that make nothing we need give [`Pickled::Opaque`].
fn called(function: &Pickled, arguments: &Pickled) -> Result<Pickled, String> {
    let name = function.text().ok_or("it calls what is no name")?;
    let arguments = arguments.members().unwrap_or_default();
    match &*name {
        "torch._utils._rebuild_tensor_v2" => tensor(&arguments).ok_or_else(|| "a tensor's description is wrong".into()),
        // Wrappers that say of which type the members are.
        "torch._utils._rebuild_parameter"
        | "torch.jit._pickle.restore_type_tag"
        | "torch.jit._pickle.build_intlist"
        | "torch.jit._pickle.build_tensorlist"
        | "torch.jit._pickle.build_doublelist"
        | "torch.jit._pickle.build_boollist" => Ok(arguments.into_iter().next().unwrap_or(Pickled::Opaque)),
        "torch._utils._rebuild_qtensor" => Err("it holds quantised tensors, which are not read".into()),
        "torch._utils._rebuild_sparse_tensor" => Err("it holds sparse tensors, which are not read".into()),
        _ => Ok(Pickled::Opaque),
    }
}

/// `(storage, offset, shape, strides, requires grad, hooks)`.
fn tensor(arguments: &[Pickled]) -> Option<Pickled> {
    let [Pickled::Storage(storage), Pickled::Int(offset), shape, strides, ..] = arguments else { return None };
    let (shape, strides) = (shape.ints()?, strides.ints()?);
    Some(Pickled::Tensor(Rc::new(Strided { storage: Rc::clone(storage), offset: *offset, shape, strides })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_names_are_not_run() {
        // ("a", -2, 1.5, [True, None]), as Python's pickletools would write it with protocol 2.
        let bytes = b"\x80\x02(X\x01\0\0\0aJ\xfe\xff\xff\xffG\x3f\xf8\0\0\0\0\0\0](\x88Net.";
        let pickle = read(bytes, "data").unwrap();
        let members = pickle.root().members().unwrap();
        assert!(matches!(&members[0], Pickled::Text(text) if &**text == "a"));
        assert!(matches!(members[1], Pickled::Int(-2)));
        assert!(matches!(members[2], Pickled::Float(1.5)));
        assert_eq!(members[3].members().unwrap().len(), 2);
        // os.system("true"): a name, and nothing that runs.
        let bytes = b"\x80\x02cos\nsystem\n(X\x04\0\0\0truetR.";
        assert!(matches!(read(bytes, "data").unwrap().root, Pickled::Opaque));
    }

    #[test]
    fn every_cut_and_every_wrong_opcode_is_an_error() {
        let bytes = b"\x80\x02}q\0(X\x01\0\0\0aK\x01X\x01\0\0\0b(K\x02\x8a\x01\x80tu.";
        assert!(matches!(&read(bytes, "data").unwrap().root, Pickled::Dict(dict) if dict.borrow().len() == 2));
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut], "data").is_err(), "cut at {cut}");
        }
        for opcode in [b"i.", b"o.", b"P.", b"u.", b"t.", b"h."] {
            assert!(read(opcode, "data").is_err());
        }
    }

    /// Tuples in tuples, lists that are filled with lists from the outermost on, and the same where the pickle breaks off.
    #[test]
    fn values_in_each_other_are_let_go_of_without_a_stack() {
        let many = 1_000_000;
        let tuples = [b"N".to_vec(), vec![0x85; many]].concat();
        let lists = [b"]".to_vec(), b"]q\0ah\0".repeat(many / 4)].concat();
        for nested in [tuples, lists] {
            assert!(read(&nested, "data").is_err());
            assert!(read(&[nested, b".".to_vec()].concat(), "data").is_ok());
        }
    }
}
