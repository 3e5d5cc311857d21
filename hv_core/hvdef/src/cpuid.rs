// SPDX-License-Identifier: GPL-2.0

//! Discovery of the hypervisor through CPUID (TLFS section 2).

use crate::open_enum;
use core::fmt;

/// The feature leaf of the processor, where bit 31 of ECX says that there is a hypervisor.
pub const PROCESSOR_FEATURES: u32 = 1;
/// Largest hypervisor leaf, and the vendor's signature.
pub const VENDOR: u32 = 0x4000_0000;
/// Signature of the interface.
pub const INTERFACE: u32 = 0x4000_0001;
/// [`Version`] of the hypervisor.
pub const VERSION: u32 = 0x4000_0002;
/// [`Privileges`] and [`Features`].
pub const FEATURES: u32 = 0x4000_0003;
/// [`Recommendations`].
pub const RECOMMENDATIONS: u32 = 0x4000_0004;
/// [`Limits`].
pub const LIMITS: u32 = 0x4000_0005;
/// [`HardwareFeatures`].
pub const HARDWARE_FEATURES: u32 = 0x4000_0006;
/// [`Isolation`].
pub const ISOLATION: u32 = 0x4000_000c;

/// The last leaf that a hypervisor may report as its largest.
const LAST_LEAF: u32 = 0x4000_ffff;

/// The vendor's signature in EBX, ECX and EDX of leaf [`VENDOR`].
const MICROSOFT_HV: [u8; 12] = *b"Microsoft Hv";

/// The interface's signature in EAX of leaf [`INTERFACE`].
const HV_1: [u8; 4] = *b"Hv#1";

bitflags::bitflags! {
    /// What the partition may do: EBX:EAX of leaf [`FEATURES`] (`HV_PARTITION_PRIVILEGE_MASK`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Privileges: u64 {
        /// Read the VP runtime MSR.
        const VP_RUNTIME_MSR = 1 << 0;
        /// Read the reference counter MSR.
        const TIME_REF_COUNT_MSR = 1 << 1;
        /// Use the SynIC MSRs.
        const SYNIC_MSRS = 1 << 2;
        /// Use the synthetic timer MSRs.
        const SYNTHETIC_TIMER_MSRS = 1 << 3;
        /// Use the APIC MSRs.
        const APIC_MSRS = 1 << 4;
        /// Use the guest OS id and hypercall MSRs.
        const HYPERCALL_MSRS = 1 << 5;
        /// Read the VP index MSR.
        const VP_INDEX_MSR = 1 << 6;
        /// Use the reset MSR.
        const RESET_MSR = 1 << 7;
        /// Use the statistics pages MSRs.
        const STATISTICS_MSRS = 1 << 8;
        /// Use the reference TSC page.
        const REFERENCE_TSC_MSR = 1 << 9;
        /// Use the guest idle MSR.
        const GUEST_IDLE_MSR = 1 << 10;
        /// Read the frequency MSRs.
        const FREQUENCY_MSRS = 1 << 11;
        /// Use the reenlightenment MSRs.
        const REENLIGHTENMENT_MSRS = 1 << 13;
        /// Use the invariant TSC control MSR.
        const TSC_INVARIANT_MSR = 1 << 15;
        /// Create partitions: the root partition has this.
        const CREATE_PARTITIONS = 1 << 32;
        /// Read the partition's id.
        const ACCESS_PARTITION_ID = 1 << 33;
        /// Use memory pools.
        const ACCESS_MEMORY_POOL = 1 << 34;
        /// Post messages.
        const POST_MESSAGES = 1 << 36;
        /// Signal events.
        const SIGNAL_EVENTS = 1 << 37;
        /// Create ports.
        const CREATE_PORT = 1 << 38;
        /// Connect to ports.
        const CONNECT_PORT = 1 << 39;
        /// Read statistics.
        const ACCESS_STATS = 1 << 40;
        /// Use debugging calls.
        const DEBUGGING = 1 << 43;
        /// Manage processors: the root partition has this.
        const CPU_MANAGEMENT = 1 << 44;
        /// Use extended hypercalls.
        const EXTENDED_HYPERCALLS = 1 << 52;
        /// The partition is isolated, and leaf [`ISOLATION`] counts.
        const ISOLATION = 1 << 54;
    }
}

