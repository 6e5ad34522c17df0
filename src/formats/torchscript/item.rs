//! Values of the code while it is followed: what is known at once, and tensors.

use std::{cell::RefCell, rc::Rc};

use super::pickle::Object;
use crate::formats::{dim::Dim, refusal::Refusal};

/// A value of the code.
#[derive(Clone, Debug)]
pub enum Item {
    None,
    Bool(bool),
    Int(Dim),
    Float(f64),
    Text(Rc<str>),
    /// Lists are changed in place, and whoever has one sees that.
    List(Rc<Members>),
    Tuple(Rc<Members>),
    /// Keys and values in turn.
    Dict(Rc<Members>),
    /// A place in the machine's list of tensors.
    Tensor(usize),
    Module(Module),
    /// `__torch__.torch.nn.functional.relu`
    Function(Rc<str>),
    /// What an unsupported operator makes; reported once, where it began.
    Lost,
}

/// What a list, a tuple or a dictionary has in it.
#[derive(Debug)]
pub struct Members {
    all: RefCell<Vec<Item>>,
    /// How many of them lie within each other: without a bound, letting go of them would take a stack without a bound.
    level: usize,
}

impl Members {
    fn new(all: Vec<Item>) -> Run<Rc<Self>> {
        let level = 1 + all.iter().map(Item::level).max().unwrap_or(0);
        if all.len() > MAX_LIST || level > MAX_LEVEL {
            return Err(
                format!("it makes a list of more than {MAX_LIST} members, or {MAX_LEVEL} lists in each other").into()
            );
        }
        Ok(Rc::new(Self { all: RefCell::new(all), level }))
    }

    /// Adds a member that is no list, so that no list comes to lie in itself.
    pub fn append(&self, member: Item) -> Run<()> {
        if member.level() > 0 {
            return Err(Refusal::unsupported("it appends a list to a list").into());
        }
        let mut all = self.all.borrow_mut();
        if all.len() >= MAX_LIST {
            return Err(format!("it makes a list of more than {MAX_LIST} members").into());
        }
        all.push(member);
        Ok(())
    }

    pub fn all(&self) -> Vec<Item> {
        self.all.borrow().clone()
    }
}

/// A module with its path from the outermost: `features.0`.
#[derive(Clone, Debug)]
pub struct Module {
    pub object: Rc<Object>,
    pub path: Rc<str>,
}

/// Why the code is followed no further.
#[derive(Debug)]
pub enum Halt {
    Refused(Refusal),
    /// It goes on with what an unsupported operator makes, which is reported already.
    Lost,
}

impl<T: Into<Refusal>> From<T> for Halt {
    fn from(refusal: T) -> Self {
        Self::Refused(refusal.into())
    }
}

pub type Run<T> = Result<T, Halt>;

impl Item {
    pub fn list(members: Vec<Item>) -> Run<Self> {
        Ok(Self::List(Members::new(members)?))
    }

    pub fn tuple(members: Vec<Item>) -> Run<Self> {
        Ok(Self::Tuple(Members::new(members)?))
    }

    pub fn dict(pairs: Vec<Item>) -> Run<Self> {
        Ok(Self::Dict(Members::new(pairs)?))
    }

    fn level(&self) -> usize {
        match self {
            Self::List(members) | Self::Tuple(members) | Self::Dict(members) => members.level,
            _ => 0,
        }
    }

    /// What it takes to have or to read it.
    pub fn weight(&self) -> usize {
        match self {
            Self::List(members) | Self::Tuple(members) | Self::Dict(members) => members.all.borrow().len(),
            Self::Text(text) => text.len() / 16,
            _ => 0,
        }
    }

    pub fn int(number: i64) -> Self {
        Self::Int(Dim::fixed(number))
    }

