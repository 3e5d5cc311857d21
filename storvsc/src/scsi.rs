// SPDX-License-Identifier: GPL-2.0

//! SCSI hosts of the mid-layer (`struct Scsi_Host`): how a driver makes one, and what it is asked.
//!
//! A driver implements [`Driver`]. It gets each command as a [`Command`], which ends exactly once: by
//! [`Command::complete`], by [`Command::reject`], or, with an error, by being dropped.

use crate::scsi_cmnd::{tag, Command, Rejected, Tag};
use core::marker::PhantomData;
use core::mem::size_of;
use core::ptr::{self, NonNull};
use hv_core::{Cpu, NoIo, RcuSlot};
use kernel::bindings;
use kernel::device::{self, Bound};
use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use kernel::str::as_char_ptr_in_const_context;
use kernel::sync::{rcu, Arc};
use kernel::time::msecs_to_jiffies;
use scsi_bindings::{
    __BindgenBitfieldUnit, scsi_cmnd, scsi_device, scsi_host_template, scsi_qc_status,
    scsi_timeout_action, Scsi_Host,
};
use storvsc_proto::lun::{geometry, Address};
use storvsc_proto::Late;
use zerocopy::FromZeros;

/// How a reset ended, as the mid-layer names it (`enum scsi_disposition`): it helped.
const SUCCESS: ffi::c_int = 0x2002;
/// It did not.
const FAILED: ffi::c_int = 0x2003;

/// The standard that a device claims to follow (`SCSI_SPC_3`).
const SPC_3: ffi::c_char = 6;

/// Bits of a template: a LUN that says it is full gets fewer commands for a while.
const TRACK_QUEUE_DEPTH: u8 = 1 << 1;
/// After a reset nobody sleeps: no cable has to calm down.
const SKIP_SETTLE_DELAY: u8 = 1 << 5;
/// LUNs know no WRITE SAME unless it is said of one.
const NO_WRITE_SAME: u8 = 1 << 6;

/// The longest CDB that a command of the mid-layer has room for, in bytes (`MAX_COMMAND_SIZE`).
const MAX_CDB_SIZE: u16 = 32;

/// How long a LUN that is asked whether it is still there may take to answer, in milliseconds.
const TEST_UNIT_READY_MS: u32 = 30_000;

/// What a driver does for the mid-layer.
pub(crate) trait Driver: Send + Sync + Sized + 'static {
    /// Memory of the driver's own in each command. It starts as zeroes, and keeps its content from use to use.
    type Private: FromZeros + Send;

    /// Takes a command. `last` says that no other follows at once; else [`Self::commit`] or another command does.
    /// Softirq or process context; within a read-side section of RCU.
    ///
    /// # Errors
    ///
    /// [`Command::reject`] gives it back, to be queued again soon.
    fn queue(
        &self,
        section: &rcu::Guard,
        command: Command<Self>,
        last: bool,
    ) -> Result<(), Rejected>;

    /// No command follows the last one on this queue. Context as above.
    fn commit(&self, queue: usize);

    /// Looks for completions of a polled queue, and returns their number. Context as above.
    fn poll(&self, queue: usize) -> usize;

    /// How many queues there are: those that interrupt, and those that are polled, which come behind.
    fn queues(&self) -> [u32; 2];

    /// Which queue that interrupts the commands of a CPU go to.
    fn queue_of(&self, cpu: Cpu) -> u32;

    /// A command of a LUN takes long; what to do about it. Process context.
    fn late(self: &Arc<Self>, address: Address, tag: Tag) -> Late;

    /// Ends all commands of a LUN, or of the controller, and returns once the host has none of them any more. Process
    /// context; allocations start no I/O.
    ///
    /// # Errors
    ///
    /// Any; then [`Self::give_up`] is called.
    fn reset(&self, lun: Option<Address>) -> Result;

    /// Resets did not help: the host must not touch the memory of any command any more when this returns, since the mid-layer
    /// releases it then. Process context; allocations start no I/O.
    fn give_up(&self);

    /// What a new LUN of this vendor needs. Process context.
    fn settings(&self, vendor: &[u8]) -> LunSettings;
}

