//! Expressions: calls, members, lists and the few operators that are written as such.

use super::{Parsed, Parser};
use crate::formats::torchscript::{
    syntax::{Arguments, Expression},
    tokens::Token,
};

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        let depth = self.depth;
        self.deeper()?;
        let value = self.choice()?;
        self.depth = depth;
        Ok(value)
    }

    fn choice(&mut self) -> Parsed<Expression> {
        let value = self.either()?;
        if !self.eat_name("if") {
            return Ok(value);
        }
        let condition = self.either()?;
        if !self.eat_name("else") {
            return Err("a choice has no `else`".into());
        }
        Ok(Expression::Choice(Box::new(condition), Box::new(value), Box::new(self.expression()?)))
    }

    fn either(&mut self) -> Parsed<Expression> {
        let mut value = self.unary()?;
        loop {
            let stops_at = if self.eat_name("and") {
                false
            } else if self.eat_name("or") {
                true
            } else {
                return Ok(value);
            };
            self.deeper()?;
            value = Expression::Either(stops_at, Box::new(value), Box::new(self.unary()?));
        }
    }

    fn unary(&mut self) -> Parsed<Expression> {
        if self.eat_name("not") {
            self.deeper()?;
            return Ok(Expression::Not(Box::new(self.unary()?)));
        }
        if self.eat_sign('-') {
            return Ok(match self.postfix()? {
                Expression::Int(number) => Expression::Int(-number),
                Expression::Float(number) => Expression::Float(-number),
                other => Expression::Negative(Box::new(other)),
            });
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Parsed<Expression> {
        let mut value = self.atom()?;
        loop {
            value = if self.eat_sign('.') {
                Expression::Attribute(Box::new(value), self.name()?)
            } else if self.eat_sign('(') {
                Expression::Call(Box::new(value), self.arguments()?)
            } else if self.eat_sign('[') {
                let members = self.members(']')?;
                let index = match <[Expression; 1]>::try_from(members) {
                    Ok([one]) => one,
                    Err(several) => Expression::Tuple(several),
                };
                Expression::Item(Box::new(value), Box::new(index))
            } else {
                return Ok(value);
            };
            // Each link holds the ones before it.
            self.deeper()?;
        }
    }

    fn atom(&mut self) -> Parsed<Expression> {
        let token = self.peek().cloned();
        self.at += 1;
        Ok(match token {
            Some(Token::Name(name)) => match &*name {
                "None" => Expression::None,
                "True" => Expression::Bool(true),
                "False" => Expression::Bool(false),
                "inf" => Expression::Float(f64::INFINITY),
                "nan" => Expression::Float(f64::NAN),
                _ => Expression::Name(name),
            },
            Some(Token::Int(number)) => Expression::Int(number),
            Some(Token::Float(number)) => Expression::Float(number),
            Some(Token::Text(text)) => Expression::Text(text),
            Some(Token::Sign('(')) => self.parenthesis()?,
            Some(Token::Sign('[')) => Expression::List(self.members(']')?),
            Some(Token::Sign('{')) => self.dictionary()?,
            _ => {
                self.at -= 1;
                return Err("a value is missing".into());
            }
        })
    }

    fn parenthesis(&mut self) -> Parsed<Expression> {
        if self.eat_sign(')') {
            return Ok(Expression::Tuple(Vec::new()));
        }
        let first = self.expression()?;
        if self.eat_sign(')') {
            return Ok(first);
        }
        self.expect(',')?;
        let mut members = vec![first];
        members.extend(self.members(')')?);
        Ok(Expression::Tuple(members))
    }

    fn members(&mut self, end: char) -> Parsed<Vec<Expression>> {
        let mut members = Vec::new();
        while !self.eat_sign(end) {
            members.push(self.expression()?);
            if !self.eat_sign(',') {
                self.expect(end)?;
                break;
            }
        }
        Ok(members)
    }

    fn dictionary(&mut self) -> Parsed<Expression> {
        let mut members = Vec::new();
        while !self.eat_sign('}') {
            let key = self.expression()?;
            self.expect(':')?;
            members.push((key, self.expression()?));
            if !self.eat_sign(',') {
                self.expect('}')?;
                break;
            }
        }
        Ok(Expression::Dict(members))
    }

    fn arguments(&mut self) -> Parsed<Arguments> {
        let mut arguments = Arguments::default();
        while !self.eat_sign(')') {
            let named = matches!(self.tokens.get(self.at + 1), Some((Token::Sign('='), _)));
            match self.peek().cloned() {
                Some(Token::Name(name)) if named => {
                    self.at += 2;
                    arguments.named.push((name, self.expression()?));
                }
                _ => arguments.placed.push(self.expression()?),
            }
            if !self.eat_sign(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(arguments)
    }
}
