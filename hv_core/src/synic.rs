// SPDX-License-Identifier: GPL-2.0

//! The synthetic interrupt controller of each CPU: message and event flag pages, the VMBus SINT, and the dispatch of
//! its interrupt (TLFS section 11).

use crate::compat::full_barrier;
use crate::cpuhp::{Cpu, Hotplug, HotplugLock, HotplugState};
use crate::{msr, Counter, HostPage, InterruptsOff, PerCpu, RcuSlot};
use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize};
use hvdef::msr::{sint, OverlayPage, Scontrol, Sint, EOM, SCONTROL, SIEFP, SIMP, VP_INDEX};
use hvdef::synic::{
    event_flags, MessageType, EVENT_FLAGS_SIZE, EVENT_FLAG_WORDS, FLAGS_OFFSET, FLAG_PENDING,
    MESSAGE_SIZE, VMBUS_SINT,
};
use kernel::prelude::*;
use kernel::sync::{rcu, Arc};

/// A private copy of a message slot.
pub type MessageCopy = [u8; MESSAGE_SIZE];

/// What a handler did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It has its copy: the slot is free for the next message.
    Taken,
    /// It has no room: the message stays in its slot until [`Synic::resume`].
    Busy,
}

/// Who gets what the VMBus SINT brings.
pub trait InterruptHandler: Send + Sync {
    /// A message came. Hardirq.
    fn message(&self, cpu: Cpu, message: &MessageCopy) -> Delivery;

    /// Event flag `flag` (0 to 2047) was set, and has been cleared. Hardirq, within a read-side section of RCU.
    fn event(&self, flag: u32, section: &rcu::Guard);

    /// `cpu` is about to lose its SynIC. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` keeps the CPU online.
    fn offline(&self, cpu: Cpu) -> Result;
}

/// Where the VMBus SINT's part of a page starts, in 64-bit words, for a part of `size` bytes.
const fn sint_word(size: usize) -> usize {
    VMBUS_SINT as usize * size / 8
}

/// The SynIC of one CPU.
struct CpuSynic {
    /// Slots for 16 messages.
    messages: HostPage,
    /// Flags for 16 SINTs.
    events: HostPage,
    /// The hypervisor's number for this CPU, once it has been online.
    vp_index: AtomicU32,
    /// Whether pages and SINT are in force.
    enabled: AtomicBool,
    /// Interrupts handled. Only the CPU itself counts, with interrupts off; so it is with the rest.
    interrupts: Counter,
    /// Messages delivered.
    message_count: Counter,
    /// Event flags delivered.
    event_count: Counter,
    /// Messages of synthetic timers, acknowledged and otherwise ignored: the kernel owns the timers.
    timer_count: Counter,
    /// Times that a message had to wait in its slot.
    busy_count: Counter,
}

impl CpuSynic {
    /// Allocates the pages.
    fn new() -> Result<Self> {
        Ok(Self {
            messages: HostPage::new()?,
            events: HostPage::new()?,
            vp_index: AtomicU32::new(u32::MAX),
            enabled: AtomicBool::new(false),
            interrupts: Counter::default(),
            message_count: Counter::default(),
            event_count: Counter::default(),
            timer_count: Counter::default(),
            busy_count: Counter::default(),
        })
    }

    /// Gives the pages to the hypervisor and unmasks the VMBus SINT. On the CPU itself.
    fn enable(&self, auto_eoi: bool) -> Result {
        let sint_msr = sint(VMBUS_SINT).ok_or(EINVAL)?;
        let vp_index = u32::try_from(msr::read(VP_INDEX)?).map_err(|_| EIO)?;
        self.vp_index.store(vp_index, Relaxed);
        let simp = OverlayPage(msr::read(SIMP)?).enable_at(self.messages.pfn());
        let siefp = OverlayPage(msr::read(SIEFP)?).enable_at(self.events.pfn());
        let sint = Sint(msr::read(sint_msr)?)
            .with_vector(hv_bindings::HV_CALLBACK_VECTOR as u8)
            .with_masked(false)
            .with_auto_eoi(auto_eoi);
        let scontrol = Scontrol(msr::read(SCONTROL)?).with_enabled(true);
        self.enabled.store(true, Relaxed);
        // SAFETY: The pages belong to `self`, which takes them back by `disable` before it goes. The vector is the
        // one whose handler the kernel installed for exactly this SINT.
        let result = unsafe {
            msr::write(SIMP, simp.0)
                .and_then(|()| msr::write(SIEFP, siefp.0))
                .and_then(|()| msr::write(sint_msr, sint.0))
                .and_then(|()| msr::write(SCONTROL, scontrol.0))
        };
        match result {
            // The page may hold a message of an earlier kernel's.
            Ok(()) => self.free_slot(),
            Err(_) => self.disable(),
        }
        result
    }

