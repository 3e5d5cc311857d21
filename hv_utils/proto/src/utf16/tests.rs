// SPDX-License-Identifier: GPL-2.0

//! Tests of texts in fields.

use super::*;
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;

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

/// Reads back what [`to_utf8`] wrote.
fn utf8(field: &[u8]) -> &str {
    let text = field.split(|byte| *byte == 0).next().unwrap();
    core::str::from_utf8(text).unwrap()
}

#[test]
fn utf8_needs_room_for_its_end_too() {
    let mut field = [7; 4];
    for (text, length) in [
        ("", Ok(1)),
        ("abc", Ok(4)),
        ("€", Ok(4)),
        ("abcd", Err(TooLong)),
        ("🙂", Err(TooLong)),
    ] {
        assert_eq!(to_utf8(text.chars(), &mut field), length, "{text}");
    }
    assert_eq!(to_utf8("é".chars(), &mut field), Ok(3));
    assert_eq!(field, [0xc3, 0xa9, 0, 0]);
    assert_eq!(to_utf8("".chars(), &mut []), Err(TooLong));
}

#[test]
fn what_is_too_long_for_the_host_ends_between_characters() {
    let mut field = [U16::new(7); 4];
    for (text, length, read) in [
        (&b"abcd\0"[..], 4, "abc"),
        (b"ab\0cd", 3, "ab"),
        ("ab🙂".as_bytes(), 3, "ab"),
        ("a🙂".as_bytes(), 4, "a🙂"),
        (b"a\xff\xc3", 4, "a\u{fffd}\u{fffd}"),
        (b"", 1, ""),
    ] {
        assert_eq!(encode_lossy(text, &mut field), length, "{read}");
        assert_eq!(decode(&field).unwrap().collect::<String>(), read);
        assert!(field[length - 1..].iter().all(|unit| unit.get() == 0));
    }
    assert_eq!(encode_lossy(b"a", &mut []), 1);
}

proptest! {
    /// Through UTF-8 and back, in fields of any length: what fits survives, and what does not is refused or cut.
    #[test]
    fn utf8_survives_or_is_refused(text in "[^\0]{0,40}", bytes in 0usize..90, length in 1usize..90) {
        let mut field = std::vec![7; bytes];
        match to_utf8(text.chars(), &mut field) {
            Ok(used) => {
                prop_assert_eq!((utf8(&field), used), (&*text, text.len() + 1));
                let mut units = std::vec![U16::new(7); length];
                let used = encode_lossy(&field, &mut units);
                let read: String = decode(&units).unwrap().collect();
                prop_assert!(used <= length && text.starts_with(&read));
                prop_assert_eq!(used, read.encode_utf16().count() + 1);
                prop_assert!(read.len() == text.len() || used + 1 >= length);
            }
            Err(TooLong) => prop_assert!(text.len() + 1 > bytes),
        }
    }

    /// A daemon may write anything.
    #[test]
    fn any_bytes_become_text(bytes: Vec<u8>, length in 0usize..40) {
        let mut units = std::vec![U16::new(7); length];
        let used = encode_lossy(&bytes, &mut units);
        prop_assert!(used <= length.max(1));
        prop_assert!(decode(&units).is_ok());
    }
}
