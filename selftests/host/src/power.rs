// SPDX-License-Identifier: GPL-2.0

//! ACPI's PM1 registers: the power button and the way off.

use crate::acpi::S5;

/// Size of the registers: status, enable, control, of 16 bits each.
pub(crate) const SIZE: u16 = 6;
/// In the upper byte of status and enable: the power button.
const POWER_BUTTON: u8 = 1;
/// In the lower byte of control: ACPI mode is on; always so.
const SCI_ENABLE: u8 = 1;
/// In the upper byte of control: sleep.
const SLEEP: u8 = 1 << 5;

/// The registers.
#[derive(Default)]
pub(crate) struct Power {
    /// The upper byte of the events; no event is in the lower one.
    status: u8,
    /// Those that interrupt. A guest reads back what it wrote.
    enable: [u8; 2],
}

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PowerRequest {
    /// Nothing.
    None,
    /// Off.
    Off,
}

impl Power {
    /// The guest reads the byte at an offset.
    pub(crate) fn read(&self, offset: u16) -> u8 {
        match offset {
            1 => self.status,
            2 => self.enable[0],
            3 => self.enable[1],
            4 => SCI_ENABLE,
            _ => 0,
        }
    }

    /// The guest writes the byte at an offset.
    pub(crate) fn write(&mut self, offset: u16, value: u8) -> PowerRequest {
        match offset {
            1 => self.status &= !value,
            2 => self.enable[0] = value,
            3 => self.enable[1] = value,
            5 if value & SLEEP != 0 && value >> 2 & 7 == S5 => return PowerRequest::Off,
            _ => {}
        }
        PowerRequest::None
    }

    /// Somebody presses the power button.
    pub(crate) fn press_button(&mut self) {
        self.status |= POWER_BUTTON;
    }

    /// Whether the interrupt is raised.
    pub(crate) fn interrupts(&self) -> bool {
        self.status & self.enable[1] != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_s5_switches_off() {
        let mut power = Power::default();
        for kind in 0..8u8 {
            let expected = if kind == S5 {
                PowerRequest::Off
            } else {
                PowerRequest::None
            };
            assert_eq!(power.write(5, SLEEP | kind << 2), expected);
            assert_eq!(power.write(5, kind << 2), PowerRequest::None);
        }
    }

    #[test]
    fn the_button_interrupts_until_the_guest_clears_it() {
        let mut power = Power::default();
        power.press_button();
        assert!(!power.interrupts());
        power.write(2, 0x20);
        power.write(3, 0xff);
        assert_eq!((power.read(2), power.read(3)), (0x20, 0xff));
        assert!(power.interrupts());
        assert_eq!(power.read(1), POWER_BUTTON);
        power.write(1, POWER_BUTTON);
        assert!(!power.interrupts());
        assert_eq!(power.read(4), SCI_ENABLE);
    }
}
