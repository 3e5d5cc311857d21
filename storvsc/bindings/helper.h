/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The bindings of the SCSI mid-layer, crate scsi_bindings. Types that kernel::bindings has are taken from there, so that
 * nothing needs a cast; the Kbuild names those that it lacks. Only storvsc's abstraction files may name the crate.
 */
#include <linux/blk-mq.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_devinfo.h>
#include <scsi/scsi_eh.h>
#include <scsi/scsi_host.h>

#include "../shim.h"

/* Constants that are macros with casts. */
const u64 RUST_CONST_HELPER_SCSI_BLIST_REPORTLUN2 = (__force u64)BLIST_REPORTLUN2;
const u64 RUST_CONST_HELPER_SCSI_BLIST_TRY_VPD_PAGES = (__force u64)BLIST_TRY_VPD_PAGES;
