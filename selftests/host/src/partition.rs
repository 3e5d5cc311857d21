// SPDX-License-Identifier: GPL-2.0

//! The partition: the VMBus host, joined to the guest's SynICs, signals and hypercalls.

use crate::clock::MachineClock;
use crate::kvm_ioctl::{self, SynicRegisters};
use crate::reactor::{Reactor, Token};
use crate::report::report;
use crate::synic::{Interrupt, Synic};
use core::time::Duration;
use hvdef::hypercall::{Code, PostMessage, Status};
use hvdef::synic::SINT_COUNT;
use kvm_ioctls::VmFd;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmbus_host::{Clock, DeviceId, Host, Output, Reply};
use vmbus_proto::MessageType;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};
use zerocopy::FromBytes;

/// The first interrupt number after those of the interrupt controllers.
const FIRST_SINT_GSI: u32 = 24;

/// The interrupt number of a SINT.
pub(crate) fn sint_gsi(vp: u32, sint: u8) -> u32 {
    vp.wrapping_mul(16)
        .wrapping_add(u32::from(sint))
        .wrapping_add(FIRST_SINT_GSI)
}

/// The interrupt of a SINT.
struct Line {
    /// Written to raise it.
    raise: EventFd,
    /// Readable after the guest's EOM, and after the end of the interrupt.
    eom: EventFd,
    /// Whether the reactor watches for the EOM: only while messages wait, so that most interrupts wake nobody.
    watched: bool,
}

/// One virtual processor.
#[derive(Default)]
struct Vp {
    /// Its SynIC.
    synic: Synic,
    /// The interrupts of its SINTs, made when they are first used.
    lines: [Option<Line>; SINT_COUNT],
}

/// The partition. Its calls come from any thread, one at a time.
pub(crate) struct Partition {
    /// Server and devices.
    host: Host,
    /// The processors.
    vps: Vec<Vp>,
    /// What counts the signals on each connection.
    signals: HashMap<u32, EventFd>,
    /// When the timer goes off.
    armed: Option<Duration>,
    /// The clock by which it does.
    clock: MachineClock,
    /// The guest's memory.
    memory: Arc<GuestMemoryMmap>,
    /// The VM.
    vm: Arc<VmFd>,
    /// What waits for all of this.
    reactor: Arc<Reactor>,
    /// Whether messages are shown.
    trace: bool,
}

impl Partition {
    /// A partition of `vps` processors.
    pub(crate) fn new(
        host: Host,
        vps: u8,
        memory: Arc<GuestMemoryMmap>,
        vm: Arc<VmFd>,
        clock: MachineClock,
        reactor: Arc<Reactor>,
        trace: bool,
    ) -> Self {
        Self {
            host,
            vps: (0..vps).map(|_| Vp::default()).collect(),
            signals: HashMap::new(),
            armed: None,
            clock,
            memory,
            vm,
            reactor,
            trace,
        }
    }

    /// Lets `act` use the host, and then does for the guest what the host asks for.
    pub(crate) fn with_host<T>(&mut self, act: impl FnOnce(&mut Host) -> T) -> T {
        let result = act(&mut self.host);
        self.settle();
        result
    }

    /// A hypercall that KVM leaves to us. Returns the result word.
    pub(crate) fn hypercall(&mut self, control: u64, input: [u64; 2]) -> u64 {
        let [c0, c1, flags, ..] = control.to_le_bytes();
        let is_fast = flags & 1 == 1;
        let [first, _] = input;
        let status = match Code(u16::from_le_bytes([c0, c1])) {
            Code::POST_MESSAGE if !is_fast => self.post_message(first),
            // KVM has fetched the input of a call that is not fast.
            Code::SIGNAL_EVENT => self.signal_event(first),
            _ => Status::INVALID_HYPERCALL_CODE,
        };
        u64::from(status.0)
    }

