//! What a dialplan may not do to others: scripts, expressions and AGI programs that take all they can get. A program of its
//! own, because these tests measure time and memory.

#[expect(dead_code, reason = "the other program uses the rest of it")]
#[path = "../together/exchange/mod.rs"]
mod exchange;
#[path = "../together/scripts/mod.rs"]
mod scripts;

mod agi_limits;
mod lua_harm;
