// SPDX-License-Identifier: GPL-2.0

//! The program `hvhost`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(hvhost::run(std::env::args_os().skip(1)))
}