bitflags::bitflags! {
    /// What the hypervisor offers: EDX of leaf [`FEATURES`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// MWAIT.
        const MWAIT = 1 << 0;
        /// Guest debugging.
        const GUEST_DEBUGGING = 1 << 1;
        /// Performance monitors.
        const PERFORMANCE_MONITOR = 1 << 2;
        /// Hypercall input in XMM registers.
        const XMM_HYPERCALL_INPUT = 1 << 4;
        /// Guest idle state.
        const GUEST_IDLE_STATE = 1 << 5;
        /// TSC and APIC frequency MSRs.
        const FREQUENCY_MSRS = 1 << 8;
        /// Crash MSRs.
        const CRASH_MSRS = 1 << 10;
        /// Debug MSRs.
        const DEBUG_MSRS = 1 << 11;
        /// Address ranges in extended TLB flushes.
        const EXTENDED_GVA_RANGES = 1 << 14;
        /// Hypercall output in XMM registers.
        const XMM_HYPERCALL_OUTPUT = 1 << 15;
        /// SINT polling mode.
        const SINT_POLLING = 1 << 17;
        /// Synthetic timers that raise their own vector.
        const DIRECT_SYNTHETIC_TIMERS = 1 << 19;
    }
}

bitflags::bitflags! {
    /// What the hypervisor advises: EAX of leaf [`RECOMMENDATIONS`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Recommendations: u32 {
        /// Switch address spaces by hypercall.
        const ADDRESS_SPACE_SWITCH = 1 << 0;
        /// Flush the own TLB by hypercall.
        const LOCAL_TLB_FLUSH = 1 << 1;
        /// Flush other VPs' TLBs by hypercall.
        const REMOTE_TLB_FLUSH = 1 << 2;
        /// Use the APIC MSRs.
        const APIC_MSRS = 1 << 3;
        /// Reset through the MSR.
        const RESET_MSR = 1 << 4;
        /// Relax timing: no watchdogs.
        const RELAXED_TIMING = 1 << 5;
        /// Do not use auto-EOI in a SINT, since it is deprecated and prevents virtual APICs in hardware.
        const DEPRECATING_AEOI = 1 << 9;
        /// Send IPIs by hypercall.
        const CLUSTER_IPI = 1 << 10;
        /// Use the calls with extended processor masks.
        const EX_PROCESSOR_MASKS = 1 << 11;
        /// The hypervisor is itself nested in Hyper-V.
        const NESTED = 1 << 12;
        /// Use the enlightened VMCS.
        const ENLIGHTENED_VMCS = 1 << 14;
    }
}

bitflags::bitflags! {
    /// Hardware that the hypervisor uses: EAX of leaf [`HARDWARE_FEATURES`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HardwareFeatures: u32 {
        /// APIC overlay assist.
        const APIC_OVERLAY_ASSIST = 1 << 0;
        /// MSR bitmaps.
        const MSR_BITMAPS = 1 << 1;
        /// Architectural performance counters.
        const PERFORMANCE_COUNTERS = 1 << 2;
        /// Second level address translation.
        const SECOND_LEVEL_ADDRESS_TRANSLATION = 1 << 3;
        /// DMA remapping.
        const DMA_REMAPPING = 1 << 4;
        /// Interrupt remapping.
        const INTERRUPT_REMAPPING = 1 << 5;
        /// A memory scrubber.
        const MEMORY_PATROL_SCRUBBER = 1 << 6;
        /// DMA protection.
        const DMA_PROTECTION = 1 << 7;
        /// The HPET is asked for.
        const HPET_REQUESTED = 1 << 8;
        /// Synthetic timers lose their state across a power transition.
        const VOLATILE_SYNTHETIC_TIMERS = 1 << 9;
    }
}

/// Version of the hypervisor: leaf [`VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Build number.
    pub build: u32,
    /// Service pack.
    pub service_pack: u32,
    /// Service branch.
    pub service_branch: u8,
    /// Service number, 24 bits.
    pub service_number: u32,
}

