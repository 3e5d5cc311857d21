// SPDX-License-Identifier: GPL-2.0

//! Tests of the rings, with memory that checks each access.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "an overflow in a test is a failed test"
)]

mod defects;
mod gpa;
mod hostile;
mod inflight;
mod memory;
mod monitor;
mod pair;
mod reader;
mod transfer;
mod writer;
