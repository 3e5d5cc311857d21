// SPDX-License-Identifier: GPL-2.0

//! A timer that follows what is due first, and is touched only where that has changed.

/// What a timer is set to. It is the caller's; this says when to set it.
#[derive(Debug, Default)]
pub struct Alarm(Option<u64>);

impl Alarm {
    /// A timer that is not set.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// The timer has run out, and is not set any more. It may have done so too early or for nothing.
    pub fn rang(&mut self) {
        self.0 = None;
    }

    /// In how many milliseconds from now the timer is to run out, if that is not what it is set to. `due` is a time, or
    /// nothing: then a timer that is set stays so, and rings for nothing.
    #[must_use]
    pub fn follow(&mut self, due: Option<u64>, now: u64) -> Option<u32> {
        let at = due.filter(|_| due != self.0)?;
        self.0 = due;
        Some(u32::try_from(at.saturating_sub(now)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_timer_is_set_once_for_what_is_due() {
        let mut alarm = Alarm::new();
        assert_eq!(alarm.follow(None, 0), None);
        assert_eq!(alarm.follow(Some(30), 10), Some(20));
        assert_eq!(alarm.follow(Some(30), 15), None);
        // Earlier, and later.
        assert_eq!(alarm.follow(Some(20), 15), Some(5));
        assert_eq!(alarm.follow(Some(40), 15), Some(25));
        // It is still set when it is needed again.
        assert_eq!(alarm.follow(None, 16), None);
        assert_eq!(alarm.follow(Some(40), 17), None);
        // It rings too early: again, for the rest.
        alarm.rang();
        assert_eq!(alarm.follow(Some(40), 39), Some(1));
        alarm.rang();
        assert_eq!(alarm.follow(Some(40), 50), Some(0));
        alarm.rang();
        assert_eq!(alarm.follow(Some(u64::MAX), 0), Some(u32::MAX));
    }

    proptest! {
        /// What is due never passes by a timer that is set as this says, and rings at its time.
        #[test]
        fn nothing_due_is_missed(
            changes in proptest::collection::vec((0u64..20, proptest::option::of(0u64..30)), 0..50),
        ) {
            let (mut alarm, mut now, mut due) = (Alarm::new(), 0u64, None);
            let mut timer: Option<u64> = None;
            for (time, change) in changes {
                let end = now.saturating_add(time);
                while let Some(at) = timer.filter(|at| *at <= end) {
                    timer = None;
                    alarm.rang();
                    due = due.filter(|due| *due > at);
                    timer = alarm.follow(due, at).map(|delay| at.saturating_add(u64::from(delay))).or(timer);
                }
                now = end;
                prop_assert!(due.is_none_or(|due| due > now), "missed");
                due = change.map(|delay: u64| now.saturating_add(delay));
                timer = alarm.follow(due, now).map(|delay| now.saturating_add(u64::from(delay))).or(timer);
            }
        }
    }
}
