// SPDX-License-Identifier: GPL-2.0

//! What vmbus_drv shows under `/sys/kernel/debug/viridian`.

use crate::connection::{Connection, Vmbus};
use core::fmt;
use hv_core::partition;
use kernel::debugfs::File;
use kernel::prelude::*;
use kernel::sync::Arc;
use vmbus_proto::Class;

/// The files of vmbus_drv.
#[pin_data]
pub struct Files {
    /// The connection.
    #[pin]
    vmbus: File<Arc<Connection>>,
    /// The channels that are offered.
    #[pin]
    channels: File<Arc<Connection>>,
}

/// Shows the connection.
fn show_connection(connection: &Arc<Connection>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match connection.state.lock().client.version() {
        Some(version) => writeln!(f, "version          {version}")?,
        None => writeln!(f, "version          not connected")?,
    }
    writeln!(f, "connect cpu      {}", connection.connect_cpu.number())?;
    writeln!(f, "protocol errors  {}", connection.protocol_errors())?;
    write!(f, "mmio             {}", connection.enumeration.parent())
}

/// Shows a line for each channel.
fn show_channels(connection: &Arc<Connection>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "relid sub cpu state  instance                              class"
    )?;
    for channel in connection.channels.iter() {
        let offer = channel.offer();
        write!(
            f,
            "{:<5} {:<3} {:<3} {:<6} {}  ",
            offer.relid.get(),
            offer.sub_channel_index,
            channel.target_cpu().number(),
            if channel.is_open() { "open" } else { "closed" },
            offer.instance
        )?;
        match Class::find(&offer.class) {
            Some(class) => writeln!(f, "{}", class.description)?,
            None => writeln!(f, "{}", offer.class)?,
        }
    }
    Ok(())
}

impl Files {
    /// Makes the files. Process context.
    pub fn new(vmbus: &Vmbus) -> impl PinInit<Self, Error> + '_ {
        pin_init::pin_init_scope(move || {
            let folder = partition().ok_or(ENODEV)?.debugfs();
            let connection = vmbus.connection();
            Ok(try_pin_init!(Self {
                vmbus <- folder.read_callback_file(c"vmbus", connection.clone(), &show_connection),
                channels <- folder.read_callback_file(c"channels", connection.clone(), &show_channels),
            }? Error))
        })
    }
}
