// SPDX-License-Identifier: GPL-2.0

//! storvsc's pure side against the controllers, in memory and simulated time, while the host does things wrong.
//!
//! Every scenario follows from its seed, which a failure names; `SEED=n cargo test -p storage_vsp --test vsc nothing --
//! --nocapture` runs that one alone and tells what happens in it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod closing;
mod driver;
mod handshake;
mod random;
mod scenario;

use scenario::{Outcome, Scenario};
use std::env::var;
use std::panic::catch_unwind;

#[test]
fn nothing_acknowledged_is_lost() {
    if let Some(seed) = var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:?}", Scenario::new(seed).run());
        return;
    }
    let seeds = if var("SOAK").is_ok() { 20_000 } else { 1000 };
    let mut sum = Outcome::default();
    let (mut offline, mut unknown) = (0, 0);
    for seed in 1..=seeds {
        let Ok(outcome) = catch_unwind(|| Scenario::new(seed).run()) else {
            panic!("run it alone with SEED={seed}");
        };
        sum.good += outcome.good;
        sum.failed += outcome.failed;
        sum.retried += outcome.retried;
        offline += u64::from(outcome.offline);
        unknown += u64::from(outcome.unknown > 0);
    }
    println!("seeds 1 to {seeds}: {sum:?}, {offline} ended offline, {unknown} had unknown answers");
    // All of that happens, and not all the time.
    assert!(sum.good > sum.failed && sum.failed > seeds && sum.retried > seeds / 2);
    assert!((seeds / 10..seeds / 2).contains(&offline) && unknown > seeds / 2);
}
