// SPDX-License-Identifier: GPL-2.0

//! How large things are: rings, queues, transfers, and how many channels there are.

use crate::packet::PACKET_SIZE;
use crate::transfer::PAGE_SIZE;

/// The page size as a length.
const PAGE: usize = 4096;
const _: () = assert!(PAGE_SIZE == 4096);

/// The smallest and the largest ring that a user may ask for, in bytes of data.
const RING_BYTES: core::ops::RangeInclusive<usize> = 16 * 1024..=2 * 1024 * 1024;

/// What a packet has beside its pages, in bytes: descriptor, range, storage packet and trailer.
const PACKET_OVERHEAD: usize = 16 + 16 + PACKET_SIZE + 8;

/// Size in bytes of a page frame number.
const PFN_SIZE: usize = 8;

/// The pages of the requests that a queue is made for: 128 KiB that start inside a page. As in Linux, where a ring of
/// 128 KiB takes as many requests (`max_outstanding_req_per_channel`).
const TYPICAL_PAGES: usize = 33;

/// The most commands of one queue, since each has memory of its own.
const MAX_DEPTH: usize = 1024;

/// The most bytes of one transfer, and its pages are a 16-bit number to the kernel.
const MAX_TRANSFER: u32 = 16 * 1024 * 1024;

/// The pages of a ring, its control page included, for a user who asks for `bytes` of data.
#[must_use]
pub fn ring_pages(bytes: usize) -> usize {
    bytes
        .clamp(*RING_BYTES.start(), *RING_BYTES.end())
        .div_ceil(PAGE)
        .saturating_add(1)
}

/// The bytes of data in a ring of so many pages.
const fn ring_bytes(ring_pages: usize) -> usize {
    ring_pages.saturating_sub(1).saturating_mul(PAGE)
}

/// Size in bytes of a request of so many pages in the ring.
#[must_use]
pub const fn packet_bytes(pages: usize) -> usize {
    PACKET_OVERHEAD.saturating_add(pages.saturating_mul(PFN_SIZE))
}

/// How many commands a queue has, whose ring has so many pages: with requests of 128 KiB the ring is full.
#[must_use]
pub fn queue_depth(ring_pages: usize) -> u32 {
    const TYPICAL: usize = packet_bytes(TYPICAL_PAGES);
    let depth = ring_bytes(ring_pages) / TYPICAL;
    u32::try_from(depth.clamp(1, MAX_DEPTH)).unwrap_or(1)
}

/// How many commands one LUN has at first, in queues of so many: half of each, so that the others have the rest, and no more
/// than one queue has, which is the mid-layer's limit (`scsi_device_max_queue_depth`).
#[must_use]
pub fn lun_depth(queue_depth: u32, queues: u32) -> u32 {
    let half = queue_depth.div_ceil(2);
    half.saturating_mul(queues.max(1)).min(queue_depth)
}

/// The most bytes of one transfer: what the host says, in whole pages, where four such fit the ring.
#[must_use]
pub fn max_transfer_bytes(host: u32, ring_pages: usize) -> u32 {
    let room = (ring_bytes(ring_pages) / 4).saturating_sub(PACKET_OVERHEAD);
    // One page less, since a buffer may start inside its first.
    let fits = (room / PFN_SIZE).saturating_sub(1).saturating_mul(PAGE);
    let fits = u32::try_from(fits).unwrap_or(MAX_TRANSFER);
    let bytes = host.min(fits).min(MAX_TRANSFER);
    bytes.saturating_sub(bytes % PAGE_SIZE).max(PAGE_SIZE)
}

/// The pages that the largest transfer touches.
#[must_use]
pub fn max_pages(max_transfer_bytes: u32) -> usize {
    usize::try_from((max_transfer_bytes / PAGE_SIZE).saturating_add(1)).unwrap_or(1)
}

/// How many sub-channels to ask for: one for each `cpus_per_channel` CPUs beside the first channel's, if the host
/// grants as many.
#[must_use]
pub fn sub_channels(granted: u16, online_cpus: usize, cpus_per_channel: u32) -> u16 {
    let others = online_cpus.saturating_sub(1);
    let per = usize::try_from(cpus_per_channel.max(1)).unwrap_or(1);
    granted.min(u16::try_from(others.checked_div(per).unwrap_or(0)).unwrap_or(u16::MAX))
}

/// Where a channel's events go, or where a command comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The CPU.
    pub cpu: u32,
    /// Its NUMA node.
    pub node: i32,
}

