// SPDX-License-Identifier: GPL-2.0

//! Where LUNs are: path, target and number, as the kernel and the protocol count them.

use core::fmt;

/// Paths of a SCSI controller (`STORVSC_MAX_CHANNELS`).
pub const PATHS: u8 = 8;
/// Targets of each (`STORVSC_MAX_TARGETS`).
pub const TARGETS: u8 = 2;
/// LUNs of each (`STORVSC_MAX_LUNS_PER_TARGET`).
pub const LUNS: u8 = 255;
/// LUNs of the one target of an IDE disk (`STORVSC_IDE_MAX_LUNS_PER_TARGET`).
pub const IDE_LUNS: u8 = 64;

/// Where a LUN is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which bus of the controller; the kernel says channel.
    pub path: u8,
    /// Which target of the bus.
    pub target: u8,
    /// Which LUN of the target.
    pub lun: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.target, self.lun)
    }
}

/// The three parts as one number, for comparisons.
impl From<Address> for u32 {
    #[inline]
    fn from(Address { path, target, lun }: Address) -> Self {
        Self::from_be_bytes([0, path, target, lun])
    }
}

impl Address {
    /// How many addresses a controller has.
    pub const COUNT: usize = 8 * 2 * 256;

    /// The address as a number below [`Self::COUNT`]; `None` for one that no controller has.
    #[must_use]
    #[inline]
    pub fn index(self) -> Option<usize> {
        if self.path >= PATHS || self.target >= TARGETS {
            return None;
        }
        let [path, target, lun] = [self.path, self.target, self.lun].map(usize::from);
        Some(path << 9 | target << 8 | lun)
    }

    /// The address that has this number.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        Some(Self {
            path: u8::try_from(index >> 9).ok().filter(|path| *path < PATHS)?,
            target: u8::try_from(index >> 8 & 1).ok()?,
            lun: u8::try_from(index & 0xff).ok()?,
        })
    }
}

/// The geometry that programs of old ask for: heads, sectors of a track and cylinders, made up the way Linux' driver
/// does, so that a disk shows the same one.
#[must_use]
pub fn geometry(sectors: u64) -> [u32; 3] {
    const HEADS: u32 = 255;
    const SECTORS: u32 = 63;
    let of_cylinder = u64::from(HEADS.wrapping_mul(SECTORS));
    let cylinders = sectors.checked_div(of_cylinder).unwrap_or(0);
    [HEADS, SECTORS, u32::try_from(cylinders).unwrap_or(0xffff)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for index in 0..Address::COUNT {
            assert_eq!(Address::from_index(index).unwrap().index(), Some(index));
        }
        assert_eq!(Address::from_index(Address::COUNT), None);
        assert_eq!(Address::from_index(usize::MAX), None);
        let address = |path, target, lun| Address { path, target, lun }.index();
        assert_eq!(address(7, 1, 255), Some(Address::COUNT - 1));
        assert_eq!((address(8, 0, 0), address(0, 2, 0)), (None, None));
        let last = Address::from_index(Address::COUNT - 1).unwrap();
        assert_eq!(std::format!("{last}"), "7:1:255");
    }

    #[test]
    fn geometries() {
        assert_eq!(geometry(0), [255, 63, 0]);
        assert_eq!(geometry(255 * 63 - 1), [255, 63, 0]);
        assert_eq!(geometry(255 * 63), [255, 63, 1]);
        assert_eq!(geometry(u64::MAX), [255, 63, 0xffff]);
    }
}
