// SPDX-License-Identifier: GPL-2.0

//! The attributes of a channel, in `/sys/bus/vmbus/devices/<instance>/channels/<relid>`.

use super::device::signed;
use super::{group, AttributeList, ChannelAttribute, Constant, List, SizeAttribute};
use crate::channel::{Channel, Direction, MonitorState};
use crate::isolation;
use hv_core::compat::eopnotsupp;
use hv_core::{Cpu, HotplugLock};
use kernel::bindings;
use kernel::prelude::*;
use vmbus_ring::Snapshot;

/// A ring of the channel.
///
/// # Errors
///
/// `EINVAL` unless the channel is open.
fn ring(channel: &Channel, direction: Direction) -> Result<Snapshot> {
    channel.ring(direction).ok_or(EINVAL)
}

/// What the guest's monitor page says of the channel.
///
/// # Errors
///
/// `ENODEV` without monitor; then the attribute is hidden, unless the connection is being taken down.
fn monitor(channel: &Channel) -> Result<MonitorState> {
    channel.monitor(Direction::Out).ok_or(ENODEV)
}

/// Moves the channel to the CPU of which somebody wrote the number.
///
/// # Errors
///
/// As the kernel's: `EINVAL` for a CPU that is offline or takes no interrupts of devices, `EIO` if the channel is not
/// open or the protocol version cannot move it; and what the host makes of it.
fn retarget(channel: &Channel, text: &[u8]) -> Result {
    let cpu = Cpu::new(parse(text)?)
        .filter(|cpu| isolation::takes_managed_irqs(*cpu))
        .ok_or(EINVAL)?;
    let _no_hotplug = HotplugLock::new();
    channel.retarget(cpu).map_err(|error| {
        if error == EBUSY || error == eopnotsupp() {
            EIO
        } else {
            error
        }
    })
}

/// Reads an unsigned decimal number as `sscanf("%u")` does: after white space, up to the first other character.
///
/// # Errors
///
/// `EIO` without a digit, `EINVAL` if the number has more than 32 bits.
fn parse(text: &[u8]) -> Result<u32> {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    if digits.clone().next().is_none() {
        return Err(EIO);
    }
    digits
        .map(|digit| u32::from(digit.wrapping_sub(b'0')))
        .try_fold(0_u32, |number, digit| {
            number.checked_mul(10)?.checked_add(digit)
        })
        .ok_or(EINVAL)
}

/// All of them, in the order in which the kernel makes the files.
///
/// `events` counts the signals that we sent and `interrupts` those that we got; the names are the ABI's.
static ATTRIBUTES: [ChannelAttribute; 15] = {
    use Direction::{In, Out};
    type A = ChannelAttribute;
    [
        A::new(c"out_mask", |channel, page| {
            page.line(ring(channel, Out)?.interrupt_mask)
        }),
        A::new(c"in_mask", |channel, page| {
            page.line(ring(channel, In)?.interrupt_mask)
        }),
        A::new(c"read_avail", |channel, page| {
            page.line(ring(channel, In)?.bytes_to_read)
        }),
        A::new(c"write_avail", |channel, page| {
            page.line(ring(channel, Out)?.bytes_to_write)
        }),
        A::new(c"cpu", |channel, page| {
            page.line(channel.target_cpu().number())
        })
        .writable(retarget),
        A::new(c"pending", |channel, page| {
            page.line(signed(monitor(channel)?.pending))
        })
        .monitored(),
        A::new(c"latency", |channel, page| {
            page.line(monitor(channel)?.latency)
        })
        .monitored(),
        A::new(c"interrupts", |channel, page| {
            page.line(channel.counters().events.get())
        }),
        A::new(c"events", |channel, page| {
            page.line(channel.counters().interrupts_out.get())
        }),
        A::new(c"intr_in_full", |channel, page| {
            page.line(channel.counters().in_full.get())
        }),
        A::new(c"intr_out_empty", |channel, page| {
            page.line(channel.counters().out_empty.get())
        }),
        A::new(c"out_full_first", |channel, page| {
            page.line(channel.counters().out_full_first.get())
        }),
        A::new(c"out_full_total", |channel, page| {
            page.line(channel.counters().out_full_total.get())
        }),
        A::new(c"monitor_id", |channel, page| {
            page.line(channel.offer().monitor_id.ok_or(ENODEV)?)
        })
        .monitored(),
        A::new(c"subchannel_id", |channel, page| {
            page.line(channel.offer().sub_channel_index)
        }),
    ]
};

/// The attributes as the kernel wants them.
static LIST: AttributeList<15> = AttributeList::of(&ATTRIBUTES);
/// The group of them all.
static GROUP: Constant<bindings::attribute_group> =
    group(&LIST, Some(ChannelAttribute::visible_callback));
/// The size of both rings, while programs may use them.
static RING: Constant<bindings::bin_attribute> = SizeAttribute::named(c"ring");
/// The attribute as the kernel wants it.
static RING_LIST: List<bindings::bin_attribute, 1> = List::new([&raw const RING.0]);
/// The group of that alone, so that it can come and go.
pub(crate) static RING_GROUP: Constant<bindings::attribute_group> =
    SizeAttribute::group(&RING_LIST);
/// What every channel folder has.
pub(crate) static GROUPS: List<bindings::attribute_group, 2> =
    List::new([&raw const GROUP.0, &raw const RING_GROUP.0]);
