//! Follows the code of a module once, as it runs for a batch of any size: loops are run, conditions on shapes decided, and each
//! call of an operator on tensors becomes part of the graph. Nothing of it is executed but this small part of Python.

use std::{collections::HashMap, rc::Rc};

use super::{
    item::{Item, Module, Run},
    objects::Objects,
    sources::Sources,
    syntax::{Arguments, Expression, Function, Kind, Statement},
    tensors::Tensors,
};
use crate::formats::{aten::Context, problems::Causes, refusal::Refusal};

/// Statements and expressions that the code may take; a scripted DenseNet-121 takes 15,744.
const MAX_STEPS: usize = 2_000_000;
/// Members of lists that the code may make and read together; the same takes 8,419.
const MAX_SPENT: usize = 1 << 24;
/// How deep expressions, blocks and calls may nest together. Each level is some frames of the stack.
const MAX_DEPTH: usize = 150;

/// Local names of a call.
pub type Locals = HashMap<Rc<str>, Item>;

pub struct Machine<'a> {
    pub sources: Sources<'a>,
    pub objects: Objects<'a>,
    pub context: Context,
    pub tensors: Tensors,
    /// Unsupported operators so far.
    pub causes: Causes,
    /// The module whose code is followed.
    pub path: Rc<str>,
    /// The function and the line that are followed, for messages.
    pub place: (Rc<str>, usize),
    steps: usize,
    spent: usize,
    depth: usize,
}

/// What a statement leads to.
enum Flow {
    On,
    Return(Item),
}

impl<'a> Machine<'a> {
    pub fn new(sources: Sources<'a>, objects: Objects<'a>, context: Context) -> Self {
        let (tensors, path) = (Tensors::default(), Rc::from(""));
        let place = (Rc::from("forward"), 0);
        Self {
            sources,
            objects,
            context,
            tensors,
            causes: Causes::default(),
            path,
            place,
            steps: 0,
            spent: 0,
            depth: 0,
        }
    }

    /// Calls a method of a module.
    ///
    /// # Errors
    /// What is wrong with the code, and what of it is not supported.
    pub fn method(&mut self, module: &Module, name: &str, args: Vec<Item>, words: Vec<(Rc<str>, Item)>) -> Run<Item> {
        let function = self.sources.method(&module.object.class, name)?;
        let outer = std::mem::replace(&mut self.path, Rc::clone(&module.path));
        let args = std::iter::once(Item::Module(module.clone())).chain(args).collect();
        let result = self.function(&function, args, words)?;
        self.path = outer;
        Ok(result)
    }

    fn function(&mut self, function: &Function, args: Vec<Item>, words: Vec<(Rc<str>, Item)>) -> Run<Item> {
        let name = &function.name;
        if args.len() > function.parameters.len() {
            return Err(format!("\"{name}\" takes {} values, not {}", function.parameters.len(), args.len()).into());
        }
        let mut locals: Locals = words.into_iter().collect();
        let mut given = args.into_iter();
        for parameter in &function.parameters {
            let value = match (given.next(), &parameter.default) {
                (Some(value), _) => value,
                (None, _) if locals.contains_key(&parameter.name) => continue,
                (None, Some(default)) => self.evaluate(default, &Locals::new())?,
                (None, None) => return Err(format!("\"{name}\" is called without its {}", parameter.name).into()),
            };
            locals.insert(Rc::clone(&parameter.name), value);
        }
        let outer = std::mem::replace(&mut self.place, (Rc::clone(name), 0));
        let flow = self.block(&function.body, &mut locals)?;
        self.place = outer;
        Ok(match flow {
            Flow::Return(value) => value,
            Flow::On => Item::None,
        })
    }

    fn deeper(&mut self) -> Run<()> {
        (self.steps, self.depth) = (self.steps + 1, self.depth + 1);
        if self.steps > MAX_STEPS {
            return Err(format!("its code takes more than {MAX_STEPS} steps").into());
        }
        if self.depth > MAX_DEPTH {
            return Err(format!("its code nests more than {MAX_DEPTH} deep").into());
        }
        Ok(())
    }

    fn block(&mut self, statements: &[Statement], locals: &mut Locals) -> Run<Flow> {
        self.deeper()?;
        for statement in statements {
            self.place.1 = statement.line;
            if let Flow::Return(value) = self.statement(&statement.kind, locals)? {
                self.depth -= 1;
                return Ok(Flow::Return(value));
            }
        }
        self.depth -= 1;
        Ok(Flow::On)
    }

