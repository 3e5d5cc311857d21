// SPDX-License-Identifier: GPL-2.0

//! The table of requests, against a map as the model.

use std::collections::HashMap;

use vmbus_ring::inflight::{Full, Slot, Table};

use crate::input::Input;

/// Slots in the table.
const SLOTS: usize = 5;

/// Steps: 0 insert, 1 complete by an id that was given out, 2 complete by any id, 3 drain.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let slots: Vec<_> = core::iter::repeat_with(Slot::new).take(SLOTS).collect();
    let mut table = Table::new(slots);
    let mut waiting = HashMap::new();
    let mut given = Vec::new();
    while !input.is_empty() {
        match input.u8() % 4 {
            0 => match table.insert(given.len()) {
                Ok(id) => {
                    assert!(id != 0 && !given.contains(&id), "an id is never used again");
                    waiting.insert(id, given.len());
                    given.push(id);
                }
                Err(Full(request)) => assert!(request == given.len() && waiting.len() == SLOTS),
            },
            1 => {
                if let Some(id) = given.get(usize::from(input.u8())) {
                    assert_eq!(table.take(*id).ok(), waiting.remove(id));
                }
            }
            2 => {
                let id = input.u64();
                assert_eq!(table.take(id).ok(), waiting.remove(&id));
            }
            _ => {
                let count = usize::from(input.u8());
                let drained: Vec<_> = table.drain().take(count).collect();
                for request in &drained {
                    assert_eq!(waiting.remove(&given[*request]), Some(*request));
                }
                assert!(drained.len() == count || waiting.is_empty());
            }
        }
        assert_eq!(table.len(), waiting.len());
    }
}
