// SPDX-License-Identifier: GPL-2.0

//! The thread of a virtual processor.

use crate::ending::End;
use crate::kvm_ioctl::{self, HypervExit};
use crate::machine::Machine;
use crate::ports::Effect;
use crate::report::report;
use crate::sync::lock;
use hvdef::msr;
use kvm_bindings::{
    kvm_msr_entry, Msrs, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// A longest crash message, as the guest has one page for it.
const CRASH_MESSAGE: u64 = 4096;

/// A processor.
pub(crate) struct Vcpu {
    /// KVM's.
    fd: VcpuFd,
    /// Its index, from 0.
    vp: u32,
    /// The machine that it is part of.
    machine: Arc<Machine>,
    /// What it came out for last.
    last_exit: &'static str,
}

impl Vcpu {
    /// A processor that is ready to run.
    pub(crate) fn new(fd: VcpuFd, vp: u32, machine: Arc<Machine>) -> Self {
        Self {
            fd,
            vp,
            machine,
            last_exit: "none",
        }
    }

    /// Runs until the machine ends. Returns where it stopped, in words.
    pub(crate) fn run(mut self) -> String {
        while self.machine.ending().get().is_none() {
            if let Some(end) = self.step() {
                self.machine.ending().set(end);
            }
        }
        self.describe()
    }

    /// Runs until the next exit and handles it.
    fn step(&mut self) -> Option<End> {
        let (name, effect) = match self.fd.run() {
            Ok(VcpuExit::IoOut(port, bytes)) => {
                ("I/O write", self.machine.ports().write(port, bytes))
            }
            Ok(VcpuExit::IoIn(port, bytes)) => {
                self.machine.ports().read(port, bytes);
                ("I/O read", Effect::None)
            }
            // No device has registers in memory.
            Ok(VcpuExit::MmioRead(_, bytes)) => {
                bytes.fill(0xff);
                ("MMIO read", Effect::None)
            }
            Ok(VcpuExit::MmioWrite(..)) => ("MMIO write", Effect::None),
            Ok(VcpuExit::Hyperv) => return self.hyperv(),
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_CRASH, _)) => return self.crash(),
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET, _)) => ("reset", Effect::Reset),
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _)) => {
                ("shutdown", Effect::PowerOff)
            }
            Ok(VcpuExit::Shutdown) => {
                self.last_exit = "triple fault";
                return Some(End::TripleFault);
            }
            Ok(VcpuExit::InternalError) => {
                self.last_exit = "internal error";
                let (kind, data) = kvm_ioctl::internal_error(&mut self.fd);
                return Some(End::Error(format!(
                    "KVM cannot go on with VP {}: internal error {kind}, data {data:x?}",
                    self.vp
                )));
            }
            Ok(VcpuExit::FailEntry(reason, cpu)) => {
                self.last_exit = "failed entry";
                return Some(End::Error(format!(
                    "KVM cannot enter VP {} on CPU {cpu}: hardware reason {reason:#x}",
                    self.vp
                )));
            }
            Ok(VcpuExit::Intr | VcpuExit::Hlt | VcpuExit::IrqWindowOpen) => {
                ("interrupted", Effect::None)
            }
            Ok(exit) => {
                let exit = format!("{exit:?}");
                self.last_exit = "unknown exit";
                return Some(End::Error(format!(
                    "VP {} came out of KVM for a reason that nobody asked for: {exit}",
                    self.vp
                )));
            }
            Err(error) => match io::Error::from(error).kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => return None,
                _ => {
                    return Some(End::Error(format!(
                        "KVM cannot run VP {}: {error}",
                        self.vp
                    )));
                }
            },
        };
        self.last_exit = name;
        match effect {
            Effect::None => None,
            Effect::PowerOff => Some(End::PowerOff),
            Effect::Reset => Some(End::Reset),
            Effect::Request(line) => {
                self.machine.request_from_guest(&line);
                None
            }
        }
    }

    /// Handles what KVM leaves to us of Hyper-V.
    fn hyperv(&mut self) -> Option<End> {
        match kvm_ioctl::exit_payload(&mut self.fd) {
            HypervExit::Synic(registers) => {
                self.last_exit = "SynIC register";
                lock(self.machine.partition()).set_synic(self.vp, registers);
                None
            }
            HypervExit::Hypercall { control, input } => {
                self.last_exit = "hypercall";
                let result = lock(self.machine.partition()).hypercall(control, input);
                kvm_ioctl::set_hypercall_result(&mut self.fd, result);
                None
            }
            HypervExit::Unknown(kind) => Some(End::Error(format!(
                "VP {} came out of KVM for a Hyper-V reason {kind} that nobody asked for",
                self.vp
            ))),
        }
    }

    /// The guest reports a crash.
    fn crash(&mut self) -> Option<End> {
        self.last_exit = "crash report";
        let text = match self.crash_parameters() {
            Ok(parameters) => describe_crash(parameters, self.machine.memory()),
            Err(error) => format!("its parameters cannot be read: {error}"),
        };
        report(format_args!("the guest reports a crash: {text}"));
        (!self.machine.goes_on_after_crash()).then_some(End::Crash)
    }

    /// The five parameters.
    fn crash_parameters(&self) -> Result<[u64; 5], String> {
        let entries = [0, 1, 2, 3, 4].map(|number| kvm_msr_entry {
            index: msr::CRASH_P0.wrapping_add(number),
            ..Default::default()
        });
        let mut msrs = Msrs::from_entries(&entries).map_err(|error| format!("{error:?}"))?;
        self.fd
            .get_msrs(&mut msrs)
            .map_err(|error| error.to_string())?;
        let mut values = [0; 5];
        for (value, entry) in values.iter_mut().zip(msrs.as_slice()) {
            *value = entry.data;
        }
        Ok(values)
    }

    /// Where the processor is, in words.
    fn describe(&self) -> String {
        let mut text = format!("VP {}: last exit: {}", self.vp, self.last_exit);
        // Writing to a string does not fail.
        if let (Ok(regs), Ok(sregs)) = (self.fd.get_regs(), self.fd.get_sregs()) {
            let _ = write!(
                text,
                ", rip {:#x}, rsp {:#x}, rflags {:#x}, cr0 {:#x}, cr2 {:#x}, cr3 {:#x}, cr4 {:#x}, efer {:#x}",
                regs.rip, regs.rsp, regs.rflags, sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4, sregs.efer
            );
        }
        if let Ok(state) = self.fd.get_mp_state() {
            let _ = write!(text, ", mp_state {}", state.mp_state);
        }
        if let Ok(events) = self.fd.get_vcpu_events() {
            let _ = write!(
                text,
                ", exception {} (injected {}), interrupt {} (injected {})",
                events.exception.nr,
                events.exception.injected,
                events.interrupt.nr,
                events.interrupt.injected
            );
        }
        text
    }
}

