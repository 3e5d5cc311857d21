// SPDX-License-Identifier: GPL-2.0

//! Text in fields of fixed length: UTF-16, little-endian, ended by a zero unit.

use zerocopy::little_endian::U16;
use zerocopy::FromBytes as _;

/// A text with its end takes more units than its field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// A surrogate stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpaired;

/// The characters of a text that was checked.
#[derive(Clone, Debug)]
pub struct Chars<'a>(core::char::DecodeUtf16<Units<'a>>);

/// The units of a field up to the first zero.
#[derive(Clone, Debug)]
struct Units<'a>(core::slice::Iter<'a, U16>);

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.0
            .next()
            .map(|unit| unit.get())
            .filter(|unit| *unit != 0)
    }
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        self.0.next()?.ok()
    }
}

/// The characters up to the first zero unit, or to the end of the field.
///
/// # Errors
///
/// [`Unpaired`].
pub fn decode(field: &[U16]) -> Result<Chars<'_>, Unpaired> {
    let chars = core::char::decode_utf16(Units(field.iter()));
    if chars.clone().any(|unit| unit.is_err()) {
        return Err(Unpaired);
    }
    Ok(Chars(chars))
}

/// Writes a text and its end, and zeros up to the end of the field; returns the length in units, the end included.
///
/// # Errors
///
/// [`TooLong`], and then the field is all zeros. A text that has a zero character in it ends there.
pub fn encode(text: &str, field: &mut [U16]) -> Result<usize, TooLong> {
    field.fill(U16::new(0));
    let text = text.split('\0').next().unwrap_or_default();
    let length = text.encode_utf16().count().saturating_add(1);
    if length > field.len() {
        return Err(TooLong);
    }
    for (unit, to) in text.encode_utf16().zip(field) {
        *to = U16::new(unit);
    }
    Ok(length)
}

/// Writes the characters of a UTF-8 text up to its first zero byte, as many as fit with an end, and zeros up to the end of
/// the field; returns the length in units, the end included. What is no UTF-8 becomes U+FFFD.
pub fn encode_lossy(text: &[u8], field: &mut [U16]) -> usize {
    field.fill(U16::new(0));
    let room = field.len().saturating_sub(1);
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut used: usize = 0;
    for chunk in text.utf8_chunks() {
        let replacement = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for char in chunk.valid().chars().chain(replacement) {
            let end = used.saturating_add(char.len_utf16());
            if end > room {
                return used.saturating_add(1);
            }
            let mut units = [0; 2];
            let units = char.encode_utf16(&mut units).iter();
            let to = field.get_mut(used..end).unwrap_or_default();
            for (to, unit) in to.iter_mut().zip(units) {
                *to = U16::new(*unit);
            }
            used = end;
        }
    }
    used.saturating_add(1)
}

/// Writes characters as UTF-8 and an end, and zeros up to the end of the field; returns the length in bytes, the end included.
///
/// # Errors
///
/// [`TooLong`], and then the start of the text is in the field.
pub fn to_utf8(chars: impl Iterator<Item = char>, field: &mut [u8]) -> Result<usize, TooLong> {
    field.fill(0);
    let room = field.len().checked_sub(1).ok_or(TooLong)?;
    let mut used: usize = 0;
    for char in chars {
        // Not into the field itself: that can panic, in a way that the kernel's objtool does not know.
        let mut encoded = [0; 4];
        let encoded = char.encode_utf8(&mut encoded).as_bytes();
        let end = used.saturating_add(encoded.len());
        let to = field.get_mut(used..end).filter(|_| end <= room);
        let places = to.ok_or(TooLong)?.iter_mut();
        places.zip(encoded).for_each(|(to, from)| *to = *from);
        used = end;
    }
    Ok(used.saturating_add(1))
}

/// A byte field as units, if its length is even.
#[must_use]
pub fn units(field: &[u8]) -> Option<&[U16]> {
    <[U16]>::ref_from_bytes(field).ok()
}

/// As [`units`], to write.
#[must_use]
pub fn units_mut(field: &mut [u8]) -> Option<&mut [U16]> {
    <[U16]>::mut_from_bytes(field).ok()
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]
mod tests;
