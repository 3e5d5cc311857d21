// SPDX-License-Identifier: GPL-2.0

//! The host end of storvsc: SCSI controllers, their LUNs and backings.
//!
//! A [`Controller`] is a device of [`vmbus_host::Host`]; disks are attached to it before the guest runs, or by requests
//! of the control socket at any time:
//!
//! ```
//! use storage_vsp::{Controller, ControllerConfig, Disk, DiskOptions, DiskSpec};
//! # use hvdef::Guid;
//! let instance = Guid::parse("f8b3781a-1e82-4818-a1c3-63d806ec15bb");
//! let mut scsi = Controller::new(ControllerConfig {
//!     max_sub_channels: 3,
//!     ..ControllerConfig::scsi(instance)
//! });
//! // From words, as on the command line; the caller looks at `controller` and `name` itself.
//! scsi.add_spec(&DiskSpec::parse("ram=64M,lun=1,sector=4096")?)?;
//! // Or by hand, at the first free LUN of target 0.
//! let lun = scsi.add(0, None, Disk::ram(1 << 20, &DiskOptions::default())?)?;
//! assert_eq!(lun, 0);
//! // The accelerator of the second disk of the first IDE controller.
//! let mut ide = Controller::new(ControllerConfig::ide(0, 1));
//! ide.add_spec(&DiskSpec::parse("ram=8M")?)?;
//! # Ok::<(), String>(())
//! ```
//!
//! [`DiskSpec`] lists the words. The commands of the control socket (`add_disk`, `remove_disk`, `resize_disk`, `eject`,
//! `insert`, `delay`, `fail`, `unfail`, `attention`) are listed in `src/controller/control.rs`; the state of all LUNs is
//! in the device's status:
//!
//! ```json
//! {"ready": true, "version": "6.2", "in_flight": 0, "luns": [{"target": 0, "lun": 0, "name": null, "size": 67108864,
//!  "sector": 512, "allocated": 65536, "read_only": false, "dvd": false, "medium": true, "locked": false,
//!  "write_cache": true, "delay_ms": 0, "counters": {"commands": 1, "errors": 0, "reads": 0, "bytes_read": 0, "writes": 0,
//!  "bytes_written": 0, "through": 0, "flushes": 0, "unmaps": 0, "aborted": 0}}]}
//! ```
//!
//! Layers, from the guest inwards: `controller` speaks the storage protocol and knows which requests are on the way;
//! `scsi` decides what a command means; `io` moves bytes between guest and [`Backing`], in a thread for each LUN whose
//! backing may block. The guest is not trusted: no packet makes the host panic, wait, or keep more than a bounded number
//! of requests, and nothing touches guest memory for a request after its channel is closed.
//!
//! Facts are from `drivers/scsi/storvsc_drv.c` of Linux 7.3 and the SCSI standards SPC-4, SBC-3 and MMC-6.

#![forbid(unsafe_code)]

mod backing;
mod controller;
mod disk;
mod io;
mod lun;
mod options;
mod scsi;

pub use backing::Backing;
pub use controller::{Controller, ControllerConfig, Flavour};
pub use disk::{Disk, DiskOptions};
pub use options::{parse_size, DiskSpec};