/// A crash in words.
///
/// KVM forgets the bit that says whether P3 and P4 are address and length of a text. A guest that has one leaves the first
/// three parameters zero.
fn describe_crash(parameters: [u64; 5], memory: &GuestMemoryMmap) -> String {
    let [p0, p1, p2, p3, p4] = parameters;
    let mut text = format!("P0 {p0:#x}, P1 {p1:#x}, P2 {p2:#x}, P3 {p3:#x}, P4 {p4:#x}");
    if (p0, p1, p2) == (0, 0, 0) && (1..=CRASH_MESSAGE).contains(&p4) {
        let mut message = vec![0; usize::try_from(p4).unwrap_or(0)];
        if memory.read_slice(&mut message, GuestAddress(p3)).is_ok() {
            for line in String::from_utf8_lossy(&message).lines() {
                // Each line on its own, so that no line of the log is the guest's alone.
                let _ = write!(text, "\nhvhost: crash: {}", line.escape_debug());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_shows_its_text_only_if_it_has_one() {
        let memory = crate::memory::allocate(64).unwrap();
        memory
            .write_slice(b"one\ntwo\x1b", GuestAddress(0x3000))
            .unwrap();
        let text = describe_crash([0, 0, 0, 0x3000, 8], &memory);
        assert!(
            text.ends_with("hvhost: crash: one\nhvhost: crash: two\\u{1b}"),
            "{text}"
        );
        for parameters in [
            [1, 0, 0, 0x3000, 8],
            [0, 0, 0, 0x3000, 4097],
            [0, 0, 0, u64::MAX, 8],
        ] {
            assert!(!describe_crash(parameters, &memory).contains("one"));
        }
    }
}
