//! Contexts that scripts define, as far as the plan has to know them: which extensions there are and where they are written. The
//! functions themselves are found by the machine that runs them.

use std::fmt;
use std::sync::Mutex;

use rustc_hash::FxHashSet;

/// Names of files that are kept; what comes after is shown as `script`.
const NAMES_MAX: usize = 4096;

/// A place in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file, relative to the folder of scripts. Names are kept for ever: an origin is copied with every step, and there are few
    /// files.
    pub file: &'static str,
    /// Line from 1; 0: the file as a whole.
    pub line: u32,
}

impl Place {
    /// A line of a file.
    #[must_use]
    pub fn new(file: &str, line: u32) -> Self {
        static NAMES: Mutex<Option<FxHashSet<&'static str>>> = Mutex::new(None);
        let mut names = NAMES
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let names = names.get_or_insert_default();
        let file = match names.get(file) {
            Some(known) => *known,
            None if names.len() >= NAMES_MAX => "script",
            None => {
                let kept: &'static str = Box::leak(file.to_owned().into_boxed_str());
                names.insert(kept);
                kept
            }
        };
        Self { file, line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}", self.file),
            line => write!(out, "{}:{line}", self.file),
        }
    }
}

/// What stands in a context for one name or pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A function: the only step of the extension, at priority 1.
    Function,
    /// A hint: the devices whose state the extension shows.
    Hint(String),
}

/// An extension of a script.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScriptExtension {
    /// Number, name or `_pattern`.
    pub exten: String,
    /// What it is.
    pub entry: Entry,
    /// Where it is written.
    pub place: Place,
}

/// A context as one file defines it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScriptContext {
    /// Name.
    pub name: String,
    /// Its extensions, in any order.
    pub extensions: Vec<ScriptExtension>,
    /// Contexts searched after its extensions, in order.
    pub includes: Vec<String>,
    /// The file.
    pub place: Place,
}

/// One file of a program.
#[derive(Debug, PartialEq, Eq)]
pub struct ProgramFile {
    /// Relative to the folder of scripts.
    pub name: String,
    /// What `require` calls it: without `.lua`, with `.` for `/`.
    pub module: String,
    /// Is it run for every call (and not only when it is required)?
    pub root: bool,
    /// What the compiler of the machine made of it.
    pub bytecode: Vec<u8>,
}

/// The files of one version of the scripts. A call keeps the version it began with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// All files, by name.
    pub files: Vec<ProgramFile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_file_and_line() {
        let name = String::from("menu.lua");
        assert_eq!(Place::new(&name, 12).to_string(), "menu.lua:12");
        assert_eq!(Place::new("menu.lua", 0).to_string(), "menu.lua");
        assert_eq!(Place::new(&name, 3), Place::new("menu.lua", 3));
    }
}
