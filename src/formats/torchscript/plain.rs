//! Operators of `torch` on numbers, lists and text, as Python has them.

use std::rc::Rc;

use super::item::{Halt, Item, MAX_LIST, MAX_TEXT, Run};
use crate::formats::{dim::Dim, refusal::Refusal};

/// An operator of `torch` on values without tensors; `words` are arguments by name. `None` where there is none such.
pub fn operator(name: &str, args: &[Item], words: &[(Rc<str>, Item)]) -> Option<Run<Item>> {
    let word = |wanted: &str| words.iter().find(|(name, _)| &**name == wanted).map(|(_, word)| word);
    match (name, args, word("alpha"), word("rounding_mode")) {
        ("add" | "sub", [a, b], Some(factor), None) if a.is_number() => {
            Some(arithmetic("mul", b, factor).and_then(|b| arithmetic(name, a, &b)))
        }
        ("div", [a, b], None, Some(Item::Text(mode))) => Some(arithmetic(mode, a, b)),
        _ => unnamed(name, args),
    }
}

fn unnamed(name: &str, args: &[Item]) -> Option<Run<Item>> {
    Some(match (name, args) {
        ("eq", [a, b]) => a.equals(b).map(Item::Bool),
        ("ne", [a, b]) => a.equals(b).map(|equal| Item::Bool(!equal)),
        ("lt", [a, b]) => less(a, b).map(Item::Bool),
        ("gt", [a, b]) => less(b, a).map(Item::Bool),
        ("ge", [a, b]) => less(a, b).map(|less| Item::Bool(!less)),
        ("le", [a, b]) => less(b, a).map(|less| Item::Bool(!less)),
        ("__not__", [a]) => a.truth().map(|truth| Item::Bool(!truth)),
        ("__and__", [a, b]) => both(a, b).map(|(a, b)| Item::Bool(a && b)),
        ("__or__", [a, b]) => both(a, b).map(|(a, b)| Item::Bool(a || b)),
        ("Int", [value]) => converted("int", value),
        ("Float", [value]) => converted("float", value),
        ("Bool", [value]) => converted("bool", value),
        ("len", [Item::Text(text)]) => Ok(Item::int(text.chars().count() as i64)),
        ("len", [Item::Dict(pairs)]) => Ok(Item::int(pairs.all().len() as i64 / 2)),
        ("len", [list]) => {
            let members = list.members().ok_or_else(|| Halt::from(format!("it takes the length of {}", list.kind())));
            members.map(|members| Item::int(members.len() as i64))
        }
        ("__contains__", [list, member]) => contains(list, member).map(Item::Bool),
        ("all", [list]) => every(list, true).map(Item::Bool),
        ("any", [list]) => every(list, false).map(|none| Item::Bool(!none)),
        ("list", [list]) => Item::list(list.members()?),
        ("slice", [list @ (Item::List(_) | Item::Tuple(_)), rest @ ..]) => slice(&list.members()?, rest),
        ("add", [Item::Text(a), Item::Text(b)]) => Ok(text(&format!("{a}{b}"))),
        ("add" | "add_", [a @ Item::List(_), b @ Item::List(_)]) => Item::list([a.members()?, b.members()?].concat()),
        ("mul", [list @ Item::List(_), count]) | ("mul", [count @ Item::Int(_), list @ Item::List(_)]) => {
            repeated(&list.members()?, count)
        }
        ("neg", [Item::Float(number)]) => Ok(Item::Float(-number)),
        ("neg", [Item::Int(dim)]) => whole(Dim::fixed(0).minus(*dim)),
        ("floor" | "ceil" | "round" | "sqrt" | "exp" | "log", [value]) => rounded(name, value),
        ("add" | "sub" | "mul" | "floordiv" | "floor_divide" | "div" | "remainder" | "pow", [a, b, ..]) => {
            arithmetic(name, a, b)
        }
        ("rsub", [a, b, ..]) => arithmetic("sub", b, a),
        _ => return None,
    })
}

/// Whether all members are so.
fn every(list: &Item, so: bool) -> Run<bool> {
    let members = list.members().ok_or_else(|| Halt::from(format!("it asks all members of {}", list.kind())))?;
    for member in &members {
        if member.truth()? != so {
            return Ok(false);
        }
    }
    Ok(true)
}

fn both(a: &Item, b: &Item) -> Run<(bool, bool)> {
    Ok((a.truth()?, b.truth()?))
}

fn whole(dim: Option<Dim>) -> Run<Item> {
    dim.map(Item::Int).ok_or_else(|| {
        Refusal::unsupported("it computes a number that is not linear in the batch size, or overflows").into()
    })
}

fn text(text: &str) -> Item {
    Item::Text(text.chars().take(MAX_TEXT).collect::<String>().into())
}

