// SPDX-License-Identifier: GPL-2.0

//! Offers: what the host proposes, checked and copied.

use crate::message::wire;
use crate::message::wire::USER_DATA_SIZE;
use core::fmt;
use hvdef::synic::EVENT_FLAGS;
use hvdef::Guid;

/// The number of a channel: 1 to 2047, since it is also the number of the channel's event flag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relid(u16);

impl Relid {
    /// Checks a number.
    #[must_use]
    pub fn new(relid: u32) -> Option<Self> {
        match u16::try_from(relid) {
            Ok(number) if number != 0 && relid < EVENT_FLAGS => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }

    /// The number as an index below 2048.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Debug for Relid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Relid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

bitflags::bitflags! {
    /// The host sets these in an offer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OfferFlags: u16 {
        /// The device shows up in enumeration.
        const ENUMERATE_DEVICE_INTERFACE = 0x0001;
        /// The paravisor offers the channel, and its rings must be in encrypted memory. Since 6.0.
        const CONFIDENTIAL_RING_BUFFER = 0x0002;
        /// As that, for GPA-direct packets and other GPADLs. Since 6.0.
        const CONFIDENTIAL_EXTERNAL_MEMORY = 0x0004;
        /// The rings carry a pipe; the user data starts with its mode.
        const NAMED_PIPE_MODE = 0x0010;
        /// The other end is in the same partition.
        const LOOPBACK_OFFER = 0x0100;
        /// The other end is in the parent partition.
        const PARENT_OFFER = 0x0200;
        /// The device wants signals through the monitor pages.
        const REQUEST_MONITORED_NOTIFICATION = 0x0400;
        /// The channel is a socket.
        const TLNPI_PROVIDER_OFFER = 0x2000;
    }
}

/// Bits in a monitor page: 4 groups of 32.
const MONITOR_BITS: u8 = 128;

/// A channel that the host offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its number.
    pub relid: Relid,
    /// The kind of device.
    pub class: Guid,
    /// The device. A device's sub-channels have the same class and instance.
    pub instance: Guid,
    /// 0 for the device's first channel, others for its sub-channels.
    pub sub_channel_index: u16,
    /// The bit of the monitor pages that signals the host, below 128, where there is one.
    pub monitor_id: Option<u8>,
    /// Whether its bit in the interrupt page must stay clear.
    pub dedicated_interrupt: bool,
    /// The connection that signals the host.
    pub connection_id: u32,
    /// Address space that the device wants, in MiB.
    pub mmio_megabytes: u16,
    /// See [`OfferFlags`].
    pub flags: OfferFlags,
    /// For the device's own use; in pipe mode, the first 4 bytes are the mode of the pipe.
    pub user_data: [u8; USER_DATA_SIZE],
}

/// What is wrong with an offer by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOffer {
    /// The monitor pages have no such bit.
    MonitorId(u8),
    /// The channel is confidential, which was not negotiated.
    Confidential,
}

impl Offer {
    /// Checks an offer, the relid of which was checked before.
    ///
    /// # Errors
    ///
    /// See [`BadOffer`].
    pub fn new(relid: Relid, wire: &wire::OfferChannel) -> Result<Self, BadOffer> {
        let monitor_id = (wire.monitor_allocated & 1 == 1).then_some(wire.monitor_id);
        if let Some(id) = monitor_id.filter(|id| *id >= MONITOR_BITS) {
            return Err(BadOffer::MonitorId(id));
        }
        let flags = OfferFlags::from_bits_retain(wire.flags.get());
        let confidential =
            OfferFlags::CONFIDENTIAL_RING_BUFFER | OfferFlags::CONFIDENTIAL_EXTERNAL_MEMORY;
        if flags.intersects(confidential) {
            return Err(BadOffer::Confidential);
        }
        Ok(Self {
            relid,
            class: wire.class,
            instance: wire.instance,
            sub_channel_index: wire.sub_channel_index.get(),
            monitor_id,
            dedicated_interrupt: wire.dedicated_interrupt.get() & 1 == 1,
            connection_id: wire.connection_id.get(),
            mmio_megabytes: wire.mmio_megabytes.get(),
            flags,
            user_data: wire.user_data,
        })
    }

    /// Whether this is a device's first channel.
    #[must_use]
    pub const fn is_primary(&self) -> bool {
        self.sub_channel_index == 0
    }

    /// Whether both channels belong to the same device.
    #[must_use]
    pub fn same_device(&self, other: &Self) -> bool {
        self.class == other.class && self.instance == other.instance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    /// Checks an offer of channel 5.
    fn check(wire: &wire::OfferChannel) -> Result<Offer, BadOffer> {
        Offer::new(Relid(5), wire)
    }

    #[test]
    fn a_relid_is_1_to_2047() {
        for (number, usable) in [(0, false), (1, true), (2, true), (2046, true), (2047, true)] {
            assert_eq!(Relid::new(number).is_some(), usable, "{number}");
        }
        for number in [2048, 2049, 0xffff, 0x1_0001, u32::MAX] {
            assert_eq!(Relid::new(number), None, "{number}");
        }
    }

    #[test]
    fn a_monitor_id_is_below_128_where_it_counts() {
        let monitored = |monitor_id, monitor_allocated| {
            let wire = wire::OfferChannel {
                monitor_id,
                monitor_allocated,
                ..wire::OfferChannel::new_zeroed()
            };
            check(&wire).map(|offer| offer.monitor_id)
        };
        assert_eq!(monitored(126, 1), Ok(Some(126)));
        assert_eq!(monitored(127, 0xff), Ok(Some(127)));
        assert_eq!(monitored(128, 1), Err(BadOffer::MonitorId(128)));
        assert_eq!(monitored(255, 0xfe), Ok(None));
    }

    #[test]
    fn a_confidential_channel_is_refused() {
        for flags in [2, 4, 6] {
            let wire = wire::OfferChannel {
                flags: flags.into(),
                ..wire::OfferChannel::new_zeroed()
            };
            assert_eq!(check(&wire).unwrap_err(), BadOffer::Confidential);
        }
    }

    #[test]
    fn everything_is_copied() {
        let wire = wire::OfferChannel {
            class: crate::class::SCSI.id,
            instance: Guid::from_bytes([7; 16]),
            flags: 0xc011.into(),
            mmio_megabytes: 8.into(),
            user_data: [9; 120],
            sub_channel_index: 3.into(),
            dedicated_interrupt: 0xffff.into(),
            connection_id: 0x2_0005.into(),
            ..wire::OfferChannel::new_zeroed()
        };
        let offer = check(&wire).unwrap();
        assert_eq!(offer.relid.index(), 5);
        assert_eq!((offer.class, offer.instance), (wire.class, wire.instance));
        assert_eq!(offer.flags.bits(), 0xc011);
        assert_eq!((offer.mmio_megabytes, offer.sub_channel_index), (8, 3));
        assert!(offer.dedicated_interrupt && !offer.is_primary());
        assert_eq!((offer.connection_id, offer.user_data), (0x2_0005, [9; 120]));
    }
}