    /// `HVCALL_POST_MESSAGE` with its input at an address.
    fn post_message(&mut self, address: u64) -> Status {
        if address & 7 != 0 {
            return Status::INVALID_ALIGNMENT;
        }
        let mut input = [0; size_of::<PostMessage>()];
        if self
            .memory
            .read_slice(&mut input, GuestAddress(address))
            .is_err()
        {
            return Status::INVALID_HYPERCALL_INPUT;
        }
        let Ok(input) = PostMessage::read_from_bytes(&input) else {
            return Status::INVALID_HYPERCALL_INPUT;
        };
        let size = usize::try_from(input.payload_size.get());
        let Some(payload) = size.ok().and_then(|size| input.payload.get(..size)) else {
            return Status::INVALID_PARAMETER;
        };
        self.show("from the guest", payload);
        // Messages in answer may go to any VP.
        if self.vps.iter().any(|vp| vp.synic.is_crowded()) {
            return Status::INSUFFICIENT_BUFFERS;
        }
        let (connection, message_type) = (input.connection_id.get(), input.message_type.get());
        Status(
            self.with_host(|host| host.post_message(connection, message_type, payload))
                .0,
        )
    }

    /// `HVCALL_SIGNAL_EVENT` for a connection that has no eventfd.
    fn signal_event(&mut self, input: u64) -> Status {
        // The flag number in bits 47 to 32 is always 0.
        match u32::try_from(input) {
            Ok(connection) => Status(self.with_host(|host| host.signal_event(connection, 1)).0),
            Err(_) => Status::INVALID_PORT_ID,
        }
    }

    /// A guest has written a SynIC register.
    pub(crate) fn set_synic(&mut self, vp: u32, registers: SynicRegisters) {
        if let Some(vp) = find(&mut self.vps, vp) {
            vp.synic.set_registers(registers);
        }
        for sint in (0u8..).take(SINT_COUNT) {
            self.flush(vp, sint);
        }
    }

    /// The signals on a connection have become readable.
    pub(crate) fn signalled(&mut self, connection_id: u32) {
        let count = self
            .signals
            .get(&connection_id)
            .and_then(|event| event.read().ok());
        if let Some(count) = count {
            self.with_host(|host| host.signal_event(connection_id, count));
        }
    }

    /// The guest has ended a message or an interrupt.
    pub(crate) fn eom(&mut self, vp: u32, sint: u8) {
        if let Some(line) = find(&mut self.vps, vp).and_then(|vp| line(vp, sint)) {
            let _ = line.eom.read();
        }
        self.flush(vp, sint);
    }

    /// Wakers were used.
    pub(crate) fn wake(&mut self, devices: impl IntoIterator<Item = DeviceId>) {
        for device in devices {
            self.with_host(|host| host.wake(device));
        }
    }

    /// The timer has gone off.
    pub(crate) fn run_due(&mut self) {
        self.armed = None;
        self.reactor.acknowledge_timer();
        self.with_host(Host::run_due);
    }

    /// A request to the host or one of its devices.
    pub(crate) fn control(&mut self, request: Map<String, Value>, reply: Reply) {
        self.with_host(|host| host.control(request, reply));
    }

    /// Shows a message, which begins with its type.
    fn show(&self, direction: &str, payload: &[u8]) {
        if !self.trace {
            return;
        }
        let Some((number, _)) = payload.split_first_chunk() else {
            return report(format_args!("vmbus {direction}: {} bytes", payload.len()));
        };
        let number = u32::from_le_bytes(*number);
        let name = MessageType(number);
        report(format_args!(
            "vmbus {direction}: type {number} ({name:?}), {} bytes",
            payload.len()
        ));
    }

