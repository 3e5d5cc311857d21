// SPDX-License-Identifier: GPL-2.0

//! The synthetic MSRs that a guest uses (TLFS appendix F), and the values that they hold.
//!
//! The value types wrap the whole 64 bits: what a setter does not name keeps the value that was read, because the
//! TLFS asks that reserved bits be preserved.

/// Identity of the guest operating system: a [`GuestOsId`]. Must be set before [`HYPERCALL`].
pub const GUEST_OS_ID: u32 = 0x4000_0000;
/// Location of the hypercall page: an [`OverlayPage`].
pub const HYPERCALL: u32 = 0x4000_0001;
/// Index of the current VP, read-only; the low 32 bits.
pub const VP_INDEX: u32 = 0x4000_0002;
/// Reset of the partition: writing 1 resets it.
pub const RESET: u32 = 0x4000_0003;
/// Time that the VP has run, in 100 ns units, read-only.
pub const VP_RUNTIME: u32 = 0x4000_0010;
/// Reference time in 100 ns units, read-only.
pub const TIME_REF_COUNT: u32 = 0x4000_0020;
/// Location of the reference TSC page: an [`OverlayPage`].
pub const REFERENCE_TSC: u32 = 0x4000_0021;
/// TSC frequency in Hz, read-only.
pub const TSC_FREQUENCY: u32 = 0x4000_0022;
/// Local APIC timer frequency in Hz, read-only.
pub const APIC_FREQUENCY: u32 = 0x4000_0023;
/// Location of the VP assist page: an [`OverlayPage`].
pub const VP_ASSIST_PAGE: u32 = 0x4000_0073;
/// SynIC control: an [`Scontrol`].
pub const SCONTROL: u32 = 0x4000_0080;
/// SynIC version, read-only.
pub const SVERSION: u32 = 0x4000_0081;
/// Location of the SynIC event flags page: an [`OverlayPage`].
pub const SIEFP: u32 = 0x4000_0082;
/// Location of the SynIC message page: an [`OverlayPage`].
pub const SIMP: u32 = 0x4000_0083;
/// End of message: writing 0 asks the hypervisor to deliver queued messages.
pub const EOM: u32 = 0x4000_0084;
/// The first of the 16 SINT registers; see [`sint`].
pub const SINT0: u32 = 0x4000_0090;
/// The first of the five crash parameters, at consecutive numbers.
pub const CRASH_P0: u32 = 0x4000_0100;
/// Crash control; see [`CRASH_NOTIFY`].
pub const CRASH_CTL: u32 = 0x4000_0105;
/// Whether the TSC is exposed as invariant; bit 0 asks for it.
pub const TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;

/// Value of [`CRASH_CTL`] that reports a crash with the five parameters.
pub const CRASH_NOTIFY: u64 = 1 << 63;
/// Added to [`CRASH_NOTIFY`]: P3 is the address and P4 the length (at most 4096) of a text.
pub const CRASH_NOTIFY_MESSAGE: u64 = 1 << 62;

/// The number of the register of SINT `index`, if there is one.
#[must_use]
pub const fn sint(index: u8) -> Option<u32> {
    match index {
        #[expect(
            clippy::as_conversions,
            reason = "A const fn has no From; a byte always fits."
        )]
        0..=15 => Some(SINT0.wrapping_add(index as u32)),
        _ => None,
    }
}

/// Whether bit `number` of `value` is set.
const fn bit(value: u64, number: u32) -> bool {
    value.wrapping_shr(number) & 1 == 1
}

/// `value` with bit `number` set or cleared.
const fn with_bit(value: u64, number: u32, on: bool) -> u64 {
    let mask = 1u64.wrapping_shl(number);
    if on {
        value | mask
    } else {
        value & !mask
    }
}

/// Value of [`GUEST_OS_ID`] in the form for open-source systems (TLFS section 2.6).
///
/// Bit 63: open source. Bits 62-56: system, 1 for Linux. Bits 55-48: system's own. Bits 47-16: version.
/// Bits 15-0: build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct GuestOsId(pub u64);

impl GuestOsId {
    /// Open source, Linux (`HV_LINUX_VENDOR_ID`).
    const LINUX: u64 = 0x8100 << 48;

    /// The identity of a Linux kernel, given its `LINUX_VERSION_CODE`.
    #[must_use]
    pub fn linux(version_code: u32) -> Self {
        Self(Self::LINUX | u64::from(version_code) << 16)
    }
}

/// Value of an MSR that places a page of the hypervisor's in the guest's address space.
///
/// [`HYPERCALL`], [`SIMP`], [`SIEFP`], [`REFERENCE_TSC`] and [`VP_ASSIST_PAGE`] share it. Bit 0: enabled. Bit 1:
/// locked, in the hypercall register only. Bits 63-12: page number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct OverlayPage(pub u64);

impl OverlayPage {
    /// Whether the page is in place.
    #[must_use]
    pub const fn enabled(self) -> bool {
        bit(self.0, 0)
    }