fn arithmetic(name: &str, a: &Item, b: &Item) -> Run<Item> {
    if let (Item::Int(a), Item::Int(b)) = (a, b) {
        let negative = |dim: &Dim| dim.number().is_some_and(|number| number < 0);
        match name {
            "add" => return whole(a.plus(*b)),
            "sub" => return whole(a.minus(*b)),
            "mul" => return whole(a.times(*b)),
            // Both round down, as long as nothing is negative: extents are not.
            "floordiv" | "floor_divide" | "floor" | "trunc" if !negative(a) && !negative(b) => {
                return whole(a.over(*b));
            }
            "remainder" if !negative(a) && !negative(b) => {
                return whole(a.over(*b).and_then(|quotient| a.minus(quotient.times(*b)?)));
            }
            // Shapes are divided so in traces, and made whole again at once.
            "div" if a.is_batched() => return whole(a.over(*b)),
            _ => {}
        }
    }
    let (Some(x), Some(y)) = (a.number(), b.number()) else {
        return Err(format!("it computes with {} and {}", a.kind(), b.kind()).into());
    };
    let result = match name {
        "add" => x + y,
        "sub" => x - y,
        "mul" => x * y,
        "div" => x / y,
        "pow" => x.powf(y),
        "remainder" => x - y * (x / y).floor(),
        "trunc" => (x / y).trunc(),
        "floor" | "floordiv" | "floor_divide" => (x / y).floor(),
        other => return Err(Refusal::unsupported(format!("it rounds quotients ({other})")).into()),
    };
    let is_fraction = name == "div" || (name == "pow" && y < 0.0);
    let stays_whole = matches!((a, b), (Item::Int(_), Item::Int(_))) && !is_fraction;
    if stays_whole { converted("int", &Item::Float(result)) } else { Ok(Item::Float(result)) }
}

fn less(a: &Item, b: &Item) -> Run<bool> {
    if let (Item::Int(a), Item::Int(b)) = (a, b) {
        let undecided = || Refusal::unsupported("it compares a number with the batch size, which is free");
        return Ok(a.less(*b).ok_or_else(undecided)?);
    }
    match (a.number(), b.number()) {
        (Some(a), Some(b)) => Ok(a < b),
        _ if a.is_lost() || b.is_lost() => Err(Halt::Lost),
        _ => Err(format!("it compares {} with {}", a.kind(), b.kind()).into()),
    }
}

pub fn converted(to: &str, value: &Item) -> Run<Item> {
    Ok(match (to, value) {
        ("int" | "ops.prim.NumToTensor", Item::Int(_)) | ("ops.prim.NumToTensor", Item::Float(_) | Item::Bool(_)) => {
            value.clone()
        }
        ("bool", value) => Item::Bool(value.truth()?),
        ("int", value) => {
            let number = value.number().filter(|number| number.is_finite() && number.abs() < 9e18);
            Item::int(number.ok_or_else(|| format!("it makes a whole number of {}", value.show()))? as i64)
        }
        (_, value) => {
            let number = value.number();
            Item::Float(number.ok_or_else(|| Refusal::unsupported("it makes a fraction of the batch size"))?)
        }
    })
}

fn rounded(name: &str, value: &Item) -> Run<Item> {
    if let (Item::Int(_), "floor" | "ceil" | "round") = (value, name) {
        return Ok(value.clone());
    }
    let number = value.number().ok_or_else(|| format!("it computes {name} of {}", value.kind()))?;
    match name {
        "floor" => converted("int", &Item::Float(number.floor())),
        "ceil" => converted("int", &Item::Float(number.ceil())),
        "round" => Ok(Item::Float(number.round_ties_even())),
        "sqrt" => Ok(Item::Float(number.sqrt())),
        "exp" => Ok(Item::Float(number.exp())),
        _ => Ok(Item::Float(number.ln())),
    }
}

