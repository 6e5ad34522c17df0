//! The part of Python that the code of a module is written in.

use std::{collections::HashMap, rc::Rc};

/// One file of code.
#[derive(Debug, Default)]
pub struct Source {
    pub functions: HashMap<Rc<str>, Rc<Function>>,
    /// Methods by their classes.
    pub classes: HashMap<Rc<str>, HashMap<Rc<str>, Rc<Function>>>,
}

#[derive(Debug)]
pub struct Function {
    pub name: Rc<str>,
    pub parameters: Vec<Parameter>,
    pub body: Vec<Statement>,
}

#[derive(Debug)]
pub struct Parameter {
    pub name: Rc<str>,
    pub default: Option<Expression>,
}

#[derive(Debug)]
pub struct Statement {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    /// Names bound to the value, or to its members where there are several.
    Bind(Vec<Rc<str>>, Expression),
    /// A change of the attribute of that name, which is not followed.
    Set(Rc<str>),
    Evaluate(Expression),
    Return(Expression),
    If(Expression, Vec<Statement>, Vec<Statement>),
    While(Expression, Vec<Statement>),
    For(Rc<str>, Expression, Vec<Statement>),
    Pass,
}

#[derive(Debug)]
pub enum Expression {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Name(Rc<str>),
    Attribute(Box<Expression>, Rc<str>),
    Item(Box<Expression>, Box<Expression>),
    Call(Box<Expression>, Arguments),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Negative(Box<Expression>),
    Not(Box<Expression>),
    /// The first that decides: `and` stops at what is false, `or` (`true`) at what is true.
    Either(bool, Box<Expression>, Box<Expression>),
    /// condition, then, else
    Choice(Box<Expression>, Box<Expression>, Box<Expression>),
}

/// What a call is given: by place, and by name.
#[derive(Debug, Default)]
pub struct Arguments {
    pub placed: Vec<Expression>,
    pub named: Vec<(Rc<str>, Expression)>,
}

impl Expression {
    /// `a.b.c` as words, where it is nothing but names.
    pub fn path(&self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name.to_string()),
            Self::Attribute(of, name) => Some(format!("{}.{name}", of.path()?)),
            _ => None,
        }
    }
}
