// SPDX-License-Identifier: GPL-2.0

//! The devices behind I/O ports.

use crate::acpi::{PM1_EVENT, RESET, RESET_VALUE, SCI};
use crate::power::{self, Power, PowerRequest};
use crate::rtc::{self, Rtc};
use crate::sync::lock;
use crate::uart::{self, Irq, Sink, Uart};
use kvm_ioctls::VmFd;
use std::sync::{Arc, Mutex};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// First port and interrupt of the console, ttyS0.
const CONSOLE: (u16, u32) = (0x3f8, 4);
/// First port and interrupt of the guest's line to the host, ttyS1.
const REQUESTS: (u16, u32) = (0x2f8, 3);
/// Port of the keyboard controller's commands and status; there is no keyboard.
const KEYBOARD: u16 = 0x64;
/// Command to the keyboard controller: pulse the reset line.
const KEYBOARD_RESET: u8 = 0xfe;
/// What a port without a device reads as.
const NOTHING: u8 = 0xff;

/// What a write to a port asks the machine to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// End: power off.
    PowerOff,
    /// End: reset.
    Reset,
    /// Answer a request, one line of JSON without the newline.
    Request(Vec<u8>),
}

/// The devices.
pub(crate) struct Ports {
    /// Raises the interrupt of fixed ACPI events.
    vm: Arc<VmFd>,
    /// ttyS0.
    console: Mutex<Uart>,
    /// ttyS1. Answers come from any thread.
    requests: Arc<Mutex<Uart>>,
    /// ACPI.
    power: Mutex<Power>,
    /// The date.
    rtc: Mutex<Rtc>,
}

impl Ports {
    /// The devices of a VM that has interrupt controllers.
    ///
    /// # Errors
    ///
    /// A sentence with KVM's error.
    pub(crate) fn new(vm: Arc<VmFd>) -> Result<Self, String> {
        let uart = |(_, gsi): (u16, u32), sink| {
            let event = EventFd::new(EFD_NONBLOCK).map_err(|error| error.to_string())?;
            vm.register_irqfd(&event, gsi)
                .map_err(|error| format!("interrupt {gsi} of a serial port: {error}"))?;
            Ok::<_, String>(Uart::new(Irq(event), sink))
        };
        Ok(Self {
            console: Mutex::new(uart(CONSOLE, Sink::Console)?),
            requests: Arc::new(Mutex::new(uart(REQUESTS, Sink::lines())?)),
            power: Mutex::default(),
            rtc: Mutex::default(),
            vm,
        })
    }

    /// ttyS0.
    pub(crate) fn console(&self) -> &Mutex<Uart> {
        &self.console
    }

    /// ttyS1.
    pub(crate) fn requests(&self) -> &Arc<Mutex<Uart>> {
        &self.requests
    }

    /// Presses the power button.
    pub(crate) fn press_power_button(&self) {
        let mut power = lock(&self.power);
        power.press_button();
        self.update_sci(&power);
    }

    /// Sets the interrupt of fixed events.
    fn update_sci(&self, power: &Power) {
        // It fails only without interrupt controllers.
        let _ = self.vm.set_irq_line(u32::from(SCI), power.interrupts());
    }

    /// The guest writes to a port and, with more than one byte, to those after it.
    pub(crate) fn write(&self, port: u16, bytes: &[u8]) -> Effect {
        (0..)
            .zip(bytes)
            .map(|(offset, byte)| self.write_byte(port.wrapping_add(offset), *byte))
            .find(|effect| *effect != Effect::None)
            .unwrap_or(Effect::None)
    }

    /// The guest writes one byte.
    fn write_byte(&self, port: u16, byte: u8) -> Effect {
        if let Some(offset) = offset(port, CONSOLE.0, uart::PORTS) {
            lock(&self.console).write(narrow(offset), byte);
        } else if let Some(offset) = offset(port, REQUESTS.0, uart::PORTS) {
            let line = lock(&self.requests).write(narrow(offset), byte);
            return line.map_or(Effect::None, Effect::Request);
        } else if let Some(offset) = offset(port, PM1_EVENT, power::SIZE) {
            let mut power = lock(&self.power);
            if power.write(offset, byte) == PowerRequest::Off {
                return Effect::PowerOff;
            }
            self.update_sci(&power);
        } else {
            match (port, byte) {
                (RESET, RESET_VALUE) | (KEYBOARD, KEYBOARD_RESET) => return Effect::Reset,
                (rtc::SELECT, register) => lock(&self.rtc).select(register),
                _ => {}
            }
        }
        Effect::None
    }

    /// The guest reads a port and, with more than one byte, those after it.
    pub(crate) fn read(&self, port: u16, bytes: &mut [u8]) {
        for (offset, byte) in (0..).zip(bytes) {
            *byte = self.read_byte(port.wrapping_add(offset));
        }
    }

    /// The guest reads one byte.
    fn read_byte(&self, port: u16) -> u8 {
        if let Some(offset) = offset(port, CONSOLE.0, uart::PORTS) {
            lock(&self.console).read(narrow(offset))
        } else if let Some(offset) = offset(port, REQUESTS.0, uart::PORTS) {
            lock(&self.requests).read(narrow(offset))
        } else if let Some(offset) = offset(port, PM1_EVENT, power::SIZE) {
            lock(&self.power).read(offset)
        } else {
            match port {
                rtc::DATA => lock(&self.rtc).read(),
                // Neither input nor output waits.
                KEYBOARD => 0,
                _ => NOTHING,
            }
        }
    }
}

/// The offset of a port in a range, if it is in it.
fn offset(port: u16, start: u16, size: u16) -> Option<u16> {
    port.checked_sub(start).filter(|offset| *offset < size)
}

/// An offset below 256.
fn narrow(offset: u16) -> u8 {
    offset.to_le_bytes()[0]
}
