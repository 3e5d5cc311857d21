// SPDX-License-Identifier: GPL-2.0

//! What hv_core shows under `/sys/kernel/debug/viridian`.

use crate::{partition, reference_time, Partition};
use core::fmt;
use kernel::debugfs::File;
use kernel::prelude::*;

/// A connection that no partition has.
const NO_CONNECTION: u32 = 0x00ff_ffff;

/// The files of hv_core.
#[pin_data]
pub struct Files {
    /// What CPUID said.
    #[pin]
    hypervisor: File<()>,
    /// How hypercalls go, and the answers to one of each kind.
    #[pin]
    hypercall: File<()>,
    /// Each CPU's SynIC.
    #[pin]
    synic: File<()>,
    /// Reference time in 100 ns.
    #[pin]
    reference_time: File<()>,
}

/// Shows a part of the partition; nothing once it is gone.
fn show(
    f: &mut fmt::Formatter<'_>,
    part: impl FnOnce(&Partition, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    partition().map_or(Ok(()), |partition| part(partition, f))
}

/// Makes a call of each kind that changes nothing: to a connection that does not exist, a query, and a TLB flush.
fn show_hypercalls(partition: &Partition, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let calls = partition.hypercalls();
    writeln!(
        f,
        "route      {}",
        if calls.through_kernel() {
            "kernel"
        } else {
            "own page"
        }
    )?;
    writeln!(f, "fast       {:?}", calls.signal_event(NO_CONNECTION))?;
    writeln!(
        f,
        "slow       {:?}",
        calls.post_message(NO_CONNECTION, &[0; 8])
    )?;
    writeln!(f, "output     {:x?}", calls.extended_capabilities())?;
    writeln!(
        f,
        "repeated   {:?}",
        calls.flush_pages(&[0, 0x1000, 0x2000])
    )
}

impl Files {
    /// Makes the files. Process context.
    pub fn new() -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let files = partition().ok_or(ENODEV)?.debugfs();
            Ok(try_pin_init!(Self {
                hypervisor <- files.read_callback_file(c"hypervisor", (), &|(), f| {
                    show(f, |partition, f| write!(f, "{}", partition.hypervisor()))
                }),
                hypercall <- files.read_callback_file(c"hypercall", (), &|(), f| show(f, show_hypercalls)),
                synic <- files.read_callback_file(c"synic", (), &|(), f| {
                    show(f, |partition, f| write!(f, "{}", partition.synic()))
                }),
                reference_time <- files.read_callback_file(c"reference_time", (), &|(), f| {
                    writeln!(f, "{}", reference_time().unwrap_or(0))
                }),
            }? Error))
        })
    }
}
