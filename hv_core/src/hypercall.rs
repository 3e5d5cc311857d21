// SPDX-License-Identifier: GPL-2.0

//! Hypercalls, through the kernel's static call or through a page of our own.
//!
//! Where the kernel has enabled the hypercall page, we go through its static call and never write the MSR: moving
//! the page would break the kernel's own calls. Where it has not, the page in `hypercall_page.S` is enabled instead.

use crate::page::HV_PAGE_SIZE;
use crate::percpu::PerCpu;
use crate::{msr, Cpu, HostPage, InterruptsOff};
use core::sync::atomic::Ordering::Relaxed;
use hvdef::hypercall::{Code, Control, PostMessage, Rep, RepStep, ResultWord, SignalEvent, Status};
use hvdef::msr::{GuestOsId, OverlayPage, GUEST_OS_ID, HYPERCALL};
use hvdef::synic::MessageType;
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// How a call reaches the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// The kernel's static call `hv_hypercall`.
    Kernel,
    /// Our own page; disabled again when dropped.
    OwnPage,
}

/// Why a message was not posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostError {
    /// The payload is longer than 240 bytes.
    TooLong,
    /// The hypervisor refused; [`Status::is_transient_for_post`] says whether trying later makes sense.
    Refused(Status),
}

/// The way to make hypercalls.
pub struct Hypercalls {
    /// How a call reaches the hypervisor.
    route: Route,
    /// Inputs of calls that take them from memory: only with interrupts off, so that each CPU has its own.
    inputs: PerCpu<HostPage>,
}

