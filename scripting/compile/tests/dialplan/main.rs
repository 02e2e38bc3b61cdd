//! Behaviour of the dialplan compiler, a file for each subject.

mod arguments;
mod expressions;
mod generated_lua;
mod order;
mod patterns;
mod plans;
mod problems;
mod speed;
mod support;
mod templates;
mod times;
