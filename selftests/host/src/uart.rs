// SPDX-License-Identifier: GPL-2.0

//! A serial port: the console, and the guest's line to the host.

use std::collections::VecDeque;
use std::io::{self, Write};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// Ports that a UART has.
pub(crate) const PORTS: u16 = 8;
/// Offset of the data register.
const DATA: u8 = 0;
/// Size of the device's buffer.
const FIFO: usize = 64;
/// Bytes for the guest that wait at most; what comes after is lost, as on any serial line.
const BACKLOG: usize = 64 << 10;
/// Length of a line from the guest at most.
const LINE: usize = 64 << 10;

/// An interrupt line.
pub(crate) struct Irq(pub(crate) EventFd);

impl Trigger for Irq {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Where the guest's bytes go.
pub(crate) enum Sink {
    /// To the standard output.
    Console,
    /// Into lines, which [`Uart::write`] returns.
    Lines {
        /// The line so far.
        partial: Vec<u8>,
        /// A complete one.
        complete: Option<Vec<u8>>,
    },
}

impl Sink {
    /// A sink for lines.
    pub(crate) fn lines() -> Self {
        Self::Lines {
            partial: Vec::new(),
            complete: None,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Console => io::stdout().write(bytes),
            Self::Lines { partial, complete } => {
                for byte in bytes {
                    match byte {
                        b'\n' | b'\r' if partial.is_empty() => {}
                        b'\n' | b'\r' => *complete = Some(core::mem::take(partial)),
                        // A line that is too long is cut, so that it is no JSON and refused.
                        _ if partial.len() < LINE => partial.push(*byte),
                        _ => {}
                    }
                }
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Console => io::stdout().flush(),
            Self::Lines { .. } => Ok(()),
        }
    }
}

/// A serial port.
pub(crate) struct Uart {
    /// The device.
    serial: Serial<Irq, NoEvents, Sink>,
    /// What the guest is still to read.
    backlog: VecDeque<u8>,
}

impl Uart {
    /// A port with an interrupt.
    pub(crate) fn new(irq: Irq, sink: Sink) -> Self {
        Self {
            serial: Serial::new(irq, sink),
            backlog: VecDeque::new(),
        }
    }

    /// The guest reads a register.
    pub(crate) fn read(&mut self, offset: u8) -> u8 {
        let value = self.serial.read(offset);
        if offset == DATA {
            self.refill();
        }
        value
    }

    /// The guest writes a register. Returns the line that it has completed by that.
    pub(crate) fn write(&mut self, offset: u8, value: u8) -> Option<Vec<u8>> {
        // An output that is gone is no reason to stop the guest.
        let _ = self.serial.write(offset, value);
        self.refill();
        match self.serial.writer_mut() {
            Sink::Lines { complete, .. } => complete.take(),
            Sink::Console => None,
        }
    }

    /// Sends bytes to the guest.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let room = BACKLOG.saturating_sub(self.backlog.len());
        self.backlog.extend(bytes.iter().take(room));
        self.refill();
    }

    /// Whether nothing waits for the guest.
    pub(crate) fn is_drained(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Fills the device's buffer once the guest has emptied it: each filling is an interrupt.
    fn refill(&mut self) {
        if self.serial.fifo_capacity() == FIFO {
            let (bytes, _) = self.backlog.as_slices();
            let taken = self.serial.enqueue_raw_bytes(bytes).unwrap_or(0);
            self.backlog.drain(..taken.min(self.backlog.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port whose guest writes lines.
    fn uart() -> Uart {
        Uart::new(Irq(EventFd::new(0).unwrap()), Sink::lines())
    }

    /// What the guest reads.
    fn read(uart: &mut Uart) -> Vec<u8> {
        let mut bytes = Vec::new();
        while uart.read(5) & 1 == 1 {
            bytes.push(uart.read(DATA));
        }
        bytes
    }

    #[test]
    fn lines_come_out_whole() {
        let mut uart = uart();
        let mut lines = Vec::new();
        for byte in b"one\r\n\ntwo\nthr" {
            lines.extend(uart.write(DATA, *byte));
        }
        assert_eq!(lines, [b"one".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory_without_end() {
        let mut uart = uart();
        for _ in 0..LINE + 10 {
            assert_eq!(uart.write(DATA, b'x'), None);
        }
        assert_eq!(uart.write(DATA, b'\n').unwrap().len(), LINE);
    }

    #[test]
    fn more_than_the_fifo_reaches_the_guest_and_too_much_is_lost() {
        let mut uart = uart();
        let long: Vec<u8> = (0..=255).cycle().take(1000).collect();
        uart.send(&long);
        assert!(!uart.is_drained());
        assert_eq!(read(&mut uart), long);
        assert!(uart.is_drained());
        uart.send(&vec![1; 2 * BACKLOG]);
        assert!(read(&mut uart).len() < 2 * BACKLOG);
    }
}