    /// The members of a list or a tuple.
    pub fn members(&self) -> Option<Vec<Item>> {
        match self {
            Self::List(members) | Self::Tuple(members) => Some(members.all()),
            _ => None,
        }
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Float(_) | Self::Bool(_))
    }

    pub fn is_tensor(&self) -> bool {
        matches!(self, Self::Tensor(_))
    }

    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }

    /// The kind of value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dictionary",
            Self::Tensor(_) => "a tensor",
            Self::Module(_) => "a module",
            Self::Function(_) => "a function",
            Self::Lost => "what an unsupported operator makes",
        }
    }

    /// The number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(dim) => dim.number().map(|number| number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(truth) => Some(f64::from(u8::from(*truth))),
            _ => None,
        }
    }

    /// A whole number that does not depend on the batch.
    pub fn whole(&self) -> Run<i64> {
        match self {
            Self::Int(dim) => match dim.number() {
                Some(number) => Ok(number),
                None => Err(Refusal::unsupported(format!("it decides by {dim}, which depends on the batch")).into()),
            },
            Self::Bool(truth) => Ok(i64::from(*truth)),
            Self::Lost => Err(Halt::Lost),
            other => Err(format!("it takes {} for a whole number", other.kind()).into()),
        }
    }

    /// Whether a condition holds.
    pub fn truth(&self) -> Run<bool> {
        match self {
            Self::Bool(truth) => Ok(*truth),
            Self::None => Ok(false),
            Self::Int(_) => Ok(!self.equals(&Self::int(0))?),
            Self::Float(number) => Ok(*number != 0.0),
            Self::Text(text) => Ok(!text.is_empty()),
            Self::List(_) | Self::Tuple(_) => Ok(self.members().is_some_and(|members| !members.is_empty())),
            Self::Lost => Err(Halt::Lost),
            Self::Tensor(_) => Err(Refusal::unsupported("it branches on a computed value").into()),
            other => Err(format!("it takes {} for a truth", other.kind()).into()),
        }
    }

    /// Whether two values are equal, for every batch.
    pub fn equals(&self, other: &Self) -> Run<bool> {
        let undecided = || Refusal::unsupported("it compares a number with the batch size, which is free");
        Ok(match (self, other) {
            (Self::Lost, _) | (_, Self::Lost) => return Err(Halt::Lost),
            (Self::Int(a), Self::Int(b)) => a.equals(*b).ok_or_else(undecided)?,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::None, Self::None) => true,
            (Self::Tensor(a), Self::Tensor(b)) => a == b,
            _ => match (self.members(), other.members()) {
                (Some(a), Some(b)) if a.len() == b.len() => {
                    for (a, b) in a.iter().zip(&b) {
                        if !a.equals(b)? {
                            return Ok(false);
                        }
                    }
                    true
                }
                (None, None) => match (self.number(), other.number()) {
                    (Some(a), Some(b)) => a == b,
                    (None, Some(_)) if matches!(self, Self::Int(_)) => return Err(undecided().into()),
                    (Some(_), None) if matches!(other, Self::Int(_)) => return Err(undecided().into()),
                    _ => false,
                },
                _ => false,
            },
        })
    }

    /// As `format` writes it.
    pub fn show(&self) -> String {
        match self {
            Self::Bool(truth) => if *truth { "True" } else { "False" }.to_owned(),
            Self::Int(dim) => dim.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Text(text) => text.chars().take(MAX_TEXT).collect(),
            Self::List(_) | Self::Tuple(_) => {
                let members = self.members().unwrap_or_default();
                let shown: Vec<String> = members.iter().take(32).map(|member| member.flat().to_owned()).collect();
                format!("[{}]", shown.join(", "))
            }
            other => other.kind().to_owned(),
        }
    }

    /// A member of a list in words; those of lists in lists could be many.
    fn flat(&self) -> String {
        if matches!(self, Self::List(_) | Self::Tuple(_)) { self.kind().to_owned() } else { self.show() }
    }
}

/// Longest text that the code may make, in characters.
pub const MAX_TEXT: usize = 1 << 12;
/// Longest list that the code may make.
pub const MAX_LIST: usize = 1 << 16;
/// Most lists that may lie within each other.
const MAX_LEVEL: usize = 8;