/// What a LUN needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LunSettings {
    /// How long a command may take, in milliseconds.
    pub(crate) timeout_ms: u32,
    /// It follows SPC-3, whatever it says.
    pub(crate) spc_3: bool,
    /// It knows WRITE SAME.
    pub(crate) write_same: bool,
}

/// The limits of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Commands of one queue.
    pub(crate) queue_depth: u32,
    /// Commands of one LUN at first, in all queues.
    pub(crate) lun_depth: u32,
    /// The most bytes of a transfer, a multiple of 4096.
    pub(crate) max_transfer_bytes: u32,
    /// The most pages that such a transfer touches.
    pub(crate) max_pages: usize,
    /// Paths.
    pub(crate) paths: u8,
    /// Targets of each.
    pub(crate) targets: u8,
    /// LUNs of each.
    pub(crate) luns: u8,
}

/// What the mid-layer calls (`struct scsi_host_template`).
pub(crate) struct Template<T>(scsi_host_template, PhantomData<T>);

// SAFETY: Nobody writes to a template, and what it points to is constant.
unsafe impl<T> Sync for Template<T> {}

impl<T: Driver> Template<T> {
    /// About how many bytes a command takes, with what the mid-layer and the block layer need.
    pub(crate) const COMMAND_BYTES: usize = size_of::<bindings::request>()
        + size_of::<scsi_cmnd>()
        + size_of::<T::Private>()
        + 2 * size_of::<bindings::scatterlist>();

    /// The template of a driver of this module. `proc_name` is what sysfs shows.
    pub(crate) const fn new(name: &'static CStr, proc_name: &'static CStr) -> Self {
        // SAFETY: All zeroes is a valid template, which leaves everything out.
        let mut raw: scsi_host_template = unsafe { core::mem::zeroed() };
        raw.module = &raw mut bindings::__this_module;
        raw.name = as_char_ptr_in_const_context(name);
        raw.proc_name = as_char_ptr_in_const_context(proc_name);
        // CAST: Some hundreds of bytes.
        raw.cmd_size = size_of::<T::Private>() as ffi::c_uint;
        raw.init_cmd_priv = Some(Self::init_private);
        raw.queuecommand = Some(Self::queuecommand);
        raw.commit_rqs = Some(Self::commit_rqs);
        raw.mq_poll = Some(Self::mq_poll);
        raw.map_queues = Some(Self::map_queues);
        raw.eh_timed_out = Some(Self::timed_out);
        raw.eh_device_reset_handler = Some(Self::reset_lun);
        raw.eh_bus_reset_handler = Some(Self::reset_bus);
        raw.eh_host_reset_handler = Some(Self::give_up);
        raw.sdev_init = Some(Self::sdev_init);
        raw.sdev_configure = Some(Self::sdev_configure);
        raw.change_queue_depth = Some(scsi_bindings::scsi_change_queue_depth);
        raw.bios_param = Some(Self::bios_param);
        raw.this_id = -1;
        // Overwritten for each host, see `Host::new`.
        raw.can_queue = 1;
        raw.cmd_per_lun = 1;
        raw.virt_boundary_mask = 4095;
        raw._bitfield_1 =
            __BindgenBitfieldUnit::new([TRACK_QUEUE_DEPTH | SKIP_SETTLE_DELAY | NO_WRITE_SAME, 0]);
        Self(raw, PhantomData)
    }

    /// The driver's slot in a host.
    ///
    /// # Safety
    ///
    /// `host` is valid for all of `'a`, and was made by [`Host::new`].
    unsafe fn slot<'a>(host: *mut Scsi_Host) -> &'a RcuSlot<Arc<T>> {
        // SAFETY: By the condition of this function; `Host::new` put the slot there.
        unsafe { &*(*host).hostdata.as_ptr().cast() }
    }

    /// The driver of a command's host, unless it is gone.
    ///
    /// # Safety
    ///
    /// `command` is one of a host that was made by [`Host::new`].
    unsafe fn driver_of(command: *mut scsi_cmnd) -> Option<Arc<T>> {
        // SAFETY: By the condition of this function; a command's host outlives it.
        unsafe { Self::slot((*(*command).device).host) }.with(Arc::clone)
    }