    /// Changes a register. What is done through this takes something back from the hypervisor and gives it nothing.
    fn rewrite(number: u32, change: impl FnOnce(u64) -> u64) {
        let Ok(value) = msr::read(number) else {
            return;
        };
        // SAFETY: See above. A register that could be enabled can be disabled, so that there is no error to handle.
        let _ = unsafe { msr::write(number, change(value)) };
    }

    /// Masks the SINT: no interrupt comes any more. On the CPU itself; any context, also after a panic.
    fn mask(&self) {
        self.enabled.store(false, Relaxed);
        if let Some(sint_msr) = sint(VMBUS_SINT) {
            Self::rewrite(sint_msr, |value| Sint(value).with_masked(true).0);
        }
    }

    /// Masks the SINT and takes the pages back. On the CPU itself; any context, also after a panic.
    fn disable(&self) {
        self.mask();
        Self::rewrite(SIMP, |value| OverlayPage(value).disable().0);
        Self::rewrite(SIEFP, |value| OverlayPage(value).disable().0);
        Self::rewrite(SCONTROL, |value| Scontrol(value).with_enabled(false).0);
    }

    /// Whether there is a message in the VMBus slot.
    #[inline]
    fn has_message(&self) -> bool {
        let message_type = self.messages.word32(sint_word(MESSAGE_SIZE) * 2);
        message_type.is_some_and(|word| word.load(Relaxed) != MessageType::NONE.0)
    }

    /// Copies the message in the VMBus slot, if there is one.
    fn copy_message(&self) -> Option<MessageCopy> {
        let first = sint_word(MESSAGE_SIZE);
        let header = self.messages.word(first)?.load(Acquire);
        if header as u32 == MessageType::NONE.0 {
            return None;
        }
        let mut copy = [0; MESSAGE_SIZE];
        for (index, bytes) in copy.chunks_exact_mut(8).enumerate() {
            let word = if index == 0 {
                header
            } else {
                self.messages.word(first + index)?.load(Relaxed)
            };
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Some(copy)
    }

    /// Frees the VMBus slot, and asks for the next message if one waits. On the CPU itself; elsewhere, only after a
    /// panic, where a message that waits is lost.
    fn free_slot(&self) {
        let first = sint_word(MESSAGE_SIZE);
        let (Some(message_type), Some(header)) =
            (self.messages.word32(first * 2), self.messages.word(first))
        else {
            return;
        };
        message_type.store(MessageType::NONE.0, Release);
        // The hypervisor sets the pending flag while the slot is taken, and looks at the slot after setting it.
        // Freeing first and looking after a full barrier means that one of the two sees the other.
        full_barrier();
        if header.load(Relaxed).to_le_bytes()[FLAGS_OFFSET] & FLAG_PENDING != 0 {
            // SAFETY: EOM asks for the delivery of a queued message into the page that is the hypervisor's anyway.
            let _ = unsafe { msr::write(EOM, 0) };
        }
    }

    /// Delivers the message that is in the VMBus slot, if there is one. On the CPU itself, hardirq.
    ///
    /// One message for each interrupt: EOM brings the next by an interrupt of its own, so this does not loop.
    fn deliver_message(&self, cpu: Cpu, handler: &dyn InterruptHandler) {
        let Some(copy) = self.copy_message() else {
            return;
        };
        let [a, b, c, d, ..] = copy;
        if MessageType(u32::from_le_bytes([a, b, c, d])) == MessageType::TIMER_EXPIRED {
            self.timer_count.increment_alone();
        } else if handler.message(cpu, &copy) == Delivery::Busy {
            self.busy_count.increment_alone();
            return;
        } else {
            self.message_count.increment_alone();
        }
        self.free_slot();
    }

    /// Takes and delivers the event flags in the first `words` of the VMBus SINT. Hardirq.
    #[inline]
    fn deliver_events(&self, words: usize, handler: &dyn InterruptHandler, section: &rcu::Guard) {
        for index in 0..words.min(EVENT_FLAG_WORDS) {
            let Some(word) = self.events.word(sint_word(EVENT_FLAGS_SIZE) + index) else {
                return;
            };
            if word.load(Relaxed) == 0 {
                continue;
            }
            for flag in event_flags(index, word.swap(0, SeqCst)) {
                self.event_count.increment_alone();
                handler.event(flag, section);
            }
        }
    }
}

/// The SynIC of the machine.
pub struct Synic {
    /// One for each possible CPU.
    cpus: PerCpu<CpuSynic>,
    /// Whether the APIC ends the interrupt by itself.
    auto_eoi: bool,
    /// Who gets messages and events.
    handler: RcuSlot<Arc<dyn InterruptHandler>>,
    /// How many words of event flags are looked at, see [`Synic::expect_event`].
    words: AtomicUsize,
}

/// The one SynIC that the interrupt serves, while there is one.
static SYNIC: AtomicPtr<Synic> = AtomicPtr::new(core::ptr::null_mut());

/// The SynIC whose CPUs are being enabled or are so.
fn active() -> Option<&'static Synic> {
    // SAFETY: `Enabled` holds an `Arc` of the SynIC from before the store until after interrupts and hotplug
    // callbacks, the only callers, have ended.
    unsafe { SYNIC.load(Acquire).as_ref() }
}