    fn statement(&mut self, kind: &Kind, locals: &mut Locals) -> Run<Flow> {
        match kind {
            Kind::Pass => {}
            Kind::Return(value) => return Ok(Flow::Return(self.evaluate(value, locals)?)),
            Kind::Evaluate(value) => {
                self.evaluate(value, locals)?;
            }
            Kind::Bind(names, value) => {
                let value = self.evaluate(value, locals)?;
                bind(names, value, locals)?;
            }
            Kind::Set(name) => {
                return Err(Refusal::unsupported(format!("it changes the attribute \"{name}\" of its module")).into());
            }
            Kind::If(condition, then, otherwise) => {
                let holds = self.evaluate(condition, locals)?.truth()?;
                return self.block(if holds { then } else { otherwise }, locals);
            }
            Kind::While(condition, body) => {
                while self.evaluate(condition, locals)?.truth()? {
                    if let Flow::Return(value) = self.block(body, locals)? {
                        return Ok(Flow::Return(value));
                    }
                }
            }
            Kind::For(name, over, body) => {
                let over = self.evaluate(over, locals)?;
                let members = over.members().ok_or_else(|| format!("it loops over {}", over.kind()))?;
                for member in members {
                    locals.insert(Rc::clone(name), member);
                    if let Flow::Return(value) = self.block(body, locals)? {
                        return Ok(Flow::Return(value));
                    }
                }
            }
        }
        Ok(Flow::On)
    }

    pub fn evaluate(&mut self, expression: &Expression, locals: &Locals) -> Run<Item> {
        self.deeper()?;
        let value = self.value(expression, locals)?;
        self.depth -= 1;
        self.spend(value.weight())?;
        Ok(value)
    }

    /// Counts what is made and read, which neither the length of the code nor its steps bound.
    pub fn spend(&mut self, weight: usize) -> Run<()> {
        self.spent += weight;
        if self.spent > MAX_SPENT {
            Err(format!("its lists take more than {MAX_SPENT} members").into())
        } else {
            Ok(())
        }
    }

    fn value(&mut self, expression: &Expression, locals: &Locals) -> Run<Item> {
        Ok(match expression {
            Expression::None => Item::None,
            Expression::Bool(truth) => Item::Bool(*truth),
            Expression::Int(number) => Item::int(*number),
            Expression::Float(number) => Item::Float(*number),
            Expression::Text(text) => Item::Text(Rc::clone(text)),
            Expression::Name(name) => {
                locals.get(name).cloned().ok_or_else(|| format!("it reads \"{name}\", which nothing binds"))?
            }
            Expression::Attribute(of, name) => self.attribute(expression, (of, name), locals)?,
            Expression::Item(of, index) => {
                let (of, index) = (self.evaluate(of, locals)?, self.evaluate(index, locals)?);
                member(&of, &index)?
            }
            Expression::Call(callee, arguments) => self.call(callee, arguments, locals)?,
            Expression::List(members) => Item::list(self.all(members, locals)?)?,
            Expression::Tuple(members) => Item::tuple(self.all(members, locals)?)?,
            Expression::Dict(members) => {
                let mut pairs = Vec::with_capacity(2 * members.len());
                for (key, value) in members {
                    pairs.extend([self.evaluate(key, locals)?, self.evaluate(value, locals)?]);
                }
                Item::dict(pairs)?
            }
            Expression::Negative(of) => {
                let value = self.evaluate(of, locals)?;
                self.torch("neg", vec![value], Vec::new())?
            }
            Expression::Not(of) => Item::Bool(!self.evaluate(of, locals)?.truth()?),
            Expression::Either(stops_at, a, b) => {
                let a = self.evaluate(a, locals)?;
                if a.truth()? == *stops_at { a } else { self.evaluate(b, locals)? }
            }
            Expression::Choice(condition, then, otherwise) => {
                let holds = self.evaluate(condition, locals)?.truth()?;
                self.evaluate(if holds { then } else { otherwise }, locals)?
            }
        })
    }

    fn all(&mut self, expressions: &[Expression], locals: &Locals) -> Run<Vec<Item>> {
        expressions.iter().map(|expression| self.evaluate(expression, locals)).collect()
    }

    fn attribute(&mut self, whole: &Expression, (of, name): (&Expression, &str), locals: &Locals) -> Run<Item> {
        if let Some(path) = whole.path().filter(|path| !is_bound(path, locals)) {
            if path.starts_with("__torch__.") {
                return Ok(Item::Function(path.into()));
            }
            if let Some(number) = path.strip_prefix("CONSTANTS.c") {
                return self.objects.constant(number, &mut self.context, &mut self.tensors);
            }
        }
        match self.evaluate(of, locals)? {
            Item::Module(module) => self.objects.attribute(&module, name, &mut self.context, &mut self.tensors),
            other => Err(format!("it reads \"{name}\" of {}", other.kind()).into()),
        }
    }

