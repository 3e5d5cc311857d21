// SPDX-License-Identifier: GPL-2.0

//! Limits on what a host can make the kernel log. The kernel crate has none of its own.

use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::time::{ClockSource, Monotonic};

/// How long a window is, in milliseconds; as `DEFAULT_RATELIMIT_INTERVAL`.
const WINDOW_MS: i64 = 5_000;

/// How many lines one window lets pass; as `DEFAULT_RATELIMIT_BURST`.
const BURST: u32 = 10;

/// Lets ten lines pass in five seconds. One for each place that logs; see [`ratelimited!`](crate::ratelimited).
pub struct RateLimit {
    /// When the window ends, in milliseconds of monotonic time.
    end: Atomic<i64>,
    /// Lines that passed in it.
    passed: Atomic<u32>,
}

impl RateLimit {
    /// A limit of which nothing was used.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            end: Atomic::new(0),
            passed: Atomic::new(0),
        }
    }

    /// Whether one more line may pass. Any context. Racing callers may get a few lines more.
    pub fn allow(&self) -> bool {
        let now = Monotonic::ktime_get() / 1_000_000;
        if now >= self.end.load(Relaxed) {
            self.end.store(now.saturating_add(WINDOW_MS), Relaxed);
            self.passed.store(0, Relaxed);
        }
        self.passed.fetch_add(1, Relaxed) < BURST
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs with one of the `pr_*!` macros, at most ten times in five seconds from this place.
#[macro_export]
macro_rules! ratelimited {
    ($log:ident, $($args:tt)*) => {{
        static LIMIT: $crate::RateLimit = $crate::RateLimit::new();
        if LIMIT.allow() {
            ::kernel::prelude::$log!($($args)*);
        }
    }};
}
