// SPDX-License-Identifier: GPL-2.0

//! The client against a host in memory: a well-behaved one, one that rescinds, and a hostile one.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "A test may panic."
)]

mod defects;
mod guest;
mod host;
mod hostile;
mod lifecycle;
mod random;
mod sweep;
