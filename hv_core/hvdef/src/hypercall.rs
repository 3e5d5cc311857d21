// SPDX-License-Identifier: GPL-2.0

//! Hypercalls: the control word, the result word, and the inputs of the calls that a guest's VMBus needs.

use crate::open_enum;
use zerocopy::little_endian::U32;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

open_enum! {
    /// Call codes (TLFS appendix A).
    pub enum Code: u16 {
        /// Flushes ranges of virtual addresses from TLBs, a repeated call with a header of 24 bytes.
        FLUSH_VIRTUAL_ADDRESS_LIST = 0x0003,
        /// Sends a message to a port of the parent partition; input [`PostMessage`].
        POST_MESSAGE = 0x005c,
        /// Sets an event flag of a port; fast input [`SignalEvent`].
        SIGNAL_EVENT = 0x005d,
        /// Reports which extended hypercalls exist; output: 64 bits.
        EXT_QUERY_CAPABILITIES = 0x8001,
    }
}

open_enum! {
    /// The status in the result of a hypercall (TLFS appendix B).
    pub enum Status: u16 {
        /// The call did what was asked.
        SUCCESS = 0x00,
        /// No such call.
        INVALID_HYPERCALL_CODE = 0x02,
        /// The control word or the location of the input is invalid.
        INVALID_HYPERCALL_INPUT = 0x03,
        /// An input or output is not aligned to 8 bytes or crosses a page.
        INVALID_ALIGNMENT = 0x04,
        /// A parameter is invalid.
        INVALID_PARAMETER = 0x05,
        /// The caller lacks a privilege.
        ACCESS_DENIED = 0x06,
        /// The partition is in the wrong state.
        INVALID_PARTITION_STATE = 0x07,
        /// The operation is not allowed now.
        OPERATION_DENIED = 0x08,
        /// The property is unknown.
        UNKNOWN_PROPERTY = 0x09,
        /// The value of a property is out of range.
        PROPERTY_VALUE_OUT_OF_RANGE = 0x0a,
        /// The hypervisor has too little memory at present.
        INSUFFICIENT_MEMORY = 0x0b,
        /// No such partition.
        INVALID_PARTITION_ID = 0x0d,
        /// No such VP.
        INVALID_VP_INDEX = 0x0e,
        /// Not found.
        NOT_FOUND = 0x10,
        /// No such port.
        INVALID_PORT_ID = 0x11,
        /// No such connection; a host that is just creating it says so too.
        INVALID_CONNECTION_ID = 0x12,
        /// The port has no free message buffer at present.
        INSUFFICIENT_BUFFERS = 0x13,
        /// The previous message has not been acknowledged.
        NOT_ACKNOWLEDGED = 0x14,
        /// The VP is in the wrong state.
        INVALID_VP_STATE = 0x15,
        /// A resource is exhausted.
        NO_RESOURCES = 0x1d,
        /// The processor lacks a feature.
        PROCESSOR_FEATURE_NOT_SUPPORTED = 0x20,
        /// No such logical processor.
        INVALID_LP_INDEX = 0x41,
        /// A register cannot hold the value.
        INVALID_REGISTER_VALUE = 0x50,
        /// The operation failed.
        OPERATION_FAILED = 0x71,
        /// The operation took too long.
        TIME_OUT = 0x78,
    }
}

impl Status {
    /// Whether posting the same message again later may succeed.
    ///
    /// [`INVALID_CONNECTION_ID`](Self::INVALID_CONNECTION_ID) belongs here: hosts answer it while the connection is
    /// being set up (`vmbus_post_msg` in the kernel).
    #[must_use]
    pub const fn is_transient_for_post(self) -> bool {
        matches!(
            self,
            Self::INVALID_CONNECTION_ID | Self::INSUFFICIENT_MEMORY | Self::INSUFFICIENT_BUFFERS
        )
    }
}

/// The largest repeat count of one call: the field has 12 bits.
pub const MAX_REPS: u16 = 0xfff;

/// The control word of a call (TLFS section 3.7).
///
/// Bits 15-0: code. Bit 16: fast, the input is in registers. Bits 26-17: size of the variable header in 8 bytes.
/// Bits 43-32: repeat count. Bits 59-48: repeat start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Control(u64);

impl Control {
    /// A simple call whose input is in memory.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self(u64::from(code.0))
    }

    /// The same call with its input of up to 16 bytes in registers.
    #[must_use]
    pub const fn fast(self) -> Self {
        Self(self.0 | 1 << 16)
    }

    /// The same call with a variable header of `units` times 8 bytes, if the field of 10 bits holds it.
    #[must_use]
    pub fn variable_header(self, units: u16) -> Option<Self> {
        (units < 1 << 10).then(|| Self(self.0 & !(0x3ff << 17) | u64::from(units) << 17))
    }

    /// The same call with a repeat count and start; [`Rep`] checks them.
    fn repeat(self, count: u16, start: u16) -> Self {
        let keep = self.0 & 0xffff_ffff;
        Self(keep | u64::from(count) << 32 | u64::from(start) << 48)
    }

    /// The word for the register.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// The result word of a call. Bits 15-0: [`Status`]. Bits 43-32: repetitions completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct ResultWord(pub u64);

