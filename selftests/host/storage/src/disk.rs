// SPDX-License-Identifier: GPL-2.0

//! Disks and DVD drives: what a LUN shows, whichever controllers it is attached to.

use crate::backing::{lock, Backing, FileBacking, RamBacking};
use crate::scsi::reservation::Reservations;
use crate::scsi::sense::Sense;
use hvdef::Guid;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// The block size of a DVD, in bytes.
pub(crate) const DVD_BLOCK: u32 = 2048;

/// How many unit attentions wait for one initiator at most.
const MAX_ATTENTIONS: usize = 8;

/// How a disk is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Bytes in a logical block: a power of two, 512 to 4096. Not used for DVDs.
    pub sector: u32,
    /// Bytes in a physical block: a power of two, not below `sector`.
    pub physical: u32,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether it is a DVD drive.
    pub dvd: bool,
    /// Whether the guest may give back blocks (UNMAP).
    pub thin: bool,
    /// Whether there is a write cache at first. Without one every write is flushed.
    pub write_cache: bool,
    /// What makes the disk's name unique in the world. If there is none, it comes from the file's name.
    pub id: Option<u64>,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            sector: 512,
            physical: 4096,
            read_only: false,
            dvd: false,
            thin: true,
            write_cache: true,
            id: None,
        }
    }
}

/// A disk or DVD drive. A clone is the same disk: attached to two controllers, it is shared as a clustered disk is, and
/// each controller is an initiator of its own.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

/// The disk itself.
struct Inner {
    /// What never changes.
    traits: Traits,
    /// What does.
    state: Mutex<State>,
}

/// What never changes of a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    /// Bytes in a logical block.
    pub(crate) block: u32,
    /// How many logical blocks make a physical one, as a power of two.
    pub(crate) physical_exponent: u8,
    /// Whether writes are refused.
    pub(crate) read_only: bool,
    /// Whether it is a DVD drive.
    pub(crate) dvd: bool,
    /// Whether blocks may be given back.
    pub(crate) thin: bool,
    /// The write cache at first.
    pub(crate) write_cache: bool,
    /// What makes the disk's name unique: the part of an NAA designator that Hyper-V fills in, 12 bytes.
    pub(crate) id: [u8; 12],
}

/// What changes of a disk.
pub(crate) struct State {
    /// The bytes; a DVD drive may be empty.
    pub(crate) medium: Option<Arc<dyn Backing>>,
    /// Whether there is a write cache now.
    pub(crate) write_cache: bool,
    /// Whether the guest has locked the tray.
    pub(crate) locked: bool,
    /// What happened to the medium since the guest asked last (MMC-6, table 310): 2 new, 3 removed, 0 nothing.
    pub(crate) media_event: u8,
    /// Persistent reservations.
    pub(crate) reservations: Reservations,
    /// What each initiator is to be told before anything else. The key is the controller's instance.
    attentions: BTreeMap<Guid, VecDeque<Sense>>,
}

