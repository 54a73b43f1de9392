//! The chance by which the sample site is made.
//!
//! **Invariant:** a seed gives the same throws for ever, on every machine; so this is not a dependency's generator.

use std::ops::Range;

/// A splitmix64 generator.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 32 bits.
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    /// A number of `range`, which is not empty.
    pub(super) fn pick(&mut self, range: Range<u32>) -> u32 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True in `percent` of 100 throws.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.pick(0..100) < percent
    }

    /// A number of `low..high`, in steps that floats hold exactly.
    pub(super) fn float(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (f32::from((self.next() >> 16) as u16) / 65_536.0)
    }
}
