// SPDX-License-Identifier: GPL-2.0

//! The protocol between a storage VSC and its VSP (`vstor_packet`).

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
