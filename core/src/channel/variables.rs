//! Channel and global variables: newest first, with the inheritance marks `_` and `__`.

use std::sync::Arc;

use parking_lot::RwLock;

/// How many variables one channel (or the global table) may hold.
pub const VARIABLES_MAX: usize = 4096;
/// Longest value in bytes; longer values are cut at a character border.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// How a variable travels to channels that this one creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inheritance {
    /// Stays on this channel.
    None,
    /// `_NAME`: set as `NAME` on channels created by this one.
    Once,
    /// `__NAME`: set as `__NAME` on every descendant.
    Always,
}

#[derive(Clone, Debug)]
struct Variable {
    name: Arc<str>,
    value: String,
    inheritance: Inheritance,
}

/// The variables of a channel; the newest stands first, a variable set again moves to the front.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    // Newest last, so that setting is a push; readers iterate in reverse.
    list: Vec<Variable>,
}

impl Variables {
    /// The value of `name` (without inheritance underscores), if set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.list
            .iter()
            .rev()
            .find(|variable| &*variable.name == name)
            .map(|variable| variable.value.as_str())
    }

    /// Sets a variable. `_NAME` and `__NAME` mark it for inheritance. Returns false, and changes nothing, when the
    /// table is full.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        let (name, inheritance) = split_inheritance(name);
        // Loops set the same names again and again: what is there already keeps its memory.
        let known = self
            .list
            .iter()
            .rposition(|variable| &*variable.name == name);
        if let Some(place) = known {
            self.list[place..].rotate_left(1);
            if let Some(variable) = self.list.last_mut() {
                variable.value.clear();
                variable.value.push_str(cut(value));
                variable.inheritance = inheritance;
            }
            return true;
        }
        if self.list.len() >= VARIABLES_MAX {
            return false;
        }
        self.list.push(Variable {
            name: name.into(),
            value: cut(value).to_owned(),
            inheritance,
        });
        true
    }

    /// Removes a variable; true if it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let (name, _) = split_inheritance(name);
        let before = self.list.len();
        self.list.retain(|variable| &*variable.name != name);
        self.list.len() != before
    }

    /// All variables, newest first, without what the exchange keeps for itself under names with `~`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list
            .iter()
            .rev()
            .filter(|variable| !variable.name.starts_with('~'))
            .map(|variable| (&*variable.name, variable.value.as_str()))
    }

    /// Names, with the underscores that pass them on, and values, newest first.
    pub fn marked(&self) -> Vec<(String, String)> {
        let mark = |variable: &Variable| match variable.inheritance {
            Inheritance::None => variable.name.to_string(),
            Inheritance::Once => format!("_{}", variable.name),
            Inheritance::Always => format!("__{}", variable.name),
        };
        let all = self.list.iter().rev();
        all.map(|variable| (mark(variable), variable.value.clone()))
            .collect()
    }

    /// What a channel created by this one starts with.
    pub fn inherited(&self) -> Self {
        let list = self
            .list
            .iter()
            .filter_map(|variable| match variable.inheritance {
                Inheritance::None => None,
                Inheritance::Once => Some(Variable {
                    inheritance: Inheritance::None,
                    ..variable.clone()
                }),
                Inheritance::Always => Some(variable.clone()),
            })
            .collect();
        Self { list }
    }
}

fn split_inheritance(name: &str) -> (&str, Inheritance) {
    if let Some(rest) = name.strip_prefix("__") {
        (rest, Inheritance::Always)
    } else if let Some(rest) = name.strip_prefix('_') {
        (rest, Inheritance::Once)
    } else {
        (name, Inheritance::None)
    }
}

fn cut(value: &str) -> &str {
    if value.len() <= VALUE_BYTES_MAX {
        return value;
    }
    let mut end = VALUE_BYTES_MAX;
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

/// Global variables, shared by all shards.
#[derive(Debug, Default)]
pub struct GlobalVariables {
    table: RwLock<Variables>,
}

impl GlobalVariables {
    /// The value of a global variable.
    pub fn get(&self, name: &str) -> Option<String> {
        self.table.read().get(name).map(str::to_owned)
    }

    /// Looks at the value of a global variable where it is.
    pub fn with<R>(&self, name: &str, look: impl FnOnce(&str) -> R) -> Option<R> {
        self.table.read().get(name).map(look)
    }

    /// Sets a global variable; false when the table is full.
    pub fn set(&self, name: &str, value: &str) -> bool {
        self.table.write().set(name, value)
    }

    /// Removes a global variable.
    pub fn remove(&self, name: &str) -> bool {
        self.table.write().remove(name)
    }

    /// A copy of all of them, newest first.
    pub fn list(&self) -> Vec<(String, String)> {
        self.table
            .read()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_set_again_moves_to_the_front() {
        let mut variables = Variables::default();
        variables.set("A", "1");
        variables.set("B", "2");
        variables.set("A", "3");
        let all: Vec<_> = variables.iter().collect();
        assert_eq!(all, [("A", "3"), ("B", "2")]);
    }

    #[test]
    fn one_underscore_is_inherited_once_and_two_for_ever() {
        let mut caller = Variables::default();
        caller.set("_ONCE", "1");
        caller.set("__ALWAYS", "2");
        caller.set("NEVER", "3");
        assert_eq!(caller.get("ONCE"), Some("1"));
        let callee = caller.inherited();
        assert_eq!(callee.get("ONCE"), Some("1"));
        assert_eq!(callee.get("ALWAYS"), Some("2"));
        assert_eq!(callee.get("NEVER"), None);
        let grandchild = callee.inherited();
        assert_eq!(grandchild.get("ONCE"), None);
        assert_eq!(grandchild.get("ALWAYS"), Some("2"));
    }

    #[test]
    fn setting_the_plain_name_removes_the_inheritance() {
        let mut caller = Variables::default();
        caller.set("__X", "1");
        caller.set("X", "2");
        assert_eq!(caller.inherited().get("X"), None);
    }

    #[test]
    fn a_full_table_refuses_and_a_long_value_is_cut_at_a_character() {
        let mut variables = Variables::default();
        for index in 0..VARIABLES_MAX {
            assert!(variables.set(&format!("V{index}"), ""));
        }
        assert!(!variables.set("ONE_MORE", ""));
        assert!(variables.set("V1", &"я".repeat(VALUE_BYTES_MAX)));
        assert_eq!(variables.get("V1").map(str::len), Some(VALUE_BYTES_MAX));
    }
}