/// The vector's handler. Hardirq.
extern "C" fn interrupt() {
    let cpu = Cpu::current();
    let Some((synic, state)) = active().and_then(|synic| Some((synic, synic.cpus.get(cpu)?)))
    else {
        return;
    };
    state.interrupts.increment_alone();
    let section = rcu::read_lock();
    let Some(handler) = synic.handler.get(&section) else {
        // A message for nobody must not block the slot for those of the next connection.
        state.free_slot();
        return;
    };
    state.deliver_events(synic.words.load(Relaxed), &**handler, &section);
    if state.has_message() {
        state.deliver_message(cpu, &**handler);
    }
}

impl Hotplug for Synic {
    fn online(cpu: Cpu) -> Result {
        let synic = active().ok_or(ENODEV)?;
        let state = synic.cpus.get(cpu).ok_or(EINVAL)?;
        state.enable(synic.auto_eoi).inspect_err(|error| {
            pr_err!(
                "the SynIC of CPU {} cannot be enabled: {error:?}\n",
                cpu.number()
            );
        })
    }

    fn offline(cpu: Cpu) -> Result {
        let synic = active().ok_or(ENODEV)?;
        // The handler may sleep, so it is called outside the read-side section; `set_handler` locks hotplug out.
        if let Some(handler) = synic.handler.with(Arc::clone) {
            handler.offline(cpu)?;
        }
        if let Some(state) = synic.cpus.get(cpu) {
            state.mask();
            let off = InterruptsOff::new();
            // What came before and was not yet an interrupt would be lost otherwise; afterwards the page is not there.
            let section = rcu::read_lock();
            if let Some(handler) = synic.handler.get(&section) {
                state.deliver_events(EVENT_FLAG_WORDS, &**handler, &section);
            }
            drop(section);
            drop(off);
            state.disable();
        }
        Ok(())
    }
}

/// The SynIC in force on all online CPUs. Dropping it disables them all.
pub(crate) struct Enabled {
    /// Disables each CPU; dropped first.
    hotplug: Option<HotplugState<Synic>>,
    /// Keeps what [`SYNIC`] points to.
    _synic: Arc<Synic>,
}

impl Enabled {
    /// Enables the SynIC of every online CPU. Process context.
    ///
    /// # Errors
    ///
    /// What [`Hotplug::online`] and [`HotplugState::new`] return.
    pub(crate) fn new(synic: Arc<Synic>) -> Result<Self> {
        SYNIC.store(Arc::as_ptr(&synic).cast_mut(), Release);
        // SAFETY: `interrupt` is a function of this module, and `Drop` removes it.
        unsafe { hv_bindings::hv_setup_vmbus_handler(Some(interrupt)) };
        let mut enabled = Self {
            hotplug: None,
            _synic: synic,
        };
        enabled.hotplug = Some(HotplugState::new(c"viridian/synic:online")?);
        Ok(enabled)
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        self.hotplug = None;
        // SAFETY: All SINTs are masked, so that no interrupt comes; one under way ends before the first grace period
        // does. The kernel looks at the handler twice in an interrupt, hence a grace period before it goes, too.
        unsafe {
            kernel::bindings::synchronize_rcu();
            hv_bindings::hv_remove_vmbus_handler();
            kernel::bindings::synchronize_rcu();
        }
        SYNIC.store(core::ptr::null_mut(), Release);
    }
}