    /// Sets a command's private memory up.
    extern "C" fn init_private(_: *mut Scsi_Host, command: *mut scsi_cmnd) -> ffi::c_int {
        // SAFETY: Behind the command there are `cmd_size` bytes, which nobody uses yet, and zeroes are valid there.
        unsafe { ptr::write_bytes(command.add(1).cast::<T::Private>(), 0, 1) };
        0
    }

    /// Takes a command.
    extern "C" fn queuecommand(host: *mut Scsi_Host, command: *mut scsi_cmnd) -> scsi_qc_status {
        // SAFETY: The mid-layer passes a command that the driver owns from here on, and that has its private memory.
        let (command, last) = match unsafe { Command::<T>::new(command) } {
            Ok(new) => new,
            Err(rejected) => return rejected.status(),
        };
        let section = rcu::read_lock();
        // SAFETY: The mid-layer passes a host that `Host::new` made.
        let Some(driver) = unsafe { Self::slot(host) }.get(&section) else {
            // The command is dropped, and so ends.
            return 0;
        };
        match driver.queue(&section, command, last) {
            Ok(()) => 0,
            Err(rejected) => rejected.status(),
        }
    }

    /// Lets the host see what was queued.
    extern "C" fn commit_rqs(host: *mut Scsi_Host, queue: u16) {
        // SAFETY: As in `queuecommand`.
        let slot = unsafe { Self::slot(host) };
        let _ = slot.with(|driver| driver.commit(usize::from(queue)));
    }

    /// Looks for completions.
    extern "C" fn mq_poll(host: *mut Scsi_Host, queue: ffi::c_uint) -> ffi::c_int {
        // SAFETY: As in `queuecommand`.
        let found = unsafe { Self::slot(host) }.with(|driver| driver.poll(queue as usize));
        ffi::c_int::try_from(found.unwrap_or(0)).unwrap_or(ffi::c_int::MAX)
    }

    /// Says which queue serves which CPU.
    extern "C" fn map_queues(host: *mut Scsi_Host) {
        // SAFETY: The mid-layer passes a host that `Host::new` made, before anyone uses its queues; each map has an
        // entry for every possible CPU.
        unsafe {
            let Some(driver) = Self::slot(host).with(Arc::clone) else {
                return;
            };
            let maps = &raw mut (*host).tag_set.map;
            let [interrupting, polled] = driver.queues();
            let map = &raw mut (*maps)[bindings::hctx_type_HCTX_TYPE_DEFAULT as usize];
            (*map).nr_queues = interrupting;
            (*map).queue_offset = 0;
            for cpu in Cpu::possible() {
                *(*map).mq_map.add(cpu.index()) = driver.queue_of(cpu);
            }
            if polled == 0 {
                return;
            }
            // None: they go where writes go.
            (*maps)[bindings::hctx_type_HCTX_TYPE_READ as usize].nr_queues = 0;
            let map = &raw mut (*maps)[bindings::hctx_type_HCTX_TYPE_POLL as usize];
            (*map).nr_queues = polled;
            (*map).queue_offset = interrupting;
            for cpu in Cpu::possible() {
                *(*map).mq_map.add(cpu.index()) = interrupting + cpu.number() % polled;
            }
        }
    }

    /// Says what to do with a command that takes long.
    extern "C" fn timed_out(command: *mut scsi_cmnd) -> scsi_timeout_action {
        // SAFETY: The mid-layer passes a command of ours, whose memory and device stay meanwhile.
        let (driver, address, tag) = unsafe {
            let address = address((*command).device);
            (Self::driver_of(command), address, tag(command))
        };
        let Some(driver) = driver else {
            return scsi_bindings::scsi_timeout_action_SCSI_EH_NOT_HANDLED;
        };
        match driver.late(address, tag) {
            Late::Reset => scsi_bindings::scsi_timeout_action_SCSI_EH_NOT_HANDLED,
            Late::Wait | Late::Close => scsi_bindings::scsi_timeout_action_SCSI_EH_RESET_TIMER,
        }
    }

