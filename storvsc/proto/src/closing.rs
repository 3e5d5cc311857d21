// SPDX-License-Identifier: GPL-2.0

//! How the channels of a controller are closed, and what becomes of the commands that the host got on them.
//!
//! The host may write to a command's memory until it has confirmed that the command's channel is closed, or has withdrawn
//! the channel. Each channel is confirmed by itself; for all of them together the driver waits no longer than one
//! [`Deadline`], and the commands of those that are not confirmed by then stay with the host.

/// The order in which so many channels are closed: those that the host has withdrawn, whose commands end at once, and then
/// all, since a first channel goes after its sub-channels.
pub fn order(channels: usize, withdrawn: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
    let gone = (0..channels).filter(move |index| withdrawn(*index));
    gone.chain((0..channels).rev())
}

/// What becomes of the commands of a channel that was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The host may still write to their memory: they stay where they are.
    Kept,
    /// They end, as their device is gone.
    Gone,
    /// They end, and are tried again on another channel.
    Retried,
}

impl Fate {
    /// What becomes of them once the host has `confirmed` that the channel is closed, or before, if the controller is `dead`
    /// or has other channels.
    #[must_use]
    pub const fn of(confirmed: bool, dead: bool) -> Self {
        match (confirmed, dead) {
            (false, _) => Self::Kept,
            (true, true) => Self::Gone,
            (true, false) => Self::Retried,
        }
    }
}

/// Until when something is waited for, by a clock that counts milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// The time.
    at_ms: u64,
}

impl Deadline {
    /// So many milliseconds from now.
    #[must_use]
    pub fn after(ms: u32, now_ms: u64) -> Self {
        Self {
            at_ms: now_ms.saturating_add(ms.into()),
        }
    }

    /// How long there is left.
    #[must_use]
    pub fn left_ms(self, now_ms: u64) -> u32 {
        u32::try_from(self.at_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn withdrawn_channels_go_first_and_the_first_channel_last() {
        let of = |withdrawn: &'static [usize]| {
            let order = order(4, move |index| withdrawn.contains(&index));
            order.collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [3, 2, 1, 0]);
        assert_eq!(of(&[0]), [0, 3, 2, 1, 0]);
        assert_eq!(of(&[1, 2]), [1, 2, 3, 2, 1, 0]);
        assert_eq!(order(0, |_| true).count(), 0);
    }

    #[test]
    fn commands_stay_until_the_host_has_confirmed() {
        assert_eq!(Fate::of(false, true), Fate::Kept);
        assert_eq!(Fate::of(false, false), Fate::Kept);
        assert_eq!(Fate::of(true, true), Fate::Gone);
        assert_eq!(Fate::of(true, false), Fate::Retried);
    }

    #[test]
    fn one_deadline_for_all() {
        let deadline = Deadline::after(30, 1000);
        let left = [1000, 1010, 1029, 1030, 1031, u64::MAX].map(|now| deadline.left_ms(now));
        assert_eq!(left, [30, 20, 1, 0, 0, 0]);
        assert_eq!(Deadline::after(30, u64::MAX).left_ms(u64::MAX), 0);
        assert_eq!(Deadline::after(u32::MAX, u64::MAX).left_ms(0), u32::MAX);
    }
}
