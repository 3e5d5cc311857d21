// SPDX-License-Identifier: GPL-2.0

//! What storvsc shows under `/sys/kernel/debug/viridian`: a file for each controller.

use crate::controller::Controller;
use crate::link::Link;
use crate::scsi::{Driver, Template};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use hv_core::{partition, HV_PAGE_SIZE};
use kernel::debugfs::File;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;
use storvsc_proto::histogram;

/// The file of a controller, `storvsc-hostN`.
pub(crate) struct Shown(
    #[expect(dead_code, reason = "the file is there while this is")]
    Pin<KBox<File<Arc<Controller>>>>,
);

impl Shown {
    /// Makes the file of the controller that the mid-layer calls host `number`. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(number: u32, controller: &Arc<Controller>) -> Result<Self> {
        let folder = partition().ok_or(ENODEV)?.debugfs();
        let name = CString::try_from_fmt(format_args!("storvsc-host{number}"))?;
        let file = folder.read_callback_file(&name, controller.clone(), &show);
        Ok(Self(KBox::pin_init(file, GFP_KERNEL)?))
    }
}

/// Shows a controller.
fn show(controller: &Arc<Controller>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(agreed) = controller.agreed.as_ref() {
        writeln!(f, "version         {}", agreed.version)?;
        writeln!(f, "max transfer    {}", agreed.max_transfer_bytes)?;
        writeln!(f, "channels        {}", agreed.channels)?;
    }
    writeln!(f, "commands each   {}", controller.depth)?;
    writeln!(f, "late            {}", controller.late.load(Relaxed))?;
    writeln!(f, "kept            {}", controller.kept())?;
    let mut memory = controller.in_flight.size();
    controller.for_each_link(|_, link| {
        memory += 2 * controller.ring_pages * HV_PAGE_SIZE + link.room();
    });
    let queues: u32 = controller.queues().into_iter().sum();
    memory += queues as usize * controller.depth as usize * Template::<Controller>::COMMAND_BYTES;
    writeln!(f, "memory          {memory}")?;
    let mut result = Ok(());
    controller.for_each_link(|index, link| {
        result = result.and_then(|()| show_link(controller, index, link, f));
    });
    result
}

/// Shows a channel.
fn show_link(
    controller: &Controller,
    index: usize,
    link: &Link,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let statistics = link.statistics();
    let completed = statistics.completed.get();
    let in_flight = controller
        .in_flight
        .count(u16::try_from(index).unwrap_or(u16::MAX));
    let sent = completed.saturating_add(in_flight as u64);
    let signals = link.channel().counters().interrupts_out.get();
    writeln!(f, "channel {index}")?;
    writeln!(f, "  relid         {}", link.channel().offer().relid.get())?;
    writeln!(
        f,
        "  cpu           {}",
        link.channel().target_cpu().number()
    )?;
    writeln!(f, "  in flight     {in_flight}")?;
    writeln!(f, "  completed     {completed}")?;
    writeln!(f, "  signals       {signals}")?;
    writeln!(f, "  signals saved {}", sent.saturating_sub(signals))?;
    writeln!(f, "  ring full     {}", statistics.ring_full.get())?;
    writeln!(f, "  failed        {}", statistics.failed.get())?;
    writeln!(f, "  unknown       {}", statistics.unknown.get())?;
    writeln!(f, "  nonsense      {}", statistics.nonsense.get())?;
    for (bucket, count) in statistics.latency.iter().enumerate() {
        let count = count.get();
        match histogram::end(bucket) {
            _ if count == 0 => {}
            Some(end) => writeln!(f, "  below {:>8} us  {count}", end / 1000)?,
            None => writeln!(f, "  longer             {count}")?,
        }
    }
    Ok(())
}
