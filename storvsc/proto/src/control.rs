// SPDX-License-Identifier: GPL-2.0

//! Requests of the driver's own: which of them an answer belongs to.

use crate::transaction::Transaction;

/// The request on the way, of which there is one at a time. `T` is who waits for the answer.
#[derive(Debug, Default)]
pub struct Control<T> {
    /// The number of the last request.
    generation: u32,
    /// Who waits for the answer to it.
    waiting: Option<T>,
}

impl<T> Control<T> {
    /// No requests.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            generation: 0,
            waiting: None,
        }
    }

    /// Begins a request and returns its transaction id. An earlier one is given up.
    pub fn begin(&mut self, waiting: T) -> u64 {
        let generation = self.generation.wrapping_add(1);
        *self = Self {
            generation,
            waiting: Some(waiting),
        };
        Transaction::Control { generation }.id()
    }

    /// The host has answered: who has waited for that. `None` for an answer that comes twice or too late.
    pub fn answered(&mut self, generation: u32) -> Option<T> {
        self.waiting.take_if(|_| self.generation == generation)
    }

    /// Gives the request up, if there is one: who has waited for it.
    pub fn give_up(&mut self) -> Option<T> {
        self.waiting.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins a request and returns its generation.
    fn begin(control: &mut Control<char>, waiting: char) -> u32 {
        match Transaction::from_id(control.begin(waiting)) {
            Transaction::Control { generation } => generation,
            other => std::panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_for_its_own_request() {
        let mut control = Control::new();
        assert_eq!(control.answered(0), None);
        let first = begin(&mut control, 'a');
        assert_eq!(control.answered(first.wrapping_add(1)), None);
        assert_eq!(control.answered(first), Some('a'));
        assert_eq!(control.answered(first), None);
        let second = begin(&mut control, 'b');
        assert_eq!(control.give_up(), Some('b'));
        assert_eq!(control.give_up(), None);
        assert_eq!(control.answered(second), None);
        let third = begin(&mut control, 'c');
        assert_eq!(control.answered(second), None, "too late");
        assert_eq!(control.answered(third), Some('c'));
    }

    #[test]
    fn numbers_come_round() {
        let mut control = Control {
            generation: u32::MAX,
            waiting: None,
        };
        assert_eq!(begin(&mut control, 'a'), 0);
        assert_eq!(control.answered(0), Some('a'));
    }
}
