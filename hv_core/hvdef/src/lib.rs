// SPDX-License-Identifier: GPL-2.0

//! The hypervisor interface as data: CPUID leaves, MSRs, hypercalls, SynIC layouts and reference time.
//!
//! The source of every number is the Hypervisor Top-Level Functional Specification (TLFS) and, where that is silent,
//! the kernel's `include/hyperv/hvgdk_mini.h`. Nothing here touches hardware: callers read and write, this crate
//! says what the bits mean.
//!
//! Glossary: *TLFS*, the specification above. *VP*, virtual processor. *VTL*, virtual trust level. *SynIC*,
//! synthetic interrupt controller. *SINT*, one of its 16 interrupt sources. *SIMP*, the page of 16 message slots.
//! *SIEFP*, the page of 16 event flag arrays. *EOM*, end of message. *PFN*, guest page number in units of 4096 bytes.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod cpuid;
pub mod guid;
pub mod hypercall;
pub mod msr;
mod open_enum;
pub mod synic;
pub mod time;

pub use cpuid::{DiscoverError, Hypervisor};
pub use guid::Guid;
