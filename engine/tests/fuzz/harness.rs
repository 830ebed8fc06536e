//! Bytes that are made from examples by mutation, and what is done with each: run it, watch its memory, say how to
//! run it again.

use std::any::Any;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is counted for the whole process, so one target runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Inputs of a target unless `TOLLGATE_FUZZ_SECONDS` says how long to go on.
const INPUTS: u64 = 10_000;
/// Inputs kept because a target answered something new for them.
const CORPUS_MAX: usize = 2_000;
const INPUT_MAX_BYTES: usize = 64 * 1_024;

/// Numbers that look random, the same for the same seed: SplitMix64.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }
}

/// Numbers at which arithmetic breaks, as text.
pub const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "2",
    "999",
    "1000",
    "4294967296",
    "9007199254740991",
    "9007199254740993",
    "9000000000000000",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "-0",
    "0.0001",
    "",
];

/// What a target is fed with.
pub struct Target<'t> {
    /// Its name in messages.
    pub name: &'static str,
    /// Whole inputs to begin with.
    pub examples: Vec<Vec<u8>>,
    /// What is worth inserting.
    pub words: &'t [&'t str],
}

impl Target<'_> {
    /// Runs `act` on input after input. What it answers tells inputs apart: those that bring something new are
    /// mutated further. Memory it takes beyond what it answers must stay below `most_bytes` of the input's length.
    pub fn run<A: Hash>(
        self,
        most_bytes: impl Fn(usize) -> usize,
        mut act: impl FnMut(&[u8]) -> A,
    ) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut corpus = self.examples.clone();
        let mut seen = HashSet::new();
        each_seed(self.name, INPUTS, |seed| {
            let mut random = Random::new(seed);
            let input = match self.examples.get(usize::try_from(seed).unwrap()) {
                Some(example) => example.clone(),
                None => mutated(&corpus, self.words, &mut random),
            };
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            let answered = catch_unwind(AssertUnwindSafe(|| act(&input)));
            let taken = MEMORY.peak_usage().saturating_sub(before);
            let most = most_bytes(input.len());
            match answered {
                Err(panic) => fail(self.name, &input, panic),
                Ok(_) if taken > most => fail(
                    self.name,
                    &input,
                    Box::new(format!("took {taken} bytes, at most {most} are allowed")),
                ),
                Ok(answer) => {
                    let is_new = seen.insert(fingerprint(&answer));
                    // A few of the others lead away from the examples, too.
                    if corpus.len() < CORPUS_MAX && (is_new || random.chance(2)) {
                        corpus.push(input);
                    }
                }
            }
        });
        println!("{}: {} kinds of answers", self.name, seen.len());
    }
}

/// Calls `act` with seed after seed: so many, or for as long as `TOLLGATE_FUZZ_SECONDS` says.
pub fn each_seed(name: &str, seeds: u64, mut act: impl FnMut(u64)) {
    let seconds = std::env::var("TOLLGATE_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("whole seconds"));
    let started = Instant::now();
    let mut seed = 0;
    while seconds.map_or(seed < seeds, |most| {
        started.elapsed() < Duration::from_secs(most)
    }) {
        act(seed);
        seed += 1;
    }
    println!("{name}: {seed} inputs in {:?}", started.elapsed());
}

fn fail(name: &str, input: &[u8], panic: Box<dyn Any + Send>) -> ! {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    eprintln!(
        "{name}: {} for b\"{}\"",
        message.unwrap_or("panicked"),
        input.escape_ascii()
    );
    resume_unwind(panic);
}

fn fingerprint(answer: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    answer.hash(&mut hasher);
    hasher.finish()
}

/// One of the corpus with a few changes.
pub fn mutated(corpus: &[Vec<u8>], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    for _ in 0..=random.below(4) {
        mutate(&mut bytes, corpus, words, random);
        bytes.truncate(INPUT_MAX_BYTES);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let end = at + random.below(bytes.len() - at + 1).min(64);
    match random.below(8) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => bytes.insert(at, random.next() as u8),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].repeat(1 + random.below(3));
            bytes.splice(at..at, piece);
        }
        4 => bytes.truncate(at),
        5 if !words.is_empty() => {
            let word = random.pick(words).bytes();
            drop(bytes.splice(at..at, word));
        }
        6 => {
            let other = random.pick(corpus);
            let from = random.below(other.len() + 1);
            bytes.splice(at.., other[from..].iter().copied());
        }
        _ => replace_number(bytes, at, random),
    }
}

/// Puts a number in place of the first one after `at`.
fn replace_number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let digits = bytes[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let end = start + digits.count();
    bytes.splice(start..end, random.pick(&NUMBERS).bytes());
}

/// Bytes in pieces of any length.
pub fn pieces<'b>(bytes: &'b [u8], random: &mut Random) -> Vec<&'b [u8]> {
    let longest = 1 + random.below(bytes.len() + 1);
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((1 + random.below(longest)).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}
