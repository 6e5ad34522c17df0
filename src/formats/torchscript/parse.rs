//! From the text of a file of code to its functions and classes. Types are read over: what a value is, it tells itself.

mod expression;

use std::{collections::HashMap, rc::Rc};

use super::{
    syntax::{Expression, Function, Kind, Parameter, Source, Statement},
    tokens::{Token, tokens},
};

/// How deep expressions and blocks may nest, links of a chain counted: what is deeper takes a stack without a bound, be it only
/// to let go of it.
const MAX_DEPTH: usize = 200;

/// Reads a file of code.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn parse(text: &str) -> Result<Source, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    parser.source().map_err(|reason| format!("line {}: {reason}", parser.line()))
}

struct Parser<'t> {
    tokens: &'t [(Token, usize)],
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, String>;

impl Parser<'_> {
    fn source(&mut self) -> Parsed<Source> {
        let mut source = Source::default();
        while self.peek().is_some() {
            if self.eat_name("def") {
                let function = self.function()?;
                source.functions.insert(Rc::clone(&function.name), function);
            } else if self.eat_name("class") {
                let name = self.name()?;
                let methods = self.class()?;
                source.classes.insert(name, methods);
            } else {
                self.skip_line();
            }
        }
        Ok(source)
    }

    /// The methods of a class: its attributes stand in the pickle.
    fn class(&mut self) -> Parsed<HashMap<Rc<str>, Rc<Function>>> {
        let mut methods = HashMap::new();
        self.skip_line();
        if !self.eat(&Token::Indent) {
            return Ok(methods);
        }
        while !self.eat(&Token::Dedent) {
            if self.peek().is_none() {
                return Err("its class has no end".into());
            }
            if self.eat_name("def") {
                let function = self.function()?;
                methods.insert(Rc::clone(&function.name), function);
            } else {
                self.skip_line();
            }
        }
        Ok(methods)
    }

    fn function(&mut self) -> Parsed<Rc<Function>> {
        let name = self.name()?;
        self.expect('(')?;
        let mut parameters = Vec::new();
        while !self.eat_sign(')') {
            let name = self.name()?;
            if self.eat_sign(':') {
                self.expression()?;
            }
            let default = if self.eat_sign('=') { Some(self.expression()?) } else { None };
            parameters.push(Parameter { name, default });
            if !self.eat_sign(',') {
                self.expect(')')?;
                break;
            }
        }
        if self.eat_sign('>') {
            self.expression()?;
        }
        let body = self.block()?;
        Ok(Rc::new(Function { name, parameters, body }))
    }

    /// `:`, a line end, and the statements that are indented.
    fn block(&mut self) -> Parsed<Vec<Statement>> {
        self.expect(':')?;
        if !self.eat(&Token::Newline) || !self.eat(&Token::Indent) {
            return Err("a block is missing".into());
        }
        self.deeper()?;
        let mut statements = Vec::new();
        while !self.eat(&Token::Dedent) {
            statements.push(self.statement()?);
        }
        self.depth -= 1;
        Ok(statements)
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let line = self.line();
        let kind = if self.eat_name("if") {
            self.branches()?
        } else if self.eat_name("while") {
            Kind::While(self.expression()?, self.block()?)
        } else if self.eat_name("for") {
            let name = self.name()?;
            if !self.eat_name("in") {
                return Err("a loop has no `in`".into());
            }
            Kind::For(name, self.expression()?, self.block()?)
        } else {
            let kind = self.simple()?;
            if !self.eat(&Token::Newline) {
                return Err("a statement goes on where it should end".into());
            }
            kind
        };
        Ok(Statement { line, kind })
    }

    fn branches(&mut self) -> Parsed<Kind> {
        let (condition, then) = (self.expression()?, self.block()?);
        let otherwise = if self.eat_name("else") { self.block()? } else { Vec::new() };
        Ok(Kind::If(condition, then, otherwise))
    }

    fn simple(&mut self) -> Parsed<Kind> {
        if self.eat_name("pass") {
            return Ok(Kind::Pass);
        }
        if self.eat_name("return") {
            let bare = self.peek() == Some(&Token::Newline);
            return Ok(Kind::Return(if bare { Expression::None } else { self.list()? }));
        }
        let first = self.list()?;
        if self.eat_sign(':') {
            self.expression()?;
        }
        if !self.eat_sign('=') {
            return Ok(Kind::Evaluate(first));
        }
        let value = self.list()?;
        match first {
            Expression::Name(name) => Ok(Kind::Bind(vec![name], value)),
            Expression::Attribute(_, name) => Ok(Kind::Set(name)),
            Expression::Tuple(members) => {
                let name = |member| if let Expression::Name(name) = member { Some(name) } else { None };
                let names: Option<Vec<Rc<str>>> = members.into_iter().map(name).collect();
                let mut names = names.ok_or("it binds what is no name")?;
                if names.len() == 1 {
                    // Not the same as a lone name: the value has one member.
                    names.push(Rc::from(""));
                }
                Ok(Kind::Bind(names, value))
            }
            _ => Err("it binds what is no name".into()),
        }
    }

    /// Expressions with commas between them are a tuple.
    fn list(&mut self) -> Parsed<Expression> {
        let first = self.expression()?;
        if self.peek() != Some(&Token::Sign(',')) {
            return Ok(first);
        }
        let mut members = vec![first];
        while self.eat_sign(',') {
            if matches!(self.peek(), None | Some(Token::Newline | Token::Sign('='))) {
                break;
            }
            members.push(self.expression()?);
        }
        Ok(Expression::Tuple(members))
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(format!("it nests more than {MAX_DEPTH} deep")) } else { Ok(()) }
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |(_, line)| *line)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn eat(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn eat_sign(&mut self, sign: char) -> bool {
        self.eat(&Token::Sign(sign))
    }

    fn eat_name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(own)) if &**own == name);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: char) -> Parsed<()> {
        if self.eat_sign(sign) { Ok(()) } else { Err(format!("`{sign}` is missing")) }
    }

    fn name(&mut self) -> Parsed<Rc<str>> {
        match self.peek().cloned() {
            Some(Token::Name(name)) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err("a name is missing".into()),
        }
    }

    fn skip_line(&mut self) {
        while let Some(token) = self.peek() {
            let ends = *token == Token::Newline;
            self.at += 1;
            if ends {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "class Net(Module):
  __parameters__ = [\"weight\", ]
  weight : Tensor
  __annotations__[\"0\"] = __torch__.torch.nn.modules.linear.Linear
  stride : Final[Tuple[int, int]] = (1, 1)
  def forward(self: __torch__.Net,
    x: Tensor,
    scale: Optional[float]=None) -> Tensor:
    a, b, = torch.chunk(x, 2, 1)
    _0 = (getattr(self, \"0\")).forward(a, )
    for i in range(torch.sub(torch.len([1, 2]), -1)):
      if not torch.eq(i, 0):
        y = annotate(List[int], [])
      else:
        pass
    return torch.add(_0, b, alpha=1)
def helper(x: Tensor) -> Tensor:
  return x
";

    #[test]
    fn classes_functions_and_statements_are_read() {
        let source = parse(CODE).unwrap();
        let forward = &source.classes["Net"]["forward"];
        assert_eq!(forward.parameters.len(), 3);
        assert!(matches!(forward.parameters[2].default, Some(Expression::None)));
        assert!(matches!(&forward.body[0].kind, Kind::Bind(names, _) if names.len() == 2));
        assert!(matches!(&forward.body[2].kind, Kind::For(_, _, body) if body.len() == 1));
        assert!(matches!(&forward.body[3].kind, Kind::Return(Expression::Call(_, arguments))
            if arguments.placed.len() == 2 && arguments.named.len() == 1));
        assert!(source.functions.contains_key("helper"));
    }

    #[test]
    fn broken_code_is_an_error_at_every_cut() {
        for cut in (0..CODE.len()).filter(|cut| CODE.is_char_boundary(*cut)) {
            let _ = parse(&CODE[..cut]);
        }
        for code in ["def f(:\n  pass\n", "def f():\n  a = \n", "def f():\n  [1, 2] = 3\n", "def f():\n  x y\n"] {
            assert!(parse(code).is_err(), "{code}");
        }
        let many = 100_000;
        for deep in [
            format!("{}1{}", "[".repeat(many), "]".repeat(many)),
            format!("a{}", ".a".repeat(many)),
            format!("a{}", "()".repeat(many)),
            format!("a{}", " and a".repeat(many)),
            format!("{}a", "not ".repeat(many)),
            format!("{}a", "a if a else ".repeat(many)),
        ] {
            assert!(parse(&format!("def f():\n  return {deep}\n")).unwrap_err().contains("deep"));
        }
    }
}