impl ResultWord {
    /// The status.
    #[must_use]
    pub const fn status(self) -> Status {
        let bytes = self.0.to_le_bytes();
        Status(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// How many repetitions are complete, those before this call's start included.
    #[must_use]
    pub const fn reps_completed(self) -> u16 {
        let bytes = self.0.to_le_bytes();
        u16::from_le_bytes([bytes[4], bytes[5]]) & MAX_REPS
    }

    /// The status as a `Result`.
    ///
    /// # Errors
    ///
    /// Every status but [`Status::SUCCESS`].
    pub fn ok(self) -> Result<(), Status> {
        match self.status() {
            Status::SUCCESS => Ok(()),
            status => Err(status),
        }
    }
}

/// A repeated call under way: says what to call next, until it is done or has failed.
///
/// A hypervisor may return early after a part of the repetitions, and the guest calls again with a new start. One
/// that makes no progress is given up after [`Rep::PATIENCE`] calls, so driving this is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rep {
    /// The call, without count and start.
    control: Control,
    /// Repetitions wanted.
    count: u16,
    /// Repetitions completed.
    done: u16,
    /// Calls without progress that are still tolerated.
    patience: u8,
}

/// What to do after one call of a [`Rep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepStep {
    /// Call again with [`Rep::control`] of this.
    Again(Rep),
    /// All repetitions are complete.
    Done,
    /// The hypervisor refused; `done` repetitions are complete.
    Failed {
        /// Its reason.
        status: Status,
        /// Repetitions completed.
        done: u16,
    },
    /// The hypervisor makes no progress, or counts backwards or too far; `done` repetitions are complete.
    Stuck {
        /// Repetitions completed.
        done: u16,
    },
}

impl Rep {
    /// How many calls in a row may complete nothing.
    pub const PATIENCE: u8 = 16;

    /// A call of `count` repetitions, if there is at least one and the field of 12 bits holds the number.
    #[must_use]
    pub fn new(control: Control, count: u16) -> Option<Self> {
        (1..=MAX_REPS).contains(&count).then_some(Self {
            control,
            count,
            done: 0,
            patience: Self::PATIENCE,
        })
    }

    /// The control word of the next call.
    #[must_use]
    pub fn control(self) -> Control {
        self.control.repeat(self.count, self.done)
    }

    /// Judges the result of that call.
    #[must_use]
    pub fn step(self, result: ResultWord) -> RepStep {
        let reps = result.reps_completed();
        let sane = (self.done..=self.count).contains(&reps);
        if let Err(status) = result.ok() {
            return RepStep::Failed {
                status,
                done: if sane { reps } else { self.done },
            };
        }
        if !sane {
            return RepStep::Stuck { done: self.done };
        }
        if reps == self.count {
            return RepStep::Done;
        }
        let patience = match (reps > self.done, self.patience.checked_sub(1)) {
            (true, _) => Self::PATIENCE,
            (false, Some(patience)) => patience,
            (false, None) => return RepStep::Stuck { done: self.done },
        };
        RepStep::Again(Self {
            done: reps,
            patience,
            ..self
        })
    }
}

/// Size of the payload of one message, in bytes.
pub const MESSAGE_PAYLOAD_SIZE: usize = 240;

/// Input of [`Code::POST_MESSAGE`] (`HV_INPUT_POST_MESSAGE`), 256 bytes; place it at an 8-byte boundary.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PostMessage {
    /// The connection; its low 24 bits count.
    pub connection_id: U32,
    /// Reserved, zero.
    pub reserved: U32,
    /// The type that the receiver sees; bit 31 must be clear.
    pub message_type: U32,
    /// Bytes of the payload that count, at most 240.
    pub payload_size: U32,
    /// The payload.
    pub payload: [u8; MESSAGE_PAYLOAD_SIZE],
}

impl PostMessage {
    /// Builds the input; the rest of the payload is zero. `None` if the payload is longer than 240 bytes.
    #[must_use]
    pub fn new(
        connection_id: u32,
        message_type: crate::synic::MessageType,
        message: &[u8],
    ) -> Option<Self> {
        let mut payload = [0; MESSAGE_PAYLOAD_SIZE];
        payload.get_mut(..message.len())?.copy_from_slice(message);
        Some(Self {
            connection_id: connection_id.into(),
            reserved: 0.into(),
            message_type: message_type.0.into(),
            payload_size: u32::try_from(message.len()).ok()?.into(),
            payload,
        })
    }
}

/// Fast input of [`Code::SIGNAL_EVENT`]. Bits 31-0: connection. Bits 47-32: flag number, relative to the port's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct SignalEvent(u64);

impl SignalEvent {
    /// Signals flag `flag` of the connection; VMBus always uses 0.
    #[must_use]
    pub fn new(connection_id: u32, flag: u16) -> Self {
        Self(u64::from(connection_id) | u64::from(flag) << 32)
    }

    /// The word for the register.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