    /// Resets a LUN.
    extern "C" fn reset_lun(command: *mut scsi_cmnd) -> ffi::c_int {
        // SAFETY: As in `timed_out`.
        let (driver, address) = unsafe { (Self::driver_of(command), address((*command).device)) };
        let _no_io = NoIo::new();
        disposition(driver.is_some_and(|driver| driver.reset(Some(address)).is_ok()))
    }

    /// Resets everything.
    extern "C" fn reset_bus(command: *mut scsi_cmnd) -> ffi::c_int {
        // SAFETY: As in `timed_out`.
        let driver = unsafe { Self::driver_of(command) };
        let _no_io = NoIo::new();
        disposition(driver.is_some_and(|driver| driver.reset(None).is_ok()))
    }

    /// Gives the host up; or resets everything, if a user has asked for a reset.
    extern "C" fn give_up(command: *mut scsi_cmnd) -> ffi::c_int {
        // SAFETY: As in `timed_out`.
        let (driver, asked) = unsafe {
            let by_user = scsi_bindings::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_RESET_IOCTL;
            (Self::driver_of(command), (*command).submitter == by_user)
        };
        let _no_io = NoIo::new();
        match driver {
            Some(driver) if asked => disposition(driver.reset(None).is_ok()),
            Some(driver) => {
                driver.give_up();
                FAILED
            }
            None => FAILED,
        }
    }

    /// Prepares a LUN before it is asked what it is.
    extern "C" fn sdev_init(device: *mut scsi_device) -> ffi::c_int {
        // Hosts' disks claim to follow SPC-2, but have the pages of later standards. DVD drives answer REPORT LUNS.
        // SAFETY: The mid-layer passes a device that nobody else uses yet.
        unsafe {
            (*device).sdev_bflags =
                scsi_bindings::SCSI_BLIST_REPORTLUN2 | scsi_bindings::SCSI_BLIST_TRY_VPD_PAGES;
        }
        0
    }

    /// Prepares a LUN once it is known what it is.
    extern "C" fn sdev_configure(
        device: *mut scsi_device,
        _: *mut bindings::queue_limits,
    ) -> ffi::c_int {
        // SAFETY: The mid-layer passes a device of ours, while nobody else configures it.
        unsafe {
            let Some(driver) = Self::slot((*device).host).with(Arc::clone) else {
                return ENODEV.to_errno();
            };
            let vendor = (*device).vendor;
            let settings = driver.settings(&vendor);
            // CAST: A positive number of jiffies.
            let timeout = msecs_to_jiffies(settings.timeout_ms) as ffi::c_uint;
            bindings::blk_queue_rq_timeout((*device).request_queue, timeout);
            scsi_device::set_no_report_opcodes_raw(device, 1);
            scsi_device::set_no_write_same_raw(device, (!settings.write_same).into());
            if settings.spc_3 {
                (*device).scsi_level = SPC_3;
            }
        }
        0
    }

    /// Tells the geometry.
    extern "C" fn bios_param(
        _: *mut scsi_device,
        _: *mut bindings::gendisk,
        sectors: bindings::sector_t,
        info: *mut ffi::c_int,
    ) -> ffi::c_int {
        for (index, value) in geometry(sectors).into_iter().enumerate() {
            // SAFETY: The caller has room for three numbers.
            unsafe { *info.add(index) = ffi::c_int::try_from(value).unwrap_or(ffi::c_int::MAX) };
        }
        0
    }
}

/// What the mid-layer calls a success or a failure.
fn disposition(success: bool) -> ffi::c_int {
    if success {
        SUCCESS
    } else {
        FAILED
    }
}

/// Where a LUN is.
///
/// # Safety
///
/// `device` is valid.
#[inline]
pub(crate) unsafe fn address(device: *const scsi_device) -> Address {
    // SAFETY: By the condition of this function; these fields do not change.
    let (path, target, lun) = unsafe { ((*device).channel, (*device).id, (*device).lun) };
    // `Host::new` sets limits below 256 and `Luns::add` takes bytes, so that the others are zero.
    let ([path, ..], [target, ..], [lun, ..]) =
        (path.to_le_bytes(), target.to_le_bytes(), lun.to_le_bytes());
    Address { path, target, lun }
}

