// SPDX-License-Identifier: GPL-2.0

//! The hypervisor interface of a Hyper-V guest: discovery, hypercalls, the SynIC and reference time.
//!
//! This crate has no `module!`: it is linked into hv_core.ko, whose `module.rs` owns the one [`Partition`], and its
//! symbols are exported to the modules above. Facts come from the TLFS; the pure half is the crate [`hvdef`].

pub mod compat;
mod counter;
mod cpuhp;
mod cpuid;
mod debugfs;
mod hypercall;
mod irqflags;
mod msr;
mod page;
mod partition;
mod percpu;
mod ratelimit;
mod rcu;
mod sched_mm;
mod spinlock;
mod synic;
mod time;

pub use self::counter::Counter;
pub use self::cpuhp::{Cpu, Hotplug, HotplugLock, HotplugState};
pub use self::debugfs::Files;
pub use self::hypercall::{Hypercalls, PostError};
pub use self::irqflags::InterruptsOff;
pub use self::page::{HostPage, HV_PAGE_SIZE};
pub use self::partition::{partition, Partition, Registration};
pub use self::percpu::PerCpu;
pub use self::ratelimit::RateLimit;
pub use self::rcu::{synchronize_rcu, RcuSlot};
pub use self::sched_mm::NoIo;
pub use self::spinlock::{IrqLock, IrqLockBackend};
pub use self::synic::{Delivery, InterruptHandler, MessageCopy, Synic};

pub use self::time::reference_time;

pub use hvdef;

/// What `pr_*!` print in front of each line; `module!` makes this for crates that have it.
const __LOG_PREFIX: &[u8] = b"hv_core\0";