/// FNV-1a: the same in every run and build, which a name must be.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Disk {
    /// A disk in a file, which must exist. It is opened for writing unless it is to be read-only.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the file or the options.
    pub fn file(path: &str, options: &DiskOptions) -> Result<Self, String> {
        let read_only = options.read_only || options.dvd;
        let file =
            FileBacking::open(path, read_only).map_err(|error| format!("{path}: {error}"))?;
        Self::new(Some(Arc::new(file)), options, path)
    }

    /// A disk of `size` bytes in memory, all zero.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the options.
    pub fn ram(size: u64, options: &DiskOptions) -> Result<Self, String> {
        Self::new(Some(Arc::new(RamBacking::new(size))), options, "ram")
    }

    /// An empty DVD drive.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the options.
    pub fn empty(options: &DiskOptions) -> Result<Self, String> {
        let options = DiskOptions {
            dvd: true,
            ..options.clone()
        };
        Self::new(None, &options, "empty")
    }

    /// A disk of any bytes.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the options.
    pub fn new(
        medium: Option<Arc<dyn Backing>>,
        options: &DiskOptions,
        name: &str,
    ) -> Result<Self, String> {
        let block = if options.dvd {
            DVD_BLOCK
        } else {
            options.sector
        };
        let physical = options.physical.max(block);
        if !block.is_power_of_two() || !(512..=4096).contains(&block) {
            return Err(format!("a sector is 512 to 4096 bytes, not {block}"));
        }
        if !physical.is_power_of_two() || physical > 1 << 20 {
            return Err(format!("no disk has physical sectors of {physical} bytes"));
        }
        let unique = options.id.unwrap_or_else(|| hash(name));
        let mut id = *b"VIRI\0\0\0\0\0\0\0\0";
        crate::scsi::cdb::put(&mut id, 4, &unique.to_be_bytes());
        let exponent = physical
            .trailing_zeros()
            .saturating_sub(block.trailing_zeros());
        let traits = Traits {
            block,
            physical_exponent: u8::try_from(exponent).unwrap_or(0),
            read_only: options.read_only || options.dvd,
            dvd: options.dvd,
            thin: options.thin && !options.dvd && !options.read_only,
            write_cache: options.write_cache,
            id,
        };
        let state = State {
            medium,
            write_cache: options.write_cache,
            locked: false,
            media_event: 0,
            reservations: Reservations::default(),
            attentions: BTreeMap::new(),
        };
        Ok(Self(Arc::new(Inner {
            traits,
            state: Mutex::new(state),
        })))
    }

    /// What never changes.
    pub(crate) fn traits(&self) -> &Traits {
        &self.0.traits
    }

    /// What does.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Changes the number of bytes; each initiator is told with its next command.
    ///
    /// # Errors
    ///
    /// Says why not.
    pub(crate) fn resize(&self, size: u64) -> Result<(), String> {
        let mut state = self.state();
        if self.0.traits.dvd {
            return Err("a DVD has the size that it has".into());
        }
        if size == 0 || size.checked_rem(u64::from(self.0.traits.block)) != Some(0) {
            return Err("the size must be a number of whole sectors".into());
        }
        let medium = state.medium.as_ref().ok_or("there is no medium")?;
        medium.resize(size).map_err(|error| error.to_string())?;
        state.announce(Sense::CAPACITY_CHANGED, None);
        Ok(())
    }

    /// Takes the medium out of a DVD drive or puts one in.
    ///
    /// # Errors
    ///
    /// Says why not.
    pub(crate) fn load(&self, medium: Option<Arc<dyn Backing>>) -> Result<(), String> {
        if !self.0.traits.dvd {
            return Err("only DVD drives have a tray".into());
        }
        let mut state = self.state();
        state.load(medium);
        Ok(())
    }
}

impl State {
    /// An initiator begins to use the disk.
    pub(crate) fn attach(&mut self, nexus: Guid) {
        self.attentions.entry(nexus).or_default();
    }

    /// An initiator uses it no more. Its registrations stay, as persistent ones do.
    pub(crate) fn detach(&mut self, nexus: Guid) {
        self.attentions.remove(&nexus);
    }

    /// Tells each initiator, but for one, with its next command.
    pub(crate) fn announce(&mut self, sense: Sense, except: Option<Guid>) {
        let others: Vec<Guid> = self.attentions.keys().copied().collect();
        for nexus in others.into_iter().filter(|nexus| Some(*nexus) != except) {
            self.tell(nexus, sense);
        }
    }

    /// Tells one initiator with its next command. What it is to be told already is not repeated.
    pub(crate) fn tell(&mut self, nexus: Guid, sense: Sense) {
        if let Some(waiting) = self.attentions.get_mut(&nexus) {
            if waiting.len() < MAX_ATTENTIONS && !waiting.contains(&sense) {
                waiting.push_back(sense);
            }
        }
    }

    /// What an initiator is to be told now.
    pub(crate) fn take_attention(&mut self, nexus: Guid) -> Option<Sense> {
        self.attentions.get_mut(&nexus)?.pop_front()
    }

    /// Takes the medium out or puts one in.
    pub(crate) fn load(&mut self, medium: Option<Arc<dyn Backing>>) {
        self.media_event = if medium.is_some() { 2 } else { 3 };
        if medium.is_some() {
            self.announce(Sense::MEDIUM_CHANGED, None);
        }
        self.locked = false;
        self.medium = medium;
    }

    /// How many bytes there are.
    pub(crate) fn size(&self) -> u64 {
        self.medium.as_ref().map_or(0, |medium| medium.size())
    }
}
