// SPDX-License-Identifier: GPL-2.0

//! Lines for whoever runs the program.

use std::fmt;
use std::io::{self, Write};

/// Says something on standard error. If nobody reads that, it is lost, and the machine goes on.
pub(crate) fn report(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "hvhost: {text}");
}
