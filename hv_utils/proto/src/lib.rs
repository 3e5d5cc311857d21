// SPDX-License-Identifier: GPL-2.0

//! The protocols of the integration services.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
