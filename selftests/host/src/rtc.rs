// SPDX-License-Identifier: GPL-2.0

//! The clock of the PC's CMOS, read-only and in UTC: where a guest gets the date from at boot.

use std::time::{SystemTime, UNIX_EPOCH};

/// Port that selects a register.
pub(crate) const SELECT: u16 = 0x70;
/// Port that reads it.
pub(crate) const DATA: u16 = 0x71;
/// The register of the century.
pub(crate) const CENTURY: u8 = 0x32;

/// The clock.
#[derive(Default)]
pub(crate) struct Rtc {
    /// The register that was selected.
    selected: u8,
}

impl Rtc {
    /// The guest selects a register; bit 7 masks the NMI, which there is none of.
    pub(crate) fn select(&mut self, value: u8) {
        self.selected = value & 0x7f;
    }

    /// The guest reads the selected register.
    pub(crate) fn read(&self) -> u8 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        register(self.selected, now)
    }
}

/// The value of a register, `now` seconds after 1970.
fn register(register: u8, now: u64) -> u8 {
    let date = Date::of(now);
    let value = match register {
        0x00 => now.wrapping_rem(60),
        0x02 => now.wrapping_div(60).wrapping_rem(60),
        0x04 => now.wrapping_div(3600).wrapping_rem(24),
        // Sunday is 1; 1970 began on a Thursday.
        0x06 => now
            .wrapping_div(86400)
            .wrapping_add(4)
            .wrapping_rem(7)
            .wrapping_add(1),
        0x07 => date.day,
        0x08 => date.month,
        0x09 => date.year.wrapping_rem(100),
        CENTURY => date.year.wrapping_div(100),
        // A: the usual divider, no update in progress. B: 24 hours, BCD. D: the battery is good.
        0x0a => return 0x26,
        0x0b => return 0x02,
        0x0d => return 0x80,
        _ => return 0,
    };
    bcd(value)
}

/// Two decimal digits.
fn bcd(value: u64) -> u8 {
    let digits = value
        .wrapping_div(10)
        .wrapping_mul(16)
        .wrapping_add(value.wrapping_rem(10));
    digits.to_le_bytes()[0]
}

/// A day of the Gregorian calendar.
#[derive(Debug, PartialEq, Eq)]
struct Date {
    /// For instance 1970.
    year: u64,
    /// 1 to 12.
    month: u64,
    /// 1 to 31.
    day: u64,
}

impl Date {
    /// The day of a time in seconds after 1970.
    fn of(now: u64) -> Self {
        let mut day = now.wrapping_div(86400);
        let mut year = 1970u64;
        loop {
            let length = if is_leap(year) { 366 } else { 365 };
            if day < length {
                break;
            }
            day = day.wrapping_sub(length);
            year = year.wrapping_add(1);
        }
        let february = if is_leap(year) { 29 } else { 28 };
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if day < length {
                break;
            }
            day = day.wrapping_sub(length);
            month = u64::wrapping_add(month, 1);
        }
        Self {
            year,
            month,
            day: day.wrapping_add(1),
        }
    }
}

/// Whether a year has a 29th of February.
fn is_leap(year: u64) -> bool {
    year & 3 == 0 && (year.wrapping_rem(100) != 0 || year.wrapping_rem(400) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        let date = |year, month, day| Date { year, month, day };
        assert_eq!(Date::of(0), date(1970, 1, 1));
        assert_eq!(Date::of(951_782_399), date(2000, 2, 28));
        assert_eq!(Date::of(951_782_400), date(2000, 2, 29));
        assert_eq!(Date::of(951_868_800), date(2000, 3, 1));
        assert_eq!(Date::of(1_709_164_800), date(2024, 2, 29));
        assert_eq!(Date::of(4_107_542_400), date(2100, 3, 1));
        assert_eq!(Date::of(1_735_689_599), date(2024, 12, 31));
    }

    #[test]
    fn registers() {
        // 2026-11-22 23:59:58 UTC, a Sunday.
        let now = 1_795_391_998;
        let read = |number| register(number, now);
        assert_eq!([read(0x04), read(0x02), read(0x00)], [0x23, 0x59, 0x58]);
        assert_eq!(
            [read(CENTURY), read(0x09), read(0x08), read(0x07)],
            [0x20, 0x26, 0x11, 0x22]
        );
        assert_eq!(read(0x06), 1);
        assert_eq!(read(0x0a) & 0x80, 0);
    }
}
