//! The dialplan compiler: rows of SQL tables become extensions that are found in microseconds and steps written in Lua.
//!
//! Everything here is a pure function of rows, texts and a given time. There is no Lua virtual machine, no socket, no clock and
//! no log: what a row asks of the world goes through [`Vars`] and [`Registry`], and what is wrong with a row comes back as a
//! [`Problem`]. Applications and functions themselves live in `strowger-scripting`.
//!
//! | Module | Subject |
//! |---|---|
//! | [`pattern`] | one extension name or pattern: matching and its place in the search order |
//! | [`matcher`] | all extensions of a context: which of ten thousand match these digits, in order |
//! | [`expr`] | `$[...]` |
//! | [`subst`] | `${...}`: templates parsed once, evaluated per call |
//! | [`args`] | how applications split their data |
//! | [`timespec`] | `GotoIfTime` and conditional includes |
//! | [`truth`] | what `GotoIf` holds for true |
//! | [`compile`], [`plan`] | rows to contexts; finding the step for (context, extension, priority) |
//! | [`edits`] | steps that are added and taken away while the exchange runs |
//! | [`lua`] | the source text of a context |
//! | [`script`] | contexts that scripts define |
//! | [`lint`] | what is wrong with the rows, before a call finds out |

pub mod args;
pub mod compile;
pub mod edits;
pub mod expr;
pub mod lint;
pub mod lua;
pub mod matcher;
pub mod pattern;
pub mod plan;
pub mod registry;
pub mod script;
pub mod statics;
pub mod subst;
pub mod timespec;
pub mod truth;
pub mod vars;

pub use compile::{MadeStep, Row, StaticRow, compile, compile_with_scripts};
pub use edits::{Added, Edits, NotEdited, Spot};
pub use lint::{Problem, Severity};
pub use plan::{Context, Found, Origin, Plan, Query, Step, Wanted};
pub use registry::{ArgumentStyle, Registry};
pub use script::{Program, ScriptContext};
pub use subst::Template;
pub use timespec::TimeSpec;
pub use vars::{CallError, Vars};
