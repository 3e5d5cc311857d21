// SPDX-License-Identifier: GPL-2.0

//! Transaction ids: what a packet from the host answers.

/// The place that stands for requests of the driver itself, which are no commands.
const CONTROL: u32 = u32::MAX;

/// What a packet belongs to, if the host tells the truth.
///
/// An id has the generation in the upper 32 bits, which is another each time that a place is used, so that the host
/// cannot answer twice; and in the lower the place, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// To no request.
    Unsolicited,
    /// To a request of the driver itself, of which there is one at a time.
    Control {
        /// Which one it is.
        generation: u32,
    },
    /// To a command.
    Command {
        /// Its place in the table of commands.
        place: u32,
        /// How often the place had been used before.
        generation: u32,
    },
}

impl Transaction {
    /// Reads an id.
    #[must_use]
    #[inline]
    pub fn from_id(id: u64) -> Self {
        let low = u32::try_from(id & u64::from(u32::MAX)).unwrap_or(0);
        let generation = u32::try_from(id >> 32).unwrap_or(0);
        match low.checked_sub(1) {
            _ if id == 0 => Self::Unsolicited,
            _ if low == CONTROL => Self::Control { generation },
            Some(place) => Self::Command { place, generation },
            // No place has this number.
            None => Self::Command {
                place: CONTROL,
                generation,
            },
        }
    }

    /// The id.
    #[must_use]
    #[inline]
    pub fn id(self) -> u64 {
        let (low, generation) = match self {
            Self::Unsolicited => (0, 0),
            Self::Control { generation } => (CONTROL, generation),
            Self::Command { place, generation } => (place.wrapping_add(1), generation),
        };
        u64::from(generation) << 32 | u64::from(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zero_is_unsolicited() {
        assert_eq!(Transaction::from_id(0), Transaction::Unsolicited);
        assert_eq!(Transaction::Unsolicited.id(), 0);
        assert_ne!(Transaction::from_id(1 << 32), Transaction::Unsolicited);
        let first = Transaction::Command {
            place: 0,
            generation: 0,
        };
        assert_eq!(first.id(), 1);
    }

    proptest! {
        #[test]
        fn ids_round_trip(id: u64) {
            prop_assert_eq!(Transaction::from_id(id).id(), id);
        }

        #[test]
        fn commands_round_trip(place in 0..CONTROL - 1, generation: u32) {
            for transaction in [
                Transaction::Command { place, generation },
                Transaction::Control { generation },
            ] {
                prop_assert_eq!(Transaction::from_id(transaction.id()), transaction);
            }
        }
    }
}