    /// Does what the host asks for, and sets the timer.
    fn settle(&mut self) {
        while let Some(output) = self.host.next_output() {
            match output {
                Output::Message { vp, sint, payload } => {
                    self.show("to the guest", &payload);
                    if let Some(found) = find(&mut self.vps, vp) {
                        let interrupt = found.synic.post(&self.memory, sint, payload);
                        self.finish(vp, sint, interrupt);
                    }
                }
                Output::Event { vp, sint, flag } => {
                    if let Some(found) = find(&mut self.vps, vp) {
                        let interrupt = found.synic.signal(&self.memory, sint, flag);
                        self.finish(vp, sint, interrupt);
                    }
                }
                Output::AddSignal { connection_id } => {
                    if let Err(error) = self.add_signal(connection_id) {
                        report(format_args!(
                            "signals on connection {connection_id:#x}: {error}"
                        ));
                    }
                }
                Output::RemoveSignal { connection_id } => {
                    if let Some(event) = self.signals.remove(&connection_id) {
                        self.reactor.unwatch(&event);
                        if let Err(error) =
                            kvm_ioctl::set_signal_eventfd(&self.vm, connection_id, None)
                        {
                            report(format_args!(
                                "signals on connection {connection_id:#x}: {error}"
                            ));
                        }
                    }
                }
            }
        }
        let deadline = self.host.deadline();
        if deadline != self.armed {
            self.armed = deadline;
            let delay = deadline.map(|deadline| deadline.saturating_sub(self.clock.now()));
            self.reactor.set_timer(delay);
        }
    }

    /// Has KVM count the signals on a connection.
    fn add_signal(&mut self, connection_id: u32) -> io::Result<()> {
        let event = EventFd::new(EFD_NONBLOCK)?;
        kvm_ioctl::set_signal_eventfd(&self.vm, connection_id, Some(&event))?;
        self.reactor.watch(&event, Token::Signal(connection_id))?;
        self.signals.insert(connection_id, event);
        Ok(())
    }

    /// Delivers the next message that waits for a slot, if it is free.
    fn flush(&mut self, vp: u32, sint: u8) {
        if let Some(found) = find(&mut self.vps, vp) {
            let interrupt = found.synic.flush(&self.memory, sint);
            self.finish(vp, sint, interrupt);
        }
    }

    /// Raises a SINT if it is to be raised, and watches for its EOM if messages wait.
    fn finish(&mut self, vp: u32, sint: u8, interrupt: Interrupt) {
        if let Err(error) = self.try_finish(vp, sint, interrupt) {
            report(format_args!("SINT {sint} of VP {vp}: {error}"));
        }
    }

    /// As [`Self::finish`], which reports the error.
    fn try_finish(&mut self, vp: u32, sint: u8, interrupt: Interrupt) -> io::Result<()> {
        let Some(found) = find(&mut self.vps, vp) else {
            return Ok(());
        };
        let is_waiting = found.synic.is_waiting(sint);
        let Some(entry) = found.lines.get_mut(usize::from(sint)) else {
            return Ok(());
        };
        let line = match entry {
            Some(line) => line,
            None if interrupt == Interrupt::None && !is_waiting => return Ok(()),
            None => {
                let (raise, eom) = (EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?);
                self.vm
                    .register_irqfd_with_resample(&raise, &eom, sint_gsi(vp, sint))?;
                entry.insert(Line {
                    raise,
                    eom,
                    watched: false,
                })
            }
        };
        if is_waiting != line.watched {
            line.watched = is_waiting;
            if is_waiting {
                self.reactor.watch(&line.eom, Token::Eom { vp, sint })?;
            } else {
                self.reactor.unwatch(&line.eom);
            }
        }
        if interrupt == Interrupt::Raise {
            line.raise.write(1)?;
        }
        Ok(())
    }
}

/// The processor with an index.
fn find(vps: &mut [Vp], vp: u32) -> Option<&mut Vp> {
    vps.get_mut(usize::try_from(vp).ok()?)
}

/// The interrupt of a SINT, if it has been used.
fn line(vp: &Vp, sint: u8) -> Option<&Line> {
    vp.lines.get(usize::from(sint))?.as_ref()
}
