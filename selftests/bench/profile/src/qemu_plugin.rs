// SPDX-License-Identifier: GPL-2.0

//! QEMU's interface for TCG plugins (`qemu-plugin.h`), as far as this plugin needs it, at version 7: that of QEMU 11.1. The
//! crate `qemu-plugin` speaks older ones only, and needs a newer compiler than the build root's.

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::path::PathBuf;
use std::ptr;
use std::sync::OnceLock;

/// A plugin.
pub trait Plugin: Sync {
    /// A block of code is translated, on the thread of the CPU that will execute it at once.
    fn translated(&self, block: &mut Block);

    /// Something happens on the thread of a CPU that was asked for by [`Block::tell`] or [`Instruction::tell`].
    fn told(&self, what: u64);
}

/// The plugin that is loaded.
static PLUGIN: OnceLock<Box<dyn Plugin + Send>> = OnceLock::new();

/// `qemu_plugin_cb_flags`: the callback touches no registers.
const NO_REGISTERS: c_int = 0;
/// `qemu_plugin_op`: adds a number to another.
const ADD_U64: c_int = 0;

/// `struct qemu_plugin_tb`.
#[repr(C)]
pub struct Block([u8; 0]);

/// `struct qemu_plugin_insn`.
#[repr(C)]
pub struct Instruction([u8; 0]);

/// `struct qemu_plugin_scoreboard`.
#[repr(C)]
struct Scoreboard([u8; 0]);

/// `qemu_plugin_u64`: a number for each CPU.
#[derive(Clone, Copy)]
#[repr(C)]
struct PerCpu {
    score: *mut Scoreboard,
    offset: usize,
}

type Told = extern "C" fn(c_uint, *mut c_void);

extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: u64,
        callback: extern "C" fn(*mut Block, *mut c_void),
        what: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut Block,
        callback: Told,
        flags: c_int,
        what: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: Told,
        flags: c_int,
        what: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        block: *mut Block,
        operation: c_int,
        entry: PerCpu,
        operand: u64,
    );
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_data(
        instruction: *const Instruction,
        to: *mut c_void,
        size: usize,
    ) -> usize;
    fn qemu_plugin_insn_haddr(instruction: *const Instruction) -> *mut c_void;
    fn qemu_plugin_scoreboard_new(size: usize) -> *mut Scoreboard;
    fn qemu_plugin_u64_sum(entry: PerCpu) -> u64;
}

/// The version of the interface that this plugin was made for.
#[no_mangle]
pub static qemu_plugin_version: c_int = 7;

/// QEMU loads the plugin, with arguments of the form `name=value`.
///
/// # Safety
///
/// Only QEMU calls this: `arguments` are `count` strings.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let out = (0..usize::try_from(count).unwrap_or(0)).find_map(|index| {
        // SAFETY: By the condition of this function.
        let argument = unsafe { CStr::from_ptr(*arguments.add(index)) };
        argument
            .to_str()
            .ok()?
            .strip_prefix("out=")
            .map(PathBuf::from)
    });
    let made = out
        .ok_or_else(|| "out=FILE is missing".to_owned())
        .and_then(crate::plugin);
    match made {
        Ok(plugin) => {
            let _ = PLUGIN.set(plugin);
            // SAFETY: The callback has the type that QEMU calls.
            unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated, ptr::null_mut()) };
            0
        }
        Err(error) => {
            eprintln!("tcg_profile: {error}");
            1
        }
    }
}

extern "C" fn translated(block: *mut Block, _what: *mut c_void) {
    // SAFETY: QEMU passes a block that is this callback's alone.
    if let (Some(plugin), Some(block)) = (PLUGIN.get(), unsafe { block.as_mut() }) {
        plugin.translated(block);
    }
}

extern "C" fn told(_cpu: c_uint, what: *mut c_void) {
    if let Some(plugin) = PLUGIN.get() {
        plugin.told(what as u64);
    }
}

impl Block {
    /// The virtual address of its first instruction.
    pub fn address(&self) -> u64 {
        // SAFETY: The block is valid, here and below.
        unsafe { qemu_plugin_tb_vaddr(self) }
    }

    /// How many instructions it has.
    pub fn len(&self) -> usize {
        // SAFETY: As above.
        unsafe { qemu_plugin_tb_n_insns(self) }
    }

    /// One of them.
    pub fn instruction(&mut self, index: usize) -> Option<&mut Instruction> {
        if index >= self.len() {
            return None;
        }
        // SAFETY: There is such an instruction, and it stays as long as the block.
        unsafe { qemu_plugin_tb_get_insn(self, index).as_mut() }
    }

    /// Has [`Plugin::told`] called whenever the block is executed.
    pub fn tell(&mut self, what: u64) {
        // SAFETY: As above; `what` is a number for QEMU.
        unsafe {
            qemu_plugin_register_vcpu_tb_exec_cb(self, told, NO_REGISTERS, what as *mut c_void)
        };
    }

    /// Has one of the counts grow by one whenever the block is executed.
    pub fn count(&mut self, counts: &Counts, index: usize) {
        // SAFETY: As above; the count is one of those that were made.
        unsafe {
            qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(self, ADD_U64, counts.entry(index), 1)
        };
    }
}

impl Instruction {
    /// Whether its bytes begin so.
    pub fn starts_with<const SIZE: usize>(&self, bytes: &[u8; SIZE]) -> bool {
        let mut data = [0; SIZE];
        // SAFETY: The instruction is valid, and there is room for so many bytes.
        let size = unsafe { qemu_plugin_insn_data(self, ptr::from_mut(&mut data).cast(), SIZE) };
        size == SIZE && data == *bytes
    }

    /// Where its bytes are in QEMU's own memory.
    pub fn place(&self) -> usize {
        // SAFETY: The instruction is valid.
        unsafe { qemu_plugin_insn_haddr(self) as usize }
    }

    /// Has [`Plugin::told`] called whenever it is about to be executed.
    pub fn tell(&mut self, what: u64) {
        // SAFETY: The instruction is valid; `what` is a number for QEMU.
        unsafe {
            qemu_plugin_register_vcpu_insn_exec_cb(self, told, NO_REGISTERS, what as *mut c_void)
        };
    }
}

/// A row of counts.
pub struct Counts {
    /// The counts of each CPU.
    score: *mut Scoreboard,
    /// How many there are.
    len: usize,
}

// SAFETY: QEMU lets any thread make and read counts.
unsafe impl Send for Counts {}
// SAFETY: As above.
unsafe impl Sync for Counts {}

impl Counts {
    /// So many, all 0.
    pub fn new(len: usize) -> Self {
        // SAFETY: The function has no conditions. It is never undone: the counts stay until QEMU ends.
        let score = unsafe { qemu_plugin_scoreboard_new(len * size_of::<u64>()) };
        Self { score, len }
    }

    fn entry(&self, index: usize) -> PerCpu {
        assert!(index < self.len);
        PerCpu {
            score: self.score,
            offset: index * size_of::<u64>(),
        }
    }

    /// The sum of one over all CPUs.
    pub fn sum(&self, index: usize) -> u64 {
        // SAFETY: The count is one of those that were made.
        unsafe { qemu_plugin_u64_sum(self.entry(index)) }
    }
}