/// A host that the mid-layer does not know yet. It is counted by references; the driver goes with this.
pub(crate) struct Host<T: Driver> {
    /// The host.
    raw: Luns,
    /// Whose it is.
    _driver: PhantomData<T>,
}

impl<T: Driver> Host<T> {
    /// Makes a host. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        template: &'static Template<T>,
        limits: &Limits,
        driver: Arc<T>,
    ) -> Result<Self> {
        let driver = KBox::new(driver, GFP_KERNEL)?;
        // CAST: The size of a pointer.
        let size = size_of::<RcuSlot<Arc<T>>>() as ffi::c_int;
        // SAFETY: The template is constant and complete.
        let raw = unsafe { scsi_bindings::scsi_host_alloc(&template.0, size) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        let host = raw.as_ptr();
        // SAFETY: The host is new, and nobody else's. `hostdata` has room for the slot, and its alignment.
        unsafe {
            (*host)
                .hostdata
                .as_mut_ptr()
                .cast::<RcuSlot<Arc<T>>>()
                .write(RcuSlot::new());
            (*host).can_queue = ffi::c_int::try_from(limits.queue_depth).unwrap_or(1);
            (*host).cmd_per_lun = ffi::c_short::try_from(limits.lun_depth).unwrap_or(1);
            (*host).max_channel = ffi::c_uint::from(limits.paths).saturating_sub(1);
            (*host).max_id = limits.targets.into();
            (*host).max_lun = limits.luns.into();
            // All that it has room for. What is longer than the protocol has, the driver refuses: the mid-layer would forget
            // that it was the last of a batch.
            (*host).max_cmd_len = MAX_CDB_SIZE;
            (*host).max_sectors = limits.max_transfer_bytes / 512;
            (*host).sg_tablesize = u16::try_from(limits.max_pages).unwrap_or(u16::MAX);
            let [interrupting, polled] = driver.queues();
            (*host).nr_hw_queues = interrupting.saturating_add(polled);
            if polled != 0 {
                (*host).nr_maps = bindings::hctx_type_HCTX_MAX_TYPES;
            }
            let slot = Template::<T>::slot(host);
            drop(slot.replace(Some(driver)));
        }
        Ok(Self {
            raw: Luns(raw),
            _driver: PhantomData,
        })
    }

    /// The number of the host.
    pub(crate) fn number(&self) -> u32 {
        // SAFETY: The host lives as long as this.
        unsafe { (*self.raw.0.as_ptr()).host_no }
    }

    /// Makes the host known, below `parent`. LUNs are looked for only when they are asked for. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what sysfs says.
    pub(crate) fn add(self, parent: &device::Device<Bound>) -> Result<Added<T>> {
        // A `Device` is a `struct device`.
        let parent = ptr::from_ref(parent).cast_mut().cast::<bindings::device>();
        // SAFETY: The host is not known yet, and its parent is bound to us. VMBus devices have DMA parameters, and
        // buffers must keep their place inside a page when they are bounced.
        to_result(unsafe {
            if let Some(parameters) = (*parent).dma_parms.as_mut() {
                parameters.min_align_mask = 4095;
            }
            scsi_bindings::scsi_add_host_with_dma(self.raw.0.as_ptr(), parent, parent)
        })?;
        Ok(Added(self))
    }
}

impl<T: Driver> Drop for Host<T> {
    fn drop(&mut self) {
        // SAFETY: The host was made by `new`.
        let slot = unsafe { Template::<T>::slot(self.raw.0.as_ptr()) };
        drop(slot.replace(None));
    }
}

/// A host that the mid-layer knows. Dropping it removes its LUNs, whose commands are all ended first, and then the
/// driver.
pub(crate) struct Added<T: Driver>(Host<T>);

impl<T: Driver> Added<T> {
    /// Its LUNs.
    pub(crate) fn luns(&self) -> Luns {
        self.0.raw.clone()
    }
}

