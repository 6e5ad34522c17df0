//! The code of an archive, read file by file as it is called.

use std::{collections::HashMap, rc::Rc};

use super::{
    parse::parse,
    syntax::{Function, Source},
};
use crate::formats::archive::Archive;

pub struct Sources<'a> {
    archive: &'a Archive<'a>,
    read: HashMap<String, Rc<Source>>,
}

impl<'a> Sources<'a> {
    pub fn new(archive: &'a Archive<'a>) -> Self {
        Self { archive, read: HashMap::new() }
    }

    /// The function of that qualified name; `None` where there is but a class.
    ///
    /// # Errors
    /// Code that is missing or cannot be read.
    pub fn function(&mut self, qualified: &str) -> Result<Option<Rc<Function>>, String> {
        let (source, name) = self.source(qualified)?;
        match source.functions.get(name) {
            Some(function) => Ok(Some(Rc::clone(function))),
            None if source.classes.contains_key(name) => Ok(None),
            None => Err(format!("the archive has no code of \"{qualified}\"")),
        }
    }

    /// A method of the class of that qualified name.
    ///
    /// # Errors
    /// Code that is missing or cannot be read.
    pub fn method(&mut self, class: &str, method: &str) -> Result<Rc<Function>, String> {
        let (source, name) = self.source(class)?;
        let found = source.classes.get(name).and_then(|methods| methods.get(method));
        found.cloned().ok_or_else(|| format!("the archive has no code of \"{class}.{method}\""))
    }

    /// The file that a qualified name lies in: `__torch__.a.b.Net` is `Net` of `code/__torch__/a/b.py`.
    fn source<'n>(&mut self, qualified: &'n str) -> Result<(Rc<Source>, &'n str), String> {
        let (module, name) = qualified.rsplit_once('.').ok_or_else(|| format!("\"{qualified}\" is in no module"))?;
        let path = format!("code/{}.py", module.replace('.', "/"));
        if let Some(source) = self.read.get(&path) {
            return Ok((Rc::clone(source), name));
        }
        let text = self.archive.get(&path).ok_or_else(|| format!("the archive lacks its record \"{path}\""))?;
        let text = std::str::from_utf8(text).map_err(|_| format!("\"{path}\" is not UTF-8"))?;
        let source = Rc::new(parse(text).map_err(|reason| format!("\"{path}\", {reason}"))?);
        self.read.insert(path, Rc::clone(&source));
        Ok((source, name))
    }
}
