// SPDX-License-Identifier: GPL-2.0

//! A small Hyper-V compatible VMM on KVM.