impl<T: Driver> Drop for Added<T> {
    fn drop(&mut self) {
        // SAFETY: The host was added, and is removed only here.
        unsafe { scsi_bindings::scsi_remove_host(self.0.raw.0.as_ptr()) };
    }
}

/// The LUNs of a host: a reference to it. Once it was removed there are none, and none can be added.
pub(crate) struct Luns(NonNull<Scsi_Host>);

// SAFETY: The mid-layer locks what it needs to.
unsafe impl Send for Luns {}
// SAFETY: As above.
unsafe impl Sync for Luns {}

impl Luns {
    /// Looks for LUNs. Process context; may return before it is done.
    pub(crate) fn scan(&self) {
        // SAFETY: The host lives as long as this.
        unsafe { scsi_bindings::scsi_scan_host(self.0.as_ptr()) };
    }

    /// Adds a LUN if it is there. Process context.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is not.
    pub(crate) fn add(&self, address: Address) -> Result {
        let Address { path, target, lun } = address;
        // SAFETY: The host lives as long as this.
        to_result(unsafe {
            scsi_bindings::scsi_add_device(self.0.as_ptr(), path.into(), target.into(), lun.into())
        })
    }

    /// Calls `function` with a LUN, if the host has it. Process context.
    fn with(&self, address: Address, function: impl FnOnce(*mut scsi_device)) {
        let Address { path, target, lun } = address;
        // SAFETY: The host lives as long as this; the device that was found is referenced until it is put.
        unsafe {
            let host = self.0.as_ptr();
            let device =
                scsi_bindings::scsi_device_lookup(host, path.into(), target.into(), lun.into());
            if !device.is_null() {
                function(device);
                scsi_bindings::scsi_device_put(device);
            }
        }
    }

    /// Reads a LUN's capacity and properties again. Process context.
    pub(crate) fn rescan(&self, address: Address) {
        self.with(address, |device| {
            // SAFETY: The device is referenced.
            unsafe { scsi_bindings::scsi_rescan_device(device) };
        });
    }

    /// Removes a LUN. Process context.
    pub(crate) fn remove(&self, address: Address) {
        self.with(address, |device| {
            // SAFETY: The device is referenced.
            unsafe { scsi_bindings::scsi_remove_device(device) };
        });
    }

    /// Has every LUN fail new commands, although the error handler is not done. Process context.
    pub(crate) fn take_offline(&self) {
        // CAST: The value of a C enum.
        let offline = scsi_bindings::scsi_device_state_SDEV_TRANSPORT_OFFLINE as ffi::c_int;
        // SAFETY: The host lives as long as this. A LUN can go offline only from being blocked; one that cannot be, since it
        // is being removed, fails new commands anyway.
        unsafe {
            scsi_bindings::scsi_host_block(self.0.as_ptr());
            scsi_bindings::scsi_host_unblock(self.0.as_ptr(), offline);
        }
    }

    /// Asks every LUN whether it is there. Process context.
    pub(crate) fn test_all(&self) {
        let mut device = ptr::null_mut();
        loop {
            // SAFETY: The host lives as long as this. The iteration references the device that it returns, and puts
            // the one that it gets.
            unsafe {
                device = scsi_bindings::__scsi_iterate_devices(self.0.as_ptr(), device);
                if device.is_null() {
                    return;
                }
                // CAST: A positive number of jiffies.
                let timeout = msecs_to_jiffies(TEST_UNIT_READY_MS) as ffi::c_int;
                scsi_bindings::scsi_test_unit_ready(device, timeout, 1, ptr::null_mut());
            }
        }
    }
}

impl Clone for Luns {
    fn clone(&self) -> Self {
        // SAFETY: This reference shows that the host lives. `scsi_host_get` would refuse a host that is being removed,
        // which a reference alone may well outlive.
        unsafe { bindings::get_device(&raw mut (*self.0.as_ptr()).shost_gendev) };
        Self(self.0)
    }
}

impl Drop for Luns {
    fn drop(&mut self) {
        // SAFETY: This owns a reference.
        unsafe { scsi_bindings::scsi_host_put(self.0.as_ptr()) };
    }
}
