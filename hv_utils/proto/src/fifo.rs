// SPDX-License-Identifier: GPL-2.0

//! A short queue that is its own memory.

/// At most `N` items, the oldest first.
#[derive(Debug)]
pub struct Fifo<T, const N: usize>([Option<T>; N]);

impl<T, const N: usize> Default for Fifo<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Fifo<T, N> {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { None }; N])
    }

    /// Puts an item behind the others.
    ///
    /// # Errors
    ///
    /// The item, if there is no room.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        match self.0.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(item);
                Ok(())
            }
            None => Err(item),
        }
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
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
