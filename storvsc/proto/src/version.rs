// SPDX-License-Identifier: GPL-2.0

//! Versions of the storage protocol.

use core::fmt;
use hvdef::open_enum;
use zerocopy::little_endian::U16;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

open_enum! {
    /// A version: the major number in the upper 8 bits, the minor one in the lower (`VMSTOR_PROTO_VERSION`).
    pub enum Version: u16 {
        /// Windows 8 and Windows Server 2012. No longer spoken by Linux.
        V5_1 = 0x0501,
        /// Windows 8.1 and Windows Server 2012 R2, and the paravisor of Azure.
        V6_0 = 0x0600,
        /// Windows 10, Windows Server 2016 and newer.
        V6_2 = 0x0602,
    }
}

impl Version {
    /// The versions that we speak, best first.
    pub const SUPPORTED: [Self; 2] = [Self::V6_2, Self::V6_0];

    /// The next older version that we speak.
    #[must_use]
    pub fn older(self) -> Option<Self> {
        Self::SUPPORTED.into_iter().find(|version| *version < self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 8, self.0 & 0xff)
    }
}

/// A proposal of a version (`struct vmstorage_protocol_version`): 4 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ProtocolVersion {
    /// A [`Version`].
    pub major_minor: U16,
    /// The sender's build; used by Windows only.
    pub revision: U16,
}
const _: () = assert!(size_of::<ProtocolVersion>() == 4);

impl ProtocolVersion {
    /// The proposal of a version.
    #[must_use]
    pub const fn new(version: Version) -> Self {
        Self {
            major_minor: U16::new(version.0),
            revision: U16::ZERO,
        }
    }

    /// The version proposed.
    #[must_use]
    pub const fn version(&self) -> Version {
        Version(self.major_minor.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::span_of;
    use std::string::ToString as _;
    use zerocopy::IntoBytes as _;

    #[test]
    fn layout() {
        assert_eq!(span_of!(ProtocolVersion, major_minor), 0..2);
        assert_eq!(span_of!(ProtocolVersion, revision), 2..4);
        assert_eq!(ProtocolVersion::new(Version::V6_2).as_bytes(), [2, 6, 0, 0]);
    }

    #[test]
    fn versions_are_tried_from_the_best_down() {
        assert_eq!(Version(u16::MAX).older(), Some(Version::V6_2));
        assert_eq!(Version::V6_2.older(), Some(Version::V6_0));
        assert_eq!(Version::V6_0.older(), None);
        assert_eq!(Version::V6_2.to_string(), "6.2");
        assert_eq!(std::format!("{:?}", Version(0x0703)), "0x703");
    }
}