    fn call(&mut self, callee: &Expression, arguments: &Arguments, locals: &Locals) -> Run<Item> {
        let path = callee.path().filter(|path| !is_bound(path, locals));
        if let Some(special) = path.as_deref().and_then(|path| self.special(path, &arguments.placed, locals)) {
            return special;
        }
        let target = match (&path, callee) {
            (Some(_), _) => None,
            (None, Expression::Attribute(of, name)) => match self.evaluate(of, locals)? {
                Item::Module(module) => Some((Item::Module(module), Rc::clone(name))),
                other => return Err(format!("it calls \"{name}\" of {}", other.kind()).into()),
            },
            (None, callee) => Some((self.evaluate(callee, locals)?, Rc::from("forward"))),
        };
        let args = self.all(&arguments.placed, locals)?;
        let words = arguments.named.iter().map(|(name, word)| Ok((Rc::clone(name), self.evaluate(word, locals)?)));
        let words = words.collect::<Run<Vec<_>>>()?;
        match (target, path.as_deref()) {
            (Some((Item::Module(module), method)), _) => self.method(&module, &method, args, words),
            (Some((Item::Function(name), _)), _) => self.named(&name, args, words),
            (Some((other, _)), _) => Err(format!("it calls {}", other.kind()).into()),
            (None, Some(path)) => match path.strip_prefix("torch.").or_else(|| path.strip_prefix("ops.aten.")) {
                Some(operator) => self.torch(operator, args, words),
                None => self.named(path, args, words),
            },
            (None, None) => Err("it calls what has no name".into()),
        }
    }

    /// A function of the archive, or one of Python's and of the compiler's own.
    fn named(&mut self, name: &str, args: Vec<Item>, words: Vec<(Rc<str>, Item)>) -> Run<Item> {
        if !name.starts_with("__torch__.") {
            return self.python(name, args);
        }
        match self.sources.function(name)? {
            Some(function) => self.function(&function, args, words),
            // A named tuple.
            None => Item::tuple(args),
        }
    }

    /// What takes types among its arguments, which are no values.
    fn special(&mut self, name: &str, args: &[Expression], locals: &Locals) -> Option<Run<Item>> {
        match (name, args) {
            ("annotate" | "unchecked_cast", [_, value]) => Some(self.evaluate(value, locals)),
            ("uninitialized", _) => Some(Ok(Item::None)),
            ("isinstance", [value, kind]) => {
                let value = self.evaluate(value, locals);
                Some(value.map(|value| Item::Bool(is_instance(&value, kind))))
            }
            _ => None,
        }
    }
}

/// Whether the first name of a path is one of the call's own.
fn is_bound(path: &str, locals: &Locals) -> bool {
    locals.contains_key(path.split('.').next().unwrap_or_default())
}

fn bind(names: &[Rc<str>], value: Item, locals: &mut Locals) -> Run<()> {
    if let [name] = names {
        locals.insert(Rc::clone(name), value);
        return Ok(());
    }
    let names: Vec<&Rc<str>> = names.iter().filter(|name| !name.is_empty()).collect();
    if value.is_lost() {
        locals.extend(names.into_iter().map(|name| (Rc::clone(name), Item::Lost)));
        return Ok(());
    }
    let members = value.members().filter(|members| members.len() == names.len());
    let members = members.ok_or_else(|| format!("it takes {} for {} values", value.kind(), names.len()))?;
    locals.extend(names.into_iter().cloned().zip(members));
    Ok(())
}

fn member(of: &Item, index: &Item) -> Run<Item> {
    if let Item::Dict(pairs) = of {
        for pair in pairs.all().chunks_exact(2) {
            if pair[0].equals(index)? {
                return Ok(pair[1].clone());
            }
        }
        return Err(format!("its dictionary has no {}", index.show()).into());
    }
    if of.is_lost() {
        return Ok(Item::Lost);
    }
    let members = of.members().ok_or_else(|| format!("it takes a member of {}", of.kind()))?;
    let at = index.whole()?;
    let from_front = if at < 0 { at.checked_add(members.len() as i64) } else { Some(at) };
    let found = from_front.and_then(|at| usize::try_from(at).ok()).and_then(|at| members.get(at));
    found.cloned().ok_or_else(|| format!("it takes member {at} of {}", members.len()).into())
}

fn is_instance(value: &Item, kind: &Expression) -> bool {
    match kind {
        Expression::Tuple(kinds) | Expression::List(kinds) => kinds.iter().any(|kind| is_instance(value, kind)),
        Expression::Item(of, _) => match of.path().as_deref() {
            Some("List") => matches!(value, Item::List(_)),
            Some("Tuple") => matches!(value, Item::Tuple(_)),
            Some("Dict") => matches!(value, Item::Dict(_)),
            Some("Optional") => true,
            _ => false,
        },
        _ => match (kind.path().as_deref(), value) {
            (Some("Tensor"), Item::Tensor(_) | Item::Lost)
            | (Some("int"), Item::Int(_))
            | (Some("float"), Item::Float(_))
            | (Some("bool"), Item::Bool(_))
            | (Some("str"), Item::Text(_))
            | (Some("NoneType"), Item::None)
            | (Some("number"), Item::Int(_) | Item::Float(_)) => true,
            (Some(class), Item::Module(module)) => *class == *module.object.class,
            _ => false,
        },
    }
}
