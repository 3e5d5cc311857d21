// SPDX-License-Identifier: GPL-2.0

//! The controllers against a VSC in memory: the storage protocol, every SCSI command, and guests that mean harm.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod block;
mod dvd;
mod guest;
mod handshake;
mod hostile;
mod identity;
mod mode;
mod reservation;
mod timing;
mod units;