impl Synic {
    /// Allocates the pages of all possible CPUs. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(auto_eoi: bool) -> Result<Arc<Self>> {
        let cpus = PerCpu::new(|_| CpuSynic::new())?;
        Ok(Arc::new(
            Self {
                cpus,
                auto_eoi,
                handler: RcuSlot::new(),
                words: AtomicUsize::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// Sets who gets messages and events, or with `None` ends that: afterwards nobody calls the old handler any
    /// more. Process context, and no lock held that [`InterruptHandler::offline`] takes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, never for `None`.
    pub fn set_handler(&self, handler: Option<Arc<dyn InterruptHandler>>) -> Result {
        let new = handler
            .map(|handler| KBox::new(handler, GFP_KERNEL))
            .transpose()?;
        let _no_hotplug = HotplugLock::new();
        drop(self.handler.replace(new));
        Ok(())
    }

    /// Has event flag `flag` looked at from now on: most guests have few of the 2048, and each interrupt would look at
    /// all of them. Any context.
    pub fn expect_event(&self, flag: usize) {
        let words = flag / 64 + 1;
        let mut known = self.words.load(Relaxed);
        while known < words {
            match self.words.compare_exchange(known, words, SeqCst, Relaxed) {
                Ok(_) => return,
                Err(other) => known = other,
            }
        }
    }

    /// Delivers the message that `cpu` had to keep in its slot. Process context.
    ///
    /// # Errors
    ///
    /// `ENXIO` if the CPU is offline.
    pub fn resume(&self, cpu: Cpu) -> Result {
        let state = self.cpus.get(cpu).ok_or(EINVAL)?;
        cpu.call(|| {
            self.handler
                .with(|handler| state.deliver_message(cpu, &**handler));
        })
    }

    /// The hypervisor's number for `cpu`, if it has ever been online.
    #[must_use]
    pub fn vp_index(&self, cpu: Cpu) -> Option<u32> {
        let index = self.cpus.get(cpu)?.vp_index.load(Relaxed);
        (index != u32::MAX).then_some(index)
    }

    /// Looks for a message of which `wanted` is true in the slots of all CPUs, from any CPU and without interrupts:
    /// for the time after a panic. What is found is freed on the current CPU only, so it is of use once.
    #[must_use]
    pub fn poll(&self, mut wanted: impl FnMut(&MessageCopy) -> bool) -> bool {
        Cpu::possible().any(|cpu| {
            let Some(state) = self.cpus.get(cpu) else {
                return false;
            };
            let Some(copy) = state.copy_message() else {
                return false;
            };
            // A message that is not the wanted one may block the slot for it.
            state.free_slot();
            wanted(&copy)
        })
    }

    /// Disables the SynIC of the current CPU: for the crash path. Any context.
    pub fn disable_current(&self) {
        if let Some(state) = self.cpus.get(Cpu::current()) {
            state.disable();
        }
    }

    /// Disables the SynIC of every online CPU: for kexec. Process context.
    pub fn disable_all(&self) {
        for cpu in Cpu::possible().filter(|cpu| cpu.online()) {
            if let Some(state) = self.cpus.get(cpu) {
                let _ = cpu.call(|| state.disable());
            }
        }
    }
}

impl fmt::Display for Synic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "cpu vp   state    interrupts   messages     events     timers       busy"
        )?;
        for cpu in Cpu::possible() {
            let (Some(state), Some(vp)) = (self.cpus.get(cpu), self.vp_index(cpu)) else {
                continue;
            };
            writeln!(
                f,
                "{:<3} {vp:<4} {:<8} {:>10} {:>10} {:>10} {:>10} {:>10}",
                cpu.number(),
                if state.enabled.load(Relaxed) {
                    "enabled"
                } else {
                    "disabled"
                },
                state.interrupts.get(),
                state.message_count.get(),
                state.event_count.get(),
                state.timer_count.get(),
                state.busy_count.get(),
            )?;
        }
        Ok(())
    }
}
