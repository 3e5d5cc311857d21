// SPDX-License-Identifier: GPL-2.0

use std::collections::HashMap;
use std::vec::Vec;

use proptest::prelude::*;

use crate::inflight::{Full, Slot, Table, Unknown};

fn slots(count: usize) -> Vec<Slot<u32>> {
    core::iter::repeat_with(Slot::new).take(count).collect()
}

#[test]
fn requests_come_back_once() {
    let mut table = Table::new(slots(2));
    let first = table.insert(1).unwrap();
    let second = table.insert(2).unwrap();
    assert_ne!(first, second);
    assert_eq!(table.insert(3), Err(Full(3)));
    assert_eq!(table.len(), 2);
    assert_eq!(table.take(first), Ok(1));
    assert_eq!(table.take(first), Err(Unknown), "replay");
    assert_eq!(table.take(second), Ok(2));
    assert!(table.is_empty());
}

#[test]
fn an_id_of_a_former_request_does_not_name_the_next_one_in_its_slot() {
    let mut table = Table::new(slots(1));
    let old = table.insert(1).unwrap();
    assert_eq!(table.take(old), Ok(1));
    let new = table.insert(2).unwrap();
    assert_eq!(table.take(old), Err(Unknown));
    assert_eq!(table.take(new), Ok(2));
}

#[test]
fn made_up_ids_are_unknown() {
    let mut table = Table::new(slots(3));
    let id = table.insert(1).unwrap();
    for made_up in [
        0,
        id + 1,
        id + 3,
        id + (1 << 32),
        u64::from(u32::MAX),
        u64::MAX,
        1 << 63,
    ] {
        assert_eq!(table.take(made_up), Err(Unknown), "{made_up:#x}");
    }
    assert_eq!(table.take(id), Ok(1));
}

#[test]
fn ids_of_0_are_never_given_out() {
    let mut table = Table::new(slots(2));
    for request in 0..1000 {
        let id = table.insert(request).unwrap();
        assert_ne!(id, 0);
        assert_eq!(table.take(id), Ok(request));
    }
}

#[test]
fn draining_ends_all_requests_and_their_ids() {
    let mut table = Table::new(slots(4));
    let ids: Vec<_> = (0..4)
        .map(|request| table.insert(request).unwrap())
        .collect();
    table.take(ids[1]).unwrap();
    assert_eq!(table.drain().collect::<Vec<_>>(), [0, 2, 3]);
    assert!(table.is_empty());
    for id in ids {
        assert_eq!(table.take(id), Err(Unknown));
    }
    for request in 0..4 {
        table.insert(request).unwrap();
    }
    assert_eq!(table.insert(4), Err(Full(4)));
}

#[test]
fn draining_may_stop_half_way() {
    let mut table = Table::new(slots(3));
    let ids: Vec<_> = (0..3)
        .map(|request| table.insert(request).unwrap())
        .collect();
    assert_eq!(table.drain().next(), Some(0));
    assert_eq!(table.len(), 2);
    assert_eq!(table.take(ids[2]), Ok(2));
}

#[test]
fn a_table_without_slots_is_full() {
    assert_eq!(Table::new(slots(0)).insert(1), Err(Full(1)));
}

#[test]
fn borrowed_storage_does_too() {
    let mut storage = slots(1);
    let mut table = Table::new(storage.as_mut_slice());
    let id = table.insert(5).unwrap();
    assert_eq!(table.take(id), Ok(5));
}

proptest! {
    /// Against a map as the model: steps are an insertion, a completion by a waiting id, by a
    /// former id, or by any number.
    #[test]
    fn the_table_is_a_map(steps in proptest::collection::vec((0..4u8, any::<u64>()), 0..300)) {
        let mut table = Table::new(slots(8));
        let mut model = HashMap::new();
        let mut given = Vec::new();
        for (step, number) in steps {
            let request = u32::try_from(given.len()).unwrap();
            match (step, given.as_slice()) {
                (0, _) => match table.insert(request) {
                    Ok(id) => {
                        prop_assert!(!given.contains(&id), "an id is never used again");
                        model.insert(id, request);
                        given.push(id);
                    }
                    Err(Full(back)) => {
                        prop_assert_eq!(back, request);
                        prop_assert_eq!(model.len(), 8);
                    }
                },
                (1 | 2, ids) if !ids.is_empty() => {
                    let index = usize::try_from(number % u64::try_from(ids.len()).unwrap()).unwrap();
                    prop_assert_eq!(table.take(ids[index]).ok(), model.remove(&ids[index]));
                }
                _ => prop_assert_eq!(table.take(number).ok(), model.remove(&number)),
            }
            prop_assert_eq!(table.len(), model.len());
        }
        let mut left: Vec<_> = table.drain().collect();
        let mut expected: Vec<_> = model.into_values().collect();
        left.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(left, expected);
    }
}
