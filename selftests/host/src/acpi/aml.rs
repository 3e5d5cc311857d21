// SPDX-License-Identifier: GPL-2.0

//! As much of ACPI's machine language as our devices need.

/// The length of what is longer than one byte can say takes two, of 12 bits together.
const LONG: usize = 0x40;

/// An operator with a length before its content, which is shorter than 4094 bytes.
fn sized(operator: &[u8], content: &[u8]) -> Vec<u8> {
    // The length counts its own bytes.
    let short = content.len().saturating_add(1);
    let long = content.len().saturating_add(2);
    let low = |value: usize| value.to_le_bytes()[0];
    let length = if short < LONG {
        vec![low(short)]
    } else {
        vec![low(LONG | long & 0xf), low(long >> 4)]
    };
    [operator, &length, content].concat()
}

/// `Name (NAME, value)`.
pub(super) fn name(name: &[u8; 4], value: &[u8]) -> Vec<u8> {
    [&[0x08], &name[..], value].concat()
}

/// A number of 8 bits.
pub(super) fn byte(value: u8) -> Vec<u8> {
    vec![0x0a, value]
}

/// A text.
pub(super) fn string(text: &str) -> Vec<u8> {
    [&[0x0d], text.as_bytes(), &[0]].concat()
}

/// A package of numbers of 8 bits.
pub(super) fn package(values: &[u8]) -> Vec<u8> {
    let mut content = vec![u8::try_from(values.len()).unwrap_or(u8::MAX)];
    content.extend(values.iter().flat_map(|value| byte(*value)));
    sized(&[0x12], &content)
}

/// `Scope (path) { content }`.
pub(super) fn scope(path: &[u8], content: &[u8]) -> Vec<u8> {
    sized(&[0x10], &[path, content].concat())
}

/// `Device (NAME) { content }`.
pub(super) fn device(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    sized(&[0x5b, 0x82], &[&name[..], content].concat())
}

/// A buffer of resource descriptors, shorter than 254 bytes.
pub(super) fn resources(descriptors: &[u8]) -> Vec<u8> {
    // The end tag, without a checksum.
    let bytes = [descriptors, &[0x79, 0]].concat();
    let size = byte(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    sized(&[0x11], &[size, bytes].concat())
}

/// Start of a descriptor of an address space: its tag and length, then memory, of a producer, with both ends fixed;
/// cacheable, to be read and written.
fn memory(tag: u8, length: u8) -> [u8; 6] {
    [tag, length, 0, 0, 0x0c, 3]
}

/// A window of memory below 4 GiB, both ends included.
pub(super) fn memory32(start: u32, end: u32) -> Vec<u8> {
    let length = end.wrapping_sub(start).wrapping_add(1);
    // Granularity, ends, translation, length.
    let numbers = [0, start, end, 0, length].map(u32::to_le_bytes).concat();
    [&memory(0x87, 23)[..], &numbers].concat()
}

/// A window of memory, both ends included.
pub(super) fn memory64(start: u64, end: u64) -> Vec<u8> {
    let length = end.wrapping_sub(start).wrapping_add(1);
    let numbers = [0, start, end, 0, length].map(u64::to_le_bytes).concat();
    [&memory(0x8a, 43)[..], &numbers].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for (content, first) in [
            (0, vec![0x10, 1]),
            (62, vec![0x10, 63]),
            (63, vec![0x10, 0x41, 4]),
            (1000, vec![0x10, 0x4a, 0x3e]),
        ] {
            let bytes = scope(&[], &vec![0x5a; content]);
            assert!(bytes.starts_with(&first), "{content}");
            assert_eq!(bytes.len(), first.len().saturating_add(content));
        }
    }

    #[test]
    fn values_are_encoded_as_the_specification_says() {
        assert_eq!(name(b"_UID", &byte(7)), b"\x08_UID\x0a\x07");
        assert_eq!(string("A"), b"\x0dA\0");
        assert_eq!(package(&[5, 0]), b"\x12\x06\x02\x0a\x05\x0a\x00");
        assert_eq!(resources(&[]), b"\x11\x05\x0a\x02\x79\x00");
        assert_eq!(
            memory32(0x1000, 0x1fff).get(22..),
            Some(&[0, 0x10, 0, 0][..])
        );
        assert_eq!(memory64(0x1000, 0x1fff).len(), 46);
    }
}
