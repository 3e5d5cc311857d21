// SPDX-License-Identifier: GPL-2.0

//! One value for each possible CPU, found by number.
//!
//! The kernel crate offers no per-CPU memory. An array indexed by CPU number serves as well here, since what it
//! holds lives in cache lines of its own.

use crate::cpuhp::Cpu;
use kernel::prelude::*;

/// Keeps neighbours out of each other's cache lines.
#[repr(align(128))]
struct Padded<T>(T);

/// One `T` for each possible CPU.
pub struct PerCpu<T> {
    /// Indexed by CPU number.
    values: KVVec<Padded<T>>,
}

impl<T> PerCpu<T> {
    /// Makes one value for each possible CPU. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and whatever `make` returns.
    pub fn new(mut make: impl FnMut(Cpu) -> Result<T>) -> Result<Self> {
        let mut values = KVVec::with_capacity(Cpu::count(), GFP_KERNEL)?;
        for cpu in Cpu::possible() {
            values.push(Padded(make(cpu)?), GFP_KERNEL)?;
        }
        Ok(Self { values })
    }

    /// The value of `cpu`; there is none only for a number beyond the machine's.
    #[must_use]
    pub fn get(&self, cpu: Cpu) -> Option<&T> {
        self.values.get(cpu.index()).map(|padded| &padded.0)
    }
}