impl Hypercalls {
    /// Finds or makes the way. Process context.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if somebody else than the kernel has enabled the hypercall page.
    /// - `EIO` if the hypervisor refuses ours.
    /// - `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let inputs = PerCpu::new(|_| Ok(HostPage::new()?))?;
        let current = OverlayPage(msr::read(HYPERCALL)?);
        // SAFETY: The function has no preconditions.
        if unsafe { hv_bindings::rust_helper_hv_kernel_runs_hyperv() } {
            return Ok(Self {
                route: Route::Kernel,
                inputs,
            });
        }
        if current.enabled() || current.locked() {
            pr_err!("the hypercall page is enabled, but not by this kernel\n");
            return Err(EBUSY);
        }
        let identity = GuestOsId::linux(hv_bindings::HV_LINUX_VERSION);
        // SAFETY: The identity names nothing of the guest's.
        unsafe { msr::write(GUEST_OS_ID, identity.0)? };
        // SAFETY: The symbol is a page of this module's text.
        let pfn = unsafe { hv_bindings::rust_helper_hv_hypercall_page_pfn() };
        // SAFETY: The page is this module's own and has no other use, and `Drop` takes it back.
        unsafe { msr::write(HYPERCALL, current.enable_at(pfn).0)? };
        let calls = Self {
            route: Route::OwnPage,
            inputs,
        };
        if !OverlayPage(msr::read(HYPERCALL)?).enabled() {
            pr_err!("the hypervisor did not enable the hypercall page\n");
            return Err(EIO);
        }
        Ok(calls)
    }

    /// Whether the kernel set itself up as a guest; if not, it has no interrupt vector for the SynIC.
    #[must_use]
    pub fn through_kernel(&self) -> bool {
        self.route == Route::Kernel
    }

    /// Makes a call.
    ///
    /// # Safety
    ///
    /// `input` and `output` are what the call of `control` takes: register values, or addresses of memory that is
    /// the caller's until the call returns.
    unsafe fn call(&self, control: Control, input: u64, output: u64) -> ResultWord {
        // SAFETY: The caller answers for the operands; the route was checked to lead to the hypervisor.
        ResultWord(unsafe {
            match self.route {
                Route::Kernel => {
                    hv_bindings::rust_helper_hv_static_call(control.bits(), input, output)
                }
                Route::OwnPage => {
                    hv_bindings::rust_helper_hv_page_call(control.bits(), input, output)
                }
            }
        })
    }

    /// Posts a channel message of up to 240 bytes to a connection. Any context, also after a panic.
    ///
    /// # Errors
    ///
    /// [`PostError`]; nothing was sent.
    pub fn post_message(&self, connection_id: u32, message: &[u8]) -> Result<(), PostError> {
        let input = PostMessage::new(connection_id, MessageType::CHANNEL, message)
            .ok_or(PostError::TooLong)?;
        let _off = InterruptsOff::new();
        let page = self.inputs.get(Cpu::current()).ok_or(PostError::TooLong)?;
        let mut words = input
            .as_bytes()
            .chunks_exact(8)
            .map(|c| <[u8; 8]>::try_from(c).unwrap_or_default());
        for (index, bytes) in words.by_ref().enumerate() {
            if let Some(word) = page.word(index) {
                word.store(u64::from_le_bytes(bytes), Relaxed);
            }
        }
        // SAFETY: The input is a page of this CPU's, which nobody else uses while interrupts are off.
        unsafe { self.call(Control::new(Code::POST_MESSAGE), page.physical_address(), 0) }
            .ok()
            .map_err(PostError::Refused)
    }

    /// Signals flag 0 of a connection, a fast call. Any context.
    ///
    /// # Errors
    ///
    /// The hypervisor's status.
    pub fn signal_event(&self, connection_id: u32) -> Result<(), Status> {
        let input = SignalEvent::new(connection_id, 0);
        // SAFETY: A fast call takes its input from the register.
        unsafe { self.call(Control::new(Code::SIGNAL_EVENT).fast(), input.bits(), 0) }.ok()
    }

    /// Asks which extended hypercalls exist, a slow call with output. Process context.
    ///
    /// # Errors
    ///
    /// The hypervisor's status.
    pub fn extended_capabilities(&self) -> Result<u64, Status> {
        let _off = InterruptsOff::new();
        let page = self
            .inputs
            .get(Cpu::current())
            .ok_or(Status::INVALID_VP_INDEX)?;
        let output = page.word(0).ok_or(Status::INVALID_PARAMETER)?;
        output.store(0, Relaxed);
        // SAFETY: The output is a page of this CPU's, which nobody else uses while interrupts are off.
        unsafe {
            self.call(
                Control::new(Code::EXT_QUERY_CAPABILITIES),
                0,
                page.physical_address(),
            )
        }
        .ok()?;
        Ok(output.load(Relaxed))
    }

    /// Flushes pages from the TLBs of all VPs, whatever the address space: a repeated call. Any context.
    ///
    /// Each of `pages` is a page-aligned virtual address. Flushing is always harmless.
    ///
    /// # Errors
    ///
    /// The hypervisor's status; `INVALID_PARAMETER` for no pages or more than 509, which is what one input holds.
    pub fn flush_pages(&self, pages: &[u64]) -> Result<(), Status> {
        /// Address space, ignored; flags: all VPs, all address spaces; set of VPs, ignored.
        const HEADER: [u64; 3] = [0, 0b11, 0];
        if pages.len() > HV_PAGE_SIZE / 8 - HEADER.len() {
            return Err(Status::INVALID_PARAMETER);
        }
        let count = u16::try_from(pages.len()).map_err(|_| Status::INVALID_PARAMETER)?;
        let mut rep = Rep::new(Control::new(Code::FLUSH_VIRTUAL_ADDRESS_LIST), count)
            .ok_or(Status::INVALID_PARAMETER)?;
        let _off = InterruptsOff::new();
        let page = self
            .inputs
            .get(Cpu::current())
            .ok_or(Status::INVALID_VP_INDEX)?;
        for (index, value) in Iterator::chain(HEADER.iter(), pages).enumerate() {
            if let Some(word) = page.word(index) {
                word.store(*value, Relaxed);
            }
        }
        loop {
            // SAFETY: The input is a page of this CPU's, which nobody else uses while interrupts are off.
            match rep.step(unsafe { self.call(rep.control(), page.physical_address(), 0) }) {
                RepStep::Again(next) => rep = next,
                RepStep::Done => return Ok(()),
                RepStep::Failed { status, .. } => return Err(status),
                RepStep::Stuck { .. } => return Err(Status::OPERATION_FAILED),
            }
        }
    }
}

impl Drop for Hypercalls {
    fn drop(&mut self) {
        if self.route == Route::Kernel {
            return;
        }
        let Ok(value) = msr::read(HYPERCALL) else {
            return;
        };
        // SAFETY: This takes back what `new` gave; nobody can call any more, since `self` is going.
        let disabled = unsafe { msr::write(HYPERCALL, OverlayPage(value).disable().0) };
        // SAFETY: 0 says that no operating system is there.
        if disabled.and(unsafe { msr::write(GUEST_OS_ID, 0) }).is_err() {
            pr_err!("the hypervisor kept the hypercall page; a page of free memory may be overwritten\n");
        }
    }
}
