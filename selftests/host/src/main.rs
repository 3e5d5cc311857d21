// SPDX-License-Identifier: GPL-2.0

//! The program `hvhost`.

fn main() {}
