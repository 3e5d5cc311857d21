// SPDX-License-Identifier: GPL-2.0

//! Module parameters, which `shim.c` declares.

use scsi_bindings as raw;
use storvsc_proto::Log;

/// Bytes of each ring.
pub(crate) fn ring_bytes() -> usize {
    // SAFETY: No preconditions, as for all functions here.
    unsafe { raw::rust_helper_scsi_ring_size() as usize }
}

/// CPUs that share a channel.
pub(crate) fn cpus_per_channel() -> u32 {
    // SAFETY: As above.
    unsafe { raw::rust_helper_scsi_vcpus_per_sub_channel() }
}

/// The most channels of a controller; `None` without a limit.
pub(crate) fn max_channels() -> Option<u32> {
    // SAFETY: As above.
    Some(unsafe { raw::rust_helper_scsi_max_hw_queues() }).filter(|limit| *limit != 0)
}

/// Queues for polled I/O.
pub(crate) fn poll_queues() -> u32 {
    // SAFETY: As above.
    unsafe { raw::rust_helper_scsi_poll_queues() }
}

/// After how many milliseconds a command is given up; `None` if never.
pub(crate) fn io_timeout_ms() -> Option<u32> {
    // SAFETY: As above.
    let seconds = unsafe { raw::rust_helper_scsi_io_timeout() };
    Some(seconds.saturating_mul(1000)).filter(|limit| *limit != 0)
}

/// Whether a failed command is logged.
pub(crate) fn logs(level: Log) -> bool {
    // SAFETY: As above.
    let most = unsafe { raw::rust_helper_scsi_logging_level() };
    match level {
        Log::Nothing => false,
        Log::Error => most >= 1,
        Log::Warning => most >= 2,
    }
}
