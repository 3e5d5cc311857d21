// SPDX-License-Identifier: GPL-2.0

//! A short queue.

/// At most `N` items, the oldest first.
#[derive(Debug)]
pub(super) struct Fifo<T, const N: usize>([Option<T>; N]);

impl<T, const N: usize> Fifo<T, N> {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self([const { None }; N])
    }

    /// Puts an item behind the others, or gives it back if there is no room.
    pub(super) fn push(&mut self, item: T) -> Result<(), T> {
        match self.0.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(item);
                Ok(())
            }
            None => Err(item),
        }
    }

    /// Takes the oldest item.
    pub(super) fn pop(&mut self) -> Option<T> {
        let oldest = self.0.first_mut()?.take();
        self.0.rotate_left(1);
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_as_they_went_in_and_no_more_than_fit() {
        let mut fifo = Fifo::<u8, 2>::new();
        assert_eq!(fifo.pop(), None);
        assert_eq!(
            (fifo.push(1), fifo.push(2), fifo.push(3)),
            (Ok(()), Ok(()), Err(3))
        );
        assert_eq!(fifo.pop(), Some(1));
        assert_eq!(fifo.push(4), Ok(()));
        assert_eq!(
            [fifo.pop(), fifo.pop(), fifo.pop()],
            [Some(2), Some(4), None]
        );
    }
}
