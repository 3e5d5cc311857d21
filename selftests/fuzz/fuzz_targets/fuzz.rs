// SPDX-License-Identifier: GPL-2.0

//! The libFuzzer program: runs the target that the environment variable `FUZZ_TARGET` names.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use parser_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    parser_fuzz::target(&name).unwrap_or_else(|| {
        let names: Vec<_> = parser_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("FUZZ_TARGET is none of: {}", names.join(" "));
        std::process::exit(2)
    })
});

fuzz_target!(|data: &[u8]| TARGET(data));