    /// Whether the register is immutable until the system resets; for [`HYPERCALL`] only.
    #[must_use]
    pub const fn locked(self) -> bool {
        bit(self.0, 1)
    }

    /// The guest page number, in units of 4096 bytes.
    #[must_use]
    pub const fn pfn(self) -> u64 {
        self.0 >> 12
    }

    /// The value that puts the page at `pfn`; bits beyond the register's 52 are lost.
    #[must_use]
    pub const fn enable_at(self, pfn: u64) -> Self {
        Self(with_bit(self.0 & 0xfff | pfn << 12, 0, true))
    }

    /// The value that removes the page.
    #[must_use]
    pub const fn disable(self) -> Self {
        Self(with_bit(self.0 & 0xfff, 0, false))
    }
}

/// Value of a SINT register (TLFS section 11.8.4).
///
/// Bits 7-0: vector. Bit 16: masked. Bit 17: auto-EOI. Bit 18: polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Sint(pub u64);

impl Sint {
    /// The interrupt vector; the hypervisor refuses those below 16.
    #[must_use]
    pub const fn vector(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Whether no interrupt is raised.
    #[must_use]
    pub const fn masked(self) -> bool {
        bit(self.0, 16)
    }

    /// Whether the APIC ends the interrupt by itself when it is delivered.
    #[must_use]
    pub const fn auto_eoi(self) -> bool {
        bit(self.0, 17)
    }

    /// Whether the guest polls the slot, so that messages queue without an interrupt.
    #[must_use]
    pub const fn polling(self) -> bool {
        bit(self.0, 18)
    }

    /// The value with another vector.
    #[must_use]
    pub fn with_vector(self, vector: u8) -> Self {
        Self(self.0 & !0xff | u64::from(vector))
    }

    /// The value masked or not.
    #[must_use]
    pub const fn with_masked(self, masked: bool) -> Self {
        Self(with_bit(self.0, 16, masked))
    }

    /// The value with auto-EOI or without.
    #[must_use]
    pub const fn with_auto_eoi(self, auto_eoi: bool) -> Self {
        Self(with_bit(self.0, 17, auto_eoi))
    }

    /// The value with polling or without.
    #[must_use]
    pub const fn with_polling(self, polling: bool) -> Self {
        Self(with_bit(self.0, 18, polling))
    }
}

/// Value of [`SCONTROL`]. Bit 0: the SynIC of this VP is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Scontrol(pub u64);

impl Scontrol {
    /// Whether this VP's SynIC is enabled.
    #[must_use]
    pub const fn enabled(self) -> bool {
        bit(self.0, 0)
    }

    /// The value enabled or not.
    #[must_use]
    pub const fn with_enabled(self, enabled: bool) -> Self {
        Self(with_bit(self.0, 0, enabled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn linux_7_3_4_identifies_itself() {
        assert_eq!(
            GuestOsId::linux(7 << 16 | 3 << 8 | 4).0,
            0x8100_0007_0304_0000
        );
        assert_eq!(GuestOsId::linux(u32::MAX).0, 0x8100_ffff_ffff_0000);
    }

    #[test]
    fn there_are_sixteen_sints() {
        assert_eq!(sint(0), Some(0x4000_0090));
        assert_eq!(sint(2), Some(0x4000_0092));
        assert_eq!(sint(15), Some(0x4000_009f));
        assert_eq!(sint(16), None);
        assert_eq!(sint(255), None);
    }

    #[test]
    fn overlay_page_bits() {
        let page = OverlayPage(0).enable_at(0x1234);
        assert_eq!(page.0, 0x123_4001);
        assert!(page.enabled() && !page.locked() && OverlayPage(2).locked());
        assert_eq!(OverlayPage(0).enable_at(u64::MAX).pfn(), (1 << 52) - 1);
        assert_eq!(page.disable().0, 0);
    }

    #[test]
    fn sint_bits() {
        let sint = Sint(1 << 16)
            .with_vector(0xf3)
            .with_masked(false)
            .with_auto_eoi(true)
            .with_polling(true);
        assert_eq!(sint.0, 0x6_00f3);
        assert!(!sint.masked() && sint.auto_eoi() && sint.polling());
        assert_eq!(sint.vector(), 0xf3);
    }

    proptest! {
        #[test]
        fn reserved_bits_are_preserved(old: u64, pfn: u64, vector: u8, on: bool) {
            prop_assert_eq!(OverlayPage(old).enable_at(pfn).0 & 0xffe, old & 0xffe);
            prop_assert_eq!(OverlayPage(old).disable().0 & 0xffe, old & 0xffe);
            let sint = Sint(old).with_vector(vector).with_masked(on).with_auto_eoi(on).with_polling(on);
            prop_assert_eq!(sint.0 & !0x7_00ff, old & !0x7_00ff);
            prop_assert_eq!((sint.vector(), sint.masked(), sint.auto_eoi(), sint.polling()), (vector, on, on, on));
            prop_assert_eq!(Scontrol(old).with_enabled(on).0 & !1, old & !1);
        }
    }
}
