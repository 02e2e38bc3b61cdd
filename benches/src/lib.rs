//! What the exchange is measured with: a paced RTP generator that checks every packet that comes back, the CPU time of a
//! process as the kernel accounts it, and the programs ("subjects") that are measured in turn.
//!
//! What never lives here: code that the exchange uses. The floor program in `bin/floor_relay.rs` shares nothing with the
//! media engine on purpose, so that it can be its measure.

pub mod api;
pub mod cpu;
pub mod delay;
pub mod descriptors;
pub mod dialplan;
pub mod exchange;
pub mod generator;
pub mod signalling;
pub mod subject;
mod telephones;
pub mod traffic;
pub mod works;

/// That of the exchange (`src/main.rs`), whose parts run in the programs here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The middle value; of an even number of values the mean of the two in the middle. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted.get(middle).copied()
    } else {
        let upper = sorted.get(middle)?;
        let lower = sorted.get(middle.checked_sub(1)?)?;
        Some((lower + upper) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
