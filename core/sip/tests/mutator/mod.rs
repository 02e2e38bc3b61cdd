//! A seeded mutator over a small corpus: the same seed breaks the same thing again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }
}

/// Bytes that mean something to the parsers.
const TELLING: &[u8] = b"\r\n\t \"\\<>;:,=?&@%[]/*0123456789.-+\x00\x7f\xff\xc3ai";

fn mutate(random: &mut Random, corpus: &[&str]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].as_bytes().to_vec();
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len());
        let end = (at + random.below(20)).min(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] = TELLING[random.below(TELLING.len())],
            1 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            4 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            5 => bytes.truncate(random.below(bytes.len() + 1)),
            _ => {
                let other = corpus[random.below(corpus.len())].as_bytes();
                let from = random.below(other.len());
                let until = (from + random.below(60)).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
        }
    }
    bytes
}

/// Runs `check` on the corpus and on mutations of it: `iterations`, or what `STROWGER_FUZZ_ITERATIONS` says. The seed is
/// `STROWGER_FUZZ_SEED` or fixed, and printed with the input on failure.
pub(crate) fn fuzz(name: &str, corpus: &[&str], iterations: u64, mut check: impl FnMut(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let iterations = number("STROWGER_FUZZ_ITERATIONS").unwrap_or(iterations);
    let seed = number("STROWGER_FUZZ_SEED")
        .unwrap_or(0x5157_0123_4567_89ab)
        .max(1);
    let mut random = Random(seed);
    for entry in corpus {
        check(entry.as_bytes());
    }
    for iteration in 0..iterations {
        let input = mutate(&mut random, corpus);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
            eprintln!(
                "{name}: seed {seed}, iteration {iteration}, input {:?}",
                String::from_utf8_lossy(&input)
            );
            resume_unwind(panic);
        }
    }
}