impl Version {
    /// Reads the four registers of the leaf.
    const fn new([build, version, service_pack, service]: [u32; 4]) -> Self {
        let [minor_low, minor_high, major_low, major_high] = version.to_le_bytes();
        Self {
            major: u16::from_le_bytes([major_low, major_high]),
            minor: u16::from_le_bytes([minor_low, minor_high]),
            build,
            service_pack,
            service_branch: service.to_le_bytes()[3],
            service_number: service & 0xff_ffff,
        }
    }
}

impl fmt::Display for Version {
    /// As the kernel's own line at boot: `major.minor.build.service_pack-branch-number`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            major,
            minor,
            build,
            service_pack,
            service_branch,
            service_number,
        } = self;
        write!(
            f,
            "{major}.{minor}.{build}.{service_pack}-{service_branch}-{service_number}"
        )
    }
}

/// Largest configuration: leaf [`LIMITS`]. 0 says that the hypervisor does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Virtual processors of the partition.
    pub virtual_processors: u32,
    /// Logical processors of the machine.
    pub logical_processors: u32,
    /// Physical interrupt vectors for remapping.
    pub interrupt_vectors: u32,
}

open_enum! {
    /// How the partition is isolated from the host.
    pub enum IsolationType: u32 {
        /// Not at all.
        NONE = 0,
        /// By the hypervisor (virtualization-based security).
        VBS = 1,
        /// By AMD SEV-SNP.
        SNP = 2,
        /// By Intel TDX.
        TDX = 3,
    }
}

/// Isolation of the partition: leaf [`ISOLATION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// The kind.
    pub isolation_type: IsolationType,
    /// Whether a paravisor runs in the partition.
    pub paravisor: bool,
    /// The bit of the address that separates private from shared memory, where there is one.
    pub shared_gpa_boundary_bit: Option<u8>,
}

impl Isolation {
    /// The leaf does not count.
    const NONE: Self = Self {
        isolation_type: IsolationType::NONE,
        paravisor: false,
        shared_gpa_boundary_bit: None,
    };

    /// Reads the four registers of the leaf.
    fn new([a, b, _, _]: [u32; 4]) -> Self {
        Self {
            isolation_type: IsolationType(b & 0xf),
            paravisor: a & 1 == 1,
            shared_gpa_boundary_bit: (b >> 5 & 1 == 1).then_some((b >> 6).to_le_bytes()[0] & 0x3f),
        }
    }
}

/// Why there is no hypervisor that we can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoverError {
    /// The processor reports no hypervisor at all.
    NotVirtual,
    /// The hypervisor is another one, with this signature.
    OtherVendor([u8; 12]),
    /// The hypervisor has another interface, with this signature.
    OtherInterface([u8; 4]),
    /// The largest leaf is below [`LIMITS`] or out of the range of the hypervisor leaves.
    TooOld {
        /// The largest leaf.
        max_leaf: u32,
    },
}

impl fmt::Display for DiscoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVirtual => f.write_str("this machine does not run under a hypervisor"),
            Self::OtherVendor(signature) => {
                write!(
                    f,
                    "the hypervisor is \"{}\", not Hyper-V or compatible",
                    without_nuls(signature).escape_ascii()
                )
            }
            Self::OtherInterface(signature) => {
                write!(
                    f,
                    "the hypervisor has the interface \"{}\", not \"Hv#1\"",
                    signature.escape_ascii()
                )
            }
            Self::TooOld { max_leaf } => {
                write!(
                    f,
                    "the hypervisor's last CPUID leaf is {max_leaf:#x}, but {LIMITS:#x} is needed"
                )
            }
        }
    }
}

/// A hypervisor that speaks the TLFS, as CPUID describes it. [`Display`](fmt::Display) prints a table of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hypervisor {
    /// The largest hypervisor leaf.
    pub max_leaf: u32,
    /// Its version.
    pub version: Version,
    /// What the partition may do.
    pub privileges: Privileges,
    /// What the hypervisor offers.
    pub features: Features,
    /// What the hypervisor advises.
    pub recommendations: Recommendations,
    /// Spins on a lock before telling the hypervisor, where it wants to be told.
    pub spinlock_retries: Option<u32>,
    /// Its limits.
    pub limits: Limits,
    /// Hardware that it uses.
    pub hardware: HardwareFeatures,
    /// How the partition is isolated.
    pub isolation: Isolation,
}

