//! A seeded mutator over a corpus of texts.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What an insertion inserts.
const ALPHABET: &[u8] = b"${}[]():,\"\\ -+*/%=~!?&|<>^.0\n\0a";

/// Xorshift with the tricks of a fuzzer: flips, deletions, repetitions, splices.
pub(crate) struct Mutator {
    state: u64,
}

impl Mutator {
    fn next(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn mutate(&mut self, corpus: &[&str]) -> String {
        let mut bytes = corpus[self.next(corpus.len())].as_bytes().to_vec();
        for _ in 0..=self.next(6) {
            let at = self.next(bytes.len() + 1);
            match self.next(6) {
                0 => bytes.insert(at, ALPHABET[self.next(ALPHABET.len())]),
                1 if at < bytes.len() => {
                    bytes.remove(at);
                }
                2 if at < bytes.len() => {
                    bytes[at] = bytes[at].wrapping_add(u8::try_from(self.next(256)).unwrap_or(1))
                }
                3 => {
                    let from = self.next(bytes.len());
                    let piece: Vec<u8> = bytes[from..].iter().copied().take(8).collect();
                    for _ in 0..self.next(40) {
                        bytes.splice(at..at, piece.iter().copied());
                    }
                }
                4 => {
                    let other = corpus[self.next(corpus.len())].as_bytes();
                    let from = self.next(other.len());
                    bytes.splice(at..at, other[from..].iter().copied());
                }
                _ => bytes.truncate(at),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs `check` on mutations of `corpus`. `STROWGER_FUZZ_ITERATIONS` raises the number, `STROWGER_FUZZ_SEED` sets the seed.
    pub(crate) fn drive(name: &str, corpus: &[&str], iterations: u64, check: impl Fn(&str)) {
        let number = |variable: &str| {
            std::env::var(variable)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
        };
        let iterations = number("STROWGER_FUZZ_ITERATIONS").unwrap_or(iterations);
        let seed = number("STROWGER_FUZZ_SEED").unwrap_or(0x9E37_79B9_7F4A_7C15);
        for text in corpus {
            check(text);
        }
        let mut mutator = Self { state: seed.max(1) };
        for iteration in 0..iterations {
            let text = mutator.mutate(corpus);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&text))) {
                println!("{name}: seed {seed}, iteration {iteration}, input {text:?}");
                resume_unwind(panic);
            }
        }
    }
}
