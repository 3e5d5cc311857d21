// SPDX-License-Identifier: GPL-2.0

//! The host end of storvsc: SCSI controllers, their LUNs and backings.

#![forbid(unsafe_code)]
