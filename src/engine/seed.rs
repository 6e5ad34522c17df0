//! Random streams: each is seeded from the job's seed and its own place, so that any epoch can be repeated alone.

/// What a random stream is for; streams of different purposes never share numbers.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// Initial weights and training of generator `index`; epoch 0 is the initialisation.
    Extract { index: u32, epoch: u32 },
    /// Drawing the fixed pool from generator `index`.
    Pool { index: u32 },
    /// The student's training, by epoch.
    Distill { epoch: u32 },
    /// The adversarial game, by round; round 0 is the initialisation.
    Game { round: u32 },
    /// The second one, likewise.
    SecondGame { round: u32 },
    /// Images on which two networks are compared before a game.
    Apart,
    /// What the audit draws, by source.
    Audit { part: u32 },
    /// Images on which the teacher's layers are measured.
    Reading,
    /// The first weights of a student that is initialised anew.
    Student,
    /// A latent grid that a user asked for.
    Latent,
}

/// Seeds libtorch's generator for `stream` of the job with `seed`. The generator is the process's: whoever draws at the same
/// time on another thread takes numbers away.
pub fn seed(seed: u64, stream: Stream) {
    tch::manual_seed((number(seed, stream) >> 1) as i64);
}

/// The seed of `stream` in the job with `seed`.
pub fn number(seed: u64, stream: Stream) -> u64 {
    let (purpose, index, epoch) = match stream {
        Stream::Extract { index, epoch } => (1, index, epoch),
        Stream::Pool { index } => (2, index, 0),
        Stream::Distill { epoch } => (3, 0, epoch),
        Stream::Game { round } => (4, 0, round),
        Stream::Audit { part } => (5, part, 0),
        Stream::Latent => (6, 0, 0),
        Stream::Apart => (7, 0, 0),
        Stream::Student => (8, 0, 0),
        Stream::Reading => (9, 0, 0),
        Stream::SecondGame { round } => (10, 0, round),
    };
    [purpose, u64::from(index), u64::from(epoch)].into_iter().fold(seed, |state, part| mix(state ^ mix(part)))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): neighbouring seeds become unrelated.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