impl Hypervisor {
    /// Asks CPUID, given a function from a leaf to EAX, EBX, ECX and EDX.
    ///
    /// # Errors
    ///
    /// See [`DiscoverError`].
    pub fn discover(mut cpuid: impl FnMut(u32) -> [u32; 4]) -> Result<Self, DiscoverError> {
        let [_, _, processor_features, _] = cpuid(PROCESSOR_FEATURES);
        if processor_features >> 31 == 0 {
            return Err(DiscoverError::NotVirtual);
        }
        let [max_leaf, b, c, d] = cpuid(VENDOR);
        let signature = signature(b, c, d);
        if signature != MICROSOFT_HV {
            return Err(DiscoverError::OtherVendor(signature));
        }
        if !(LIMITS..=LAST_LEAF).contains(&max_leaf) {
            return Err(DiscoverError::TooOld { max_leaf });
        }
        let [interface, ..] = cpuid(INTERFACE);
        if interface.to_le_bytes() != HV_1 {
            return Err(DiscoverError::OtherInterface(interface.to_le_bytes()));
        }
        // A processor answers a leaf beyond the largest with data of another leaf.
        let mut leaf = |leaf: u32| {
            if leaf <= max_leaf {
                cpuid(leaf)
            } else {
                [0; 4]
            }
        };

        let [low, high, _, features] = leaf(FEATURES);
        let privileges = Privileges::from_bits_retain(u64::from(high) << 32 | u64::from(low));
        let [recommendations, retries, ..] = leaf(RECOMMENDATIONS);
        let [virtual_processors, logical_processors, interrupt_vectors, _] = leaf(LIMITS);
        let [hardware, ..] = leaf(HARDWARE_FEATURES);
        let isolated = privileges.contains(Privileges::ISOLATION);
        Ok(Self {
            max_leaf,
            version: Version::new(leaf(VERSION)),
            privileges,
            features: Features::from_bits_retain(features),
            recommendations: Recommendations::from_bits_retain(recommendations),
            spinlock_retries: (retries != u32::MAX).then_some(retries),
            limits: Limits {
                virtual_processors,
                logical_processors,
                interrupt_vectors,
            },
            hardware: HardwareFeatures::from_bits_retain(hardware),
            isolation: if isolated {
                Isolation::new(leaf(ISOLATION))
            } else {
                Isolation::NONE
            },
        })
    }
}

/// The characters before the first NUL: shorter names are padded.
fn without_nuls(signature: &[u8; 12]) -> &[u8] {
    signature.split(|c| *c == 0).next().unwrap_or(signature)
}

/// The 12 characters in three registers.
const fn signature(b: u32, c: u32, d: u32) -> [u8; 12] {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]) =
        (b.to_le_bytes(), c.to_le_bytes(), d.to_le_bytes());
    [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3]
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "version          {}", self.version)?;
        writeln!(f, "last leaf        {:#x}", self.max_leaf)?;
        writeln!(f, "privileges       {}", Names(self.privileges))?;
        writeln!(f, "features         {}", Names(self.features))?;
        writeln!(f, "recommendations  {}", Names(self.recommendations))?;
        writeln!(f, "hardware         {}", Names(self.hardware))?;
        let Limits {
            virtual_processors,
            logical_processors,
            interrupt_vectors,
        } = self.limits;
        writeln!(
            f,
            "limits           {virtual_processors} VPs, {logical_processors} LPs, {interrupt_vectors} vectors"
        )?;
        let paravisor = if self.isolation.paravisor {
            ", paravisor"
        } else {
            ""
        };
        writeln!(
            f,
            "isolation        {:?}{paravisor}",
            self.isolation.isolation_type
        )
    }
}

/// Prints the names of flags, and the rest as a hexadecimal number.
struct Names<T>(T);

impl<T: bitflags::Flags> fmt::Display for Names<T>
where
    T::Bits: fmt::LowerHex + PartialEq,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.0.iter_names();
        let mut separator = "";
        for (name, _) in &mut names {
            write!(f, "{separator}{name}")?;
            separator = " ";
        }
        let rest = names.remaining().bits();
        if separator.is_empty() || rest != T::empty().bits() {
            write!(f, "{separator}{rest:#x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
