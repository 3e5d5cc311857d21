// SPDX-License-Identifier: GPL-2.0

//! GUIDs as Hyper-V puts them on the wire.

use core::fmt;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where each byte of the wire form stands in the text form: the first three groups are little-endian integers.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

/// The length of the text form.
const TEXT_LEN: usize = 36;

/// A GUID in its mixed-endian wire form (`guid_t` in the kernel), 16 bytes without alignment.
///
/// [`Display`](fmt::Display) prints the lower-case hyphenated form, which is the kernel's `%pUl`.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Guid([u8; 16]);

impl Guid {
    /// The GUID of which all bits are zero.
    pub const ZERO: Self = Self([0; 16]);

    /// Wraps the 16 bytes of the wire form.
    #[must_use]
    pub const fn from_bytes(wire: [u8; 16]) -> Self {
        Self(wire)
    }

    /// The 16 bytes of the wire form.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Parses the hyphenated text form in a constant; malformed text does not compile.
    ///
    /// ```
    /// # use hvdef::Guid;
    /// const SCSI: Guid = Guid::parse("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
    /// assert_eq!(SCSI.to_string(), "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics where the text is malformed. Use it in constants only; [`Guid::from_ascii`] is for text of run time.
    #[must_use]
    #[allow(
        clippy::panic,
        reason = "Evaluated in constants, where this is a compile error."
    )]
    pub const fn parse(text: &str) -> Self {
        match Self::from_ascii(text.as_bytes()) {
            Some(guid) => guid,
            None => panic!("malformed GUID"),
        }
    }

    /// Parses the hyphenated text form in either case, without braces.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "A const fn has no iterators. The length is checked first, and every index is below it."
    )]
    pub const fn from_ascii(text: &[u8]) -> Option<Self> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut wire = [0; 16];
        let (mut at, mut byte) = (0, 0);
        while byte < 16 {
            if matches!(at, 8 | 13 | 18 | 23) {
                if text[at] != b'-' {
                    return None;
                }
                at += 1;
            }
            let (Some(high), Some(low)) = (hex_digit(text[at]), hex_digit(text[at + 1])) else {
                return None;
            };
            wire[TEXT_ORDER[byte]] = high << 4 | low;
            at += 2;
            byte += 1;
        }
        Some(Self(wire))
    }
}

/// The value of one hexadecimal digit.
const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, from) in TEXT_ORDER.into_iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0.get(from).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn text_is_mixed_endian_on_the_wire() {
        let guid = Guid::parse("00112233-4455-6677-8899-AABBCCDDEEFF");
        let wire = [
            0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
            0xff,
        ];
        assert_eq!(guid.to_bytes(), wire);
        assert_eq!(guid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in [
            "",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeeff0",
            "00112233-4455-6677-8899-aabbccddeefg",
            "0011223304455-6677-8899-aabbccddeeff",
            "{0112233-4455-6677-8899-aabbccddeef}",
        ] {
            assert_eq!(Guid::from_ascii(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_guid_survives_text(wire: [u8; 16]) {
            let guid = Guid::from_bytes(wire);
            prop_assert_eq!(Guid::from_ascii(guid.to_string().as_bytes()), Some(guid));
        }

        #[test]
        fn any_text_parses_without_a_panic(text: Vec<u8>) {
            let _ = Guid::from_ascii(&text);
        }
    }
}
