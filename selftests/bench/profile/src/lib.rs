// SPDX-License-Identifier: GPL-2.0

//! A plugin for QEMU in TCG mode: counts how often the kernel of a *nested* guest (L2) executes each block of code.
//!
//! `-plugin FILE,out=PROFILE`. QEMU translates the code of L1 and that of L2 apart, even where both have it at the same
//! addresses. The code that a CPU translates between a VMRUN of L1's and the instruction after it, where the exit leads, is
//! L2's. A program of L2 says when: each time that it executes code at [`MARKS`] `+ N * 4096`, a section is added to the
//! profile:
//!
//! ```text
//! mark N
//! ADDRESS INSTRUCTIONS COUNT      for each block that was executed since the mark before, the first two in hex
//! ```
//!
//! A block that an exception ends early counts whole. There are few of those in a kernel.

mod qemu_plugin;

use qemu_plugin::{Block, Counts, Plugin};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// From here on there is the kernel, with its modules.
const KERNEL: u64 = 0xffff_ffff_8000_0000;

/// Where the pages are whose execution marks a moment, and their end.
const MARKS: u64 = 0x4d41_524b_0000;
const MARKS_END: u64 = MARKS + 64 * PAGE;
const PAGE: u64 = 4096;

/// How many blocks can be told apart. What comes later is counted as one, at address 0.
const BLOCKS: usize = 1 << 18;

/// VMRUN.
const VMRUN: [u8; 3] = [0x0f, 0x01, 0xd8];

/// What a CPU is about to do, beside marks: VMRUN, or the instruction after it.
const ENTER: u64 = u64::MAX;
const EXIT: u64 = u64::MAX - 1;

thread_local! {
    /// Whether this thread's CPU is in L2.
    static IN_GUEST: Cell<bool> = const { Cell::new(false) };
}

/// What is known of the blocks.
struct Blocks {
    /// Where the instructions after VMRUN are in QEMU's memory.
    exits: HashSet<usize>,
    /// The numbers of L2's blocks, by address and instructions.
    numbers: HashMap<(u64, usize), usize>,
    /// The blocks by number, with their counts at the last mark.
    blocks: Vec<(u64, usize, u64)>,
    /// The profile.
    out: BufWriter<File>,
}

struct Profile {
    counts: Counts,
    blocks: Mutex<Blocks>,
}

/// Makes the plugin.
pub(crate) fn plugin(out: PathBuf) -> Result<Box<dyn Plugin + Send>, String> {
    let file = File::create(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    Ok(Box::new(Profile {
        counts: Counts::new(BLOCKS),
        blocks: Mutex::new(Blocks {
            exits: HashSet::new(),
            numbers: HashMap::new(),
            blocks: vec![(0, 1, 0)],
            out: BufWriter::new(file),
        }),
    }))
}

impl Profile {
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a section to the profile.
    fn mark(&self, number: u64) -> io::Result<()> {
        let Blocks { blocks, out, .. } = &mut *self.blocks();
        writeln!(out, "mark {number}")?;
        for (index, (address, length, before)) in blocks.iter_mut().enumerate() {
            let now = self.counts.sum(index);
            if now != *before {
                writeln!(out, "{address:x} {length:x} {}", now - *before)?;
                *before = now;
            }
        }
        out.flush()
    }
}

impl Plugin for Profile {
    fn translated(&self, block: &mut Block) {
        let address = block.address();
        let mut blocks = self.blocks();
        if block
            .instruction(0)
            .is_some_and(|first| blocks.exits.contains(&first.place()))
        {
            block.tell(EXIT);
        } else if !IN_GUEST.get() {
            if address < KERNEL {
                return;
            }
            for index in 0..block.len() {
                if let Some(instruction) = block
                    .instruction(index)
                    .filter(|one| one.starts_with(&VMRUN))
                {
                    instruction.tell(ENTER);
                    blocks.exits.insert(instruction.place() + VMRUN.len());
                }
            }
        } else if address >= KERNEL {
            let length = block.len();
            let Blocks {
                numbers, blocks, ..
            } = &mut *blocks;
            let number = *numbers.entry((address, length)).or_insert_with(|| {
                if blocks.len() == BLOCKS {
                    return 0;
                }
                blocks.push((address, length, 0));
                blocks.len() - 1
            });
            block.count(&self.counts, number);
        } else if (MARKS..MARKS_END).contains(&address) {
            block.tell((address - MARKS) / PAGE);
        }
    }

    fn told(&self, what: u64) {
        match what {
            ENTER => IN_GUEST.set(true),
            EXIT => IN_GUEST.set(false),
            mark => {
                if let Err(error) = self.mark(mark) {
                    eprintln!("tcg_profile: {error}");
                }
            }
        }
    }
}