/// Which channel serves a CPU: the first of its own. The other CPUs take turns: first with the channels that share their
/// CPU with an earlier one, so that none is idle; if there are none, with those of the same node; then with all.
#[must_use]
pub fn channel_of<I>(place: Place, channels: I) -> usize
where
    I: Iterator<Item = Place> + Clone,
{
    let own = |cpu: u32| channels.clone().position(|channel| channel.cpu == cpu);
    if let Some(index) = own(place.cpu) {
        return index;
    }
    let rank = (0..place.cpu).filter(|cpu| own(*cpu).is_none()).count();
    let all = || channels.clone().enumerate();
    let spare = all().filter(|(index, channel)| own(channel.cpu) != Some(*index));
    let near = all().filter(|(_, channel)| channel.node == place.node);
    nth(spare, rank)
        .or_else(|| nth(near, rank))
        .or_else(|| nth(all(), rank))
        .unwrap_or(0)
}

/// The number of the channel whose turn it is.
fn nth<I>(channels: I, rank: usize) -> Option<usize>
where
    I: Iterator<Item = (usize, Place)> + Clone,
{
    let turn = rank.checked_rem(channels.clone().count())?;
    let mut channels = channels;
    channels.nth(turn).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings() {
        assert_eq!(ring_pages(128 * 1024), 33);
        assert_eq!(ring_pages(128 * 1024 + 1), 34);
        assert_eq!((ring_pages(0), ring_pages(1)), (5, 5));
        assert_eq!(ring_pages(usize::MAX), 513);
    }

    #[test]
    fn depths() {
        // 16 + 16 + 64 + 8 + 33 * 8 = 368 bytes each.
        assert_eq!(packet_bytes(33), 368);
        assert_eq!(queue_depth(33), 356);
        assert_eq!(queue_depth(ring_pages(0)), 44);
        assert_eq!(queue_depth(ring_pages(usize::MAX)), 1024);
        assert_eq!((queue_depth(0), queue_depth(1), queue_depth(2)), (1, 1, 11));
        assert_eq!((lun_depth(1, 1), lun_depth(356, 1)), (1, 178));
        assert_eq!((lun_depth(3, 0), lun_depth(3, 2)), (2, 3));
        assert_eq!((lun_depth(356, 2), lun_depth(355, u32::MAX)), (356, 355));
    }

    #[test]
    fn transfers() {
        let pages = ring_pages(128 * 1024);
        assert_eq!(max_transfer_bytes(8 << 20, pages), 8 << 20);
        assert_eq!(max_transfer_bytes((8 << 20) + 4095, pages), 8 << 20);
        assert_eq!(max_transfer_bytes(0, pages), 4096);
        assert_eq!(max_transfer_bytes(4095, pages), 4096);
        assert_eq!(max_transfer_bytes(8191, pages), 4096);
        let most = max_transfer_bytes(u32::MAX, pages);
        assert!(packet_bytes(max_pages(most)) * 4 <= 128 * 1024);
        assert_eq!(
            max_transfer_bytes(u32::MAX, ring_pages(usize::MAX)),
            16 << 20
        );
        for pages in [2, 3, 5, 9] {
            let most = max_transfer_bytes(u32::MAX, pages);
            assert!(packet_bytes(max_pages(most)) < ring_bytes(pages), "{pages}");
        }
        assert_eq!((max_pages(4096), max_pages(8 << 20)), (2, 2049));
        assert_eq!(max_pages(256 * 1024), 65);
    }

    #[test]
    fn channels() {
        assert_eq!(sub_channels(64, 8, 1), 7);
        assert_eq!(sub_channels(3, 8, 1), 3);
        assert_eq!(sub_channels(64, 8, 4), 1);
        assert_eq!(sub_channels(64, 1, 1), 0);
        assert_eq!(sub_channels(64, 0, 0), 0);
        assert_eq!(sub_channels(64, 3, 0), 2);
        assert_eq!(sub_channels(u16::MAX, 1 << 20, 1), u16::MAX);
    }

    #[test]
    fn every_cpu_has_a_channel() {
        let place = |cpu, node| Place { cpu, node };
        let channels = [place(5, 1), place(0, 0), place(2, 0)];
        let of = |cpu, node| channel_of(place(cpu, node), channels.into_iter());
        assert_eq!((of(5, 1), of(0, 0), of(2, 0)), (0, 1, 2));
        // CPUs of node 0 take turns with its two channels; those of node 1 share its one.
        assert_eq!((of(1, 0), of(3, 0), of(4, 0), of(6, 0)), (1, 2, 1, 2));
        assert_eq!((of(7, 1), of(8, 1)), (0, 0));
        // A node without channels.
        assert_eq!((of(9, 2), of(10, 2), of(11, 2)), (0, 1, 2));
        assert_eq!(channel_of(place(9, 0), core::iter::empty()), 0);
    }

    #[test]
    fn no_channel_is_idle() {
        let place = |cpu| Place { cpu, node: 0 };
        // Channels 0, 2 and 3 interrupt CPU 1.
        let channels = [1, 3, 1, 1].map(place);
        let of = |cpu| channel_of(place(cpu), channels.into_iter());
        assert_eq!([0, 1, 2, 3].map(of), [2, 0, 3, 1]);
        assert_eq!([4, 5].map(of), [2, 3]);
    }
}
