// SPDX-License-Identifier: GPL-2.0

//! Tests of texts in fields.

use super::*;
use proptest::prelude::*;
use std::string::String;

/// Encodes, and reads back.
fn round_trip(text: &str, length: usize) -> Result<String, TooLong> {
    let mut field = std::vec![U16::new(0xdead); length];
    let written = encode(text, &mut field)?;
    let used = text.split('\0').next().unwrap().encode_utf16().count();
    assert_eq!(written.checked_sub(1), Some(used));
    assert!(field[used..].iter().all(|unit| unit.get() == 0));
    Ok(decode(&field).unwrap().collect())
}

#[test]
fn a_text_needs_room_for_its_end() {
    assert_eq!(round_trip("", 1).as_deref(), Ok(""));
    assert_eq!(round_trip("abc", 4).as_deref(), Ok("abc"));
    assert_eq!(round_trip("abc", 3), Err(TooLong));
    assert_eq!(round_trip("", 0), Err(TooLong));
    // Two units.
    assert_eq!(round_trip("🙂", 3).as_deref(), Ok("🙂"));
    assert_eq!(round_trip("🙂", 2), Err(TooLong));
}

#[test]
fn what_does_not_fit_leaves_nothing_behind() {
    let mut field = [U16::new(7); 3];
    assert_eq!(encode("abc", &mut field), Err(TooLong));
    assert_eq!(field, [U16::new(0); 3]);
}

#[test]
fn a_text_ends_at_the_first_zero_or_with_its_field() {
    let field = [97, 98, 0, 0xd800].map(U16::new);
    assert_eq!(decode(&field).unwrap().collect::<String>(), "ab");
    assert_eq!(decode(&field[..2]).unwrap().collect::<String>(), "ab");
    assert_eq!(round_trip("a\0b", 4).as_deref(), Ok("a"));
}

#[test]
fn lone_surrogates_are_no_text() {
    for units in [[0xd800, 97], [97, 0xdc00], [0xdc00, 0xd800], [0xd83d, 0]] {
        assert_eq!(decode(&units.map(U16::new)).map(|_| ()), Err(Unpaired));
    }
}

#[test]
fn odd_fields_have_no_units() {
    assert!(units(&[0; 3]).is_none());
    assert_eq!(units(&[1, 0, 2, 0]).unwrap(), [1, 2].map(U16::new));
}

proptest! {
    #[test]
    fn any_text_without_a_zero_survives(text in "[^\0]{0,40}") {
        prop_assert_eq!(round_trip(&text, 81), Ok(text));
    }
}
