// SPDX-License-Identifier: GPL-2.0

//! The attributes of a device, in `/sys/bus/vmbus/devices/<instance>`.

use super::{group, AttributeList, Constant, DeviceAttribute, Groups};
use crate::channel::{Direction, MonitorState};
use crate::device::Device;
use kernel::bindings;
use kernel::prelude::*;
use vmbus_proto::class;
use vmbus_proto::{Offer, OfferFlags};
use vmbus_ring::Snapshot;

/// The PCI vendor number of Microsoft, which all devices show.
const VENDOR: u16 = 0x1414;

/// The offer of the device's first channel.
fn offer(device: &Device) -> &Offer {
    device.channel().offer()
}

/// A ring of the device's first channel.
///
/// # Errors
///
/// `EINVAL` unless the channel is open, as `hv_ringbuffer_get_debuginfo` has it.
fn ring(device: &Device, direction: Direction) -> Result<Snapshot> {
    device.channel().ring(direction).ok_or(EINVAL)
}

/// What the host's (`In`) or the guest's (`Out`) monitor page says of the device's first channel.
///
/// # Errors
///
/// `ENODEV` without monitor; then the attribute is hidden, unless the connection is being taken down.
fn monitor(device: &Device, direction: Direction) -> Result<MonitorState> {
    device.channel().monitor(direction).ok_or(ENODEV)
}

/// The kind of device as a number (`enum vmbus_device_type`): the place in the table of classes, of which those that
/// Linux has no use for come last and are all one.
fn device_type(offer: &Offer) -> usize {
    let mut supported = class::ALL.iter().filter(|class| class.supported);
    let unknown = supported.clone().count();
    if offer.flags.contains(OfferFlags::TLNPI_PROVIDER_OFFER) {
        return unknown;
    }
    supported
        .position(|class| class.id == offer.class)
        .unwrap_or(unknown)
}

/// A word as `%d` prints it.
pub(super) fn signed(word: u32) -> i32 {
    // CAST: The same bits.
    word as i32
}

/// The bytes of a class in the order of the wire, as `modalias` has them.
pub(crate) struct Modalias<'a>(pub(crate) &'a Offer);

impl core::fmt::Display for Modalias<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("vmbus:")?;
        self.0
            .class
            .to_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// All of them, in the order in which the kernel makes the files.
static ATTRIBUTES: [DeviceAttribute; 26] = {
    use Direction::{In, Out};
    type A = DeviceAttribute;
    [
        A::new(c"id", |device, page| page.line(offer(device).relid)),
        A::new(c"state", |device, page| {
            page.line(device.channel().state_number())
        }),
        A::new(c"monitor_id", |device, page| {
            page.line(offer(device).monitor_id.ok_or(ENODEV)?)
        })
        .monitored(),
        A::new(c"class_id", |device, page| {
            page.line(format_args!("{{{}}}", offer(device).class))
        }),
        A::new(c"device_id", |device, page| {
            page.line(format_args!("{{{}}}", offer(device).instance))
        }),
        A::new(c"modalias", |device, page| {
            page.line(Modalias(offer(device)))
        }),
        A::new(c"numa_node", |device, page| {
            page.line(device.channel().target_cpu().node())
        }),
        A::new(c"server_monitor_pending", |device, page| {
            page.line(signed(monitor(device, In)?.pending))
        })
        .monitored(),
        A::new(c"client_monitor_pending", |device, page| {
            page.line(signed(monitor(device, Out)?.pending))
        })
        .monitored(),
        A::new(c"server_monitor_latency", |device, page| {
            page.line(monitor(device, In)?.latency)
        })
        .monitored(),
        A::new(c"client_monitor_latency", |device, page| {
            page.line(monitor(device, Out)?.latency)
        })
        .monitored(),
        A::new(c"server_monitor_conn_id", |device, page| {
            page.line(signed(monitor(device, In)?.connection_id))
        })
        .monitored(),
        A::new(c"client_monitor_conn_id", |device, page| {
            page.line(signed(monitor(device, Out)?.connection_id))
        })
        .monitored(),
        A::new(c"out_intr_mask", |device, page| {
            page.line(signed(ring(device, Out)?.interrupt_mask))
        }),
        A::new(c"out_read_index", |device, page| {
            page.line(ring(device, Out)?.read_index)
        }),
        A::new(c"out_write_index", |device, page| {
            page.line(ring(device, Out)?.write_index)
        }),
        A::new(c"out_read_bytes_avail", |device, page| {
            page.line(ring(device, Out)?.bytes_to_read)
        }),
        A::new(c"out_write_bytes_avail", |device, page| {
            page.line(ring(device, Out)?.bytes_to_write)
        }),
        A::new(c"in_intr_mask", |device, page| {
            page.line(signed(ring(device, In)?.interrupt_mask))
        }),
        A::new(c"in_read_index", |device, page| {
            page.line(signed(ring(device, In)?.read_index))
        }),
        A::new(c"in_write_index", |device, page| {
            page.line(signed(ring(device, In)?.write_index))
        }),
        A::new(c"in_read_bytes_avail", |device, page| {
            page.line(ring(device, In)?.bytes_to_read)
        }),
        A::new(c"in_write_bytes_avail", |device, page| {
            page.line(ring(device, In)?.bytes_to_write)
        }),
        A::new(c"channel_vp_mapping", |device, page| {
            device.for_each_channel(|channel| {
                page.line(format_args!(
                    "{}:{}",
                    channel.offer().relid,
                    channel.target_cpu().number()
                ))
            })
        }),
        A::new(c"vendor", |_, page| page.line(format_args!("{VENDOR:#x}"))),
        A::new(c"device", |device, page| {
            page.line(format_args!("{:#x}", device_type(offer(device))))
        }),
    ]
};

/// The attributes as the kernel wants them.
static LIST: AttributeList<26> = AttributeList::of(&ATTRIBUTES);
/// The group of them all.
static GROUP: Constant<bindings::attribute_group> =
    group(&LIST, Some(DeviceAttribute::visible_callback));
/// What every device of the bus has; the driver core adds `driver_override`.
pub(crate) static GROUPS: Groups = Groups::of_group(&GROUP);