fn contains(list: &Item, member: &Item) -> Run<bool> {
    let members = match list {
        Item::Dict(pairs) => pairs.all().into_iter().step_by(2).collect(),
        other => other.members().ok_or_else(|| format!("it looks for a member of {}", other.kind()))?,
    };
    for own in &members {
        if own.equals(member)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `start`, `end`, `step`, as Python clamps them.
fn slice(members: &[Item], bounds: &[Item]) -> Run<Item> {
    let length = members.len() as i64;
    let bound = |index: usize, default: i64| match bounds.get(index) {
        None | Some(Item::None) => Ok::<i64, Halt>(default),
        Some(given) => {
            let given = given.whole()?;
            Ok(if given < 0 { given.saturating_add(length) } else { given }.clamp(0, length))
        }
    };
    let (start, end) = (bound(0, 0)? as usize, bound(1, length)? as usize);
    let step = bounds.get(2).map_or(Ok(1), Item::whole)?;
    let step = usize::try_from(step).ok().filter(|step| *step > 0).ok_or("it takes members backward")?;
    Item::list(members.get(start..end.max(start)).unwrap_or_default().iter().step_by(step).cloned().collect())
}

fn repeated(members: &[Item], count: &Item) -> Run<Item> {
    let count = usize::try_from(count.whole()?.max(0)).unwrap_or(0);
    let size = members.len().checked_mul(count).filter(|size| *size <= MAX_LIST);
    size.ok_or("it makes a list of too many members")?;
    Item::list(members.iter().cloned().cycle().take(members.len() * count).collect())
}

pub fn range(args: &[Item]) -> Run<Item> {
    let numbers = args.iter().map(Item::whole).collect::<Run<Vec<i64>>>()?;
    let (start, end, step) = match numbers.as_slice() {
        [end] => (0, *end, 1),
        [start, end] => (*start, *end, 1),
        [start, end, step] => (*start, *end, *step),
        _ => return Err("it counts without an end".into()),
    };
    let step = usize::try_from(step).ok().filter(|step| *step > 0).ok_or("it counts backward")?;
    Item::list((start..end).step_by(step).take(MAX_LIST + 1).map(Item::int).collect())
}

pub fn extreme(largest: bool, args: &[Item]) -> Run<Item> {
    let members = match args {
        [list] => list.members().unwrap_or_default(),
        several => several.to_vec(),
    };
    let mut members = members.into_iter();
    let mut found = members.next().ok_or("it takes the largest of nothing")?;
    for member in members {
        let replaces = if largest { less(&found, &member)? } else { less(&member, &found)? };
        if replaces {
            found = member;
        }
    }
    Ok(found)
}

/// Values in the places of `{}`.
pub fn format(pattern: &str, values: &[Item]) -> Item {
    let mut values = values.iter();
    let mut parts = pattern.split("{}");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts.take(MAX_TEXT) {
        result.push_str(&values.next().map(Item::show).unwrap_or_default());
        result.push_str(part);
        if result.len() > MAX_TEXT {
            break;
        }
    }
    text(&result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, args: &[Item]) -> String {
        shown_with(name, args, &[])
    }

    fn shown_with(name: &str, args: &[Item], words: &[(Rc<str>, Item)]) -> String {
        match operator(name, args, words).unwrap() {
            Ok(item) => item.show(),
            Err(Halt::Refused(refusal)) => format!("refused: {}", refusal.reason()),
            Err(_) => "halted".into(),
        }
    }

    #[test]
    fn numbers_follow_the_batch() {
        let (n, four) = (Item::Int(Dim { batch: 8, fixed: 0 }), Item::int(4));
        assert_eq!(shown("floordiv", &[n.clone(), four.clone()]), "2N");
        assert_eq!(shown("remainder", &[n.clone(), four.clone()]), "0");
        assert_eq!(shown("floordiv", &[Item::int(-7), Item::int(2)]), "-4");
        assert_eq!(shown("div", &[Item::int(7), Item::int(2)]), "3.5");
        assert!(shown("eq", &[Item::Int(Dim::N), four.clone()]).starts_with("refused"));
        assert!(shown("mul", &[n.clone(), n]).starts_with("refused"));
        assert_eq!(shown("pow", &[Item::int(2), four]), "16");
        assert_eq!(shown("pow", &[Item::int(2), Item::int(-1)]), "0.5");
        // With one example it is nothing, with more something.
        assert!(Item::Int(Dim { batch: 1, fixed: -1 }).truth().is_err());
        assert!(Item::Int(Dim::N).truth().is_ok_and(|truth| truth));
    }

    #[test]
    fn arguments_by_name_count() {
        let (seven, minus, two) = (Item::int(7), Item::int(-7), Item::int(2));
        let word = |name: &str, value: Item| [(Rc::from(name), value)];
        let mode = |mode: &str| word("rounding_mode", Item::Text(mode.into()));
        assert_eq!(shown_with("add", &[seven.clone(), two.clone()], &word("alpha", Item::int(3))), "13");
        assert_eq!(shown_with("div", &[seven, two.clone()], &mode("trunc")), "3");
        assert_eq!(shown_with("div", &[minus.clone(), two.clone()], &mode("trunc")), "-3");
        assert_eq!(shown_with("div", &[minus.clone(), two.clone()], &mode("floor")), "-4");
        assert!(shown_with("div", &[minus, two], &mode("up")).starts_with("refused"));
    }

    #[test]
    fn lists_are_cut_joined_and_bounded() {
        let list = Item::list((0..5).map(Item::int).collect()).unwrap();
        assert_eq!(shown("slice", &[list.clone(), Item::int(-2), Item::None, Item::int(1)]), "[3, 4]");
        assert_eq!(shown("slice", &[list.clone(), Item::int(3), Item::int(1)]), "[]");
        assert_eq!(shown("add", &[list.clone(), list.clone()]), "[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]");
        assert_eq!(shown("__contains__", &[list.clone(), Item::int(4)]), "True");
        assert!(shown("mul", &[list, Item::int(1 << 40)]).starts_with("refused"));
        assert!(matches!(range(&[Item::int(i64::MAX)]), Err(Halt::Refused(_))));
    }
}
