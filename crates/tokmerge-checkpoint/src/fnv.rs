//! A checksum for telling things apart.

use std::fmt;

/// The 64-bit FNV-1a checksum (Fowler, Noll and Vo), shown as 16 digits: for telling files apart, not for safety.
///
/// ```
/// use tokmerge_checkpoint::Fnv;
///
/// let mut sum = Fnv::default();
/// sum.bytes(b"foobar");
/// assert_eq!(sum.to_string(), "85944171f73967e8");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a number, in one step.
    pub fn number(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// Adds bytes, not where they end.
    pub fn bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.number((*byte).into()));
    }
}

impl fmt::Display for Fnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
