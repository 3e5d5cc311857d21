// SPDX-License-Identifier: GPL-2.0

//! The host end of the integration services.

#![forbid(unsafe_code)]
