// SPDX-License-Identifier: GPL-2.0

//! What is in a file that is copied.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes after which the pattern repeats: a prime, so that no two fragments start alike.
const PATTERN_LENGTH: u64 = 251;

/// What is in a file.
pub(super) enum Source {
    /// What a file of the host has, up to its size at the start.
    File(File, u64),
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes, each its offset modulo 251.
    Pattern(u64),
}

impl Source {
    /// A file of the host. Reads of it are short and local; what could block for ever (a pipe, a device) is refused.
    pub(super) fn open(path: &str) -> Result<Self, String> {
        let metadata = std::fs::metadata(path).map_err(|error| format!("{path}: {error}"))?;
        if !metadata.is_file() {
            return Err(format!("{path}: not a regular file"));
        }
        let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
        Ok(Self::File(file, metadata.len()))
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File(_, size) | Self::Pattern(size) => *size,
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        }
    }

    /// Reads what is at `offset`.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) -> Result<(), String> {
        match self {
            Self::File(file, _) => file
                .read_exact_at(data, offset)
                .map_err(|error| format!("the source cannot be read: {error}")),
            Self::Bytes(bytes) => {
                let from = usize::try_from(offset)
                    .ok()
                    .and_then(|offset| bytes.get(offset..));
                for (to, from) in data.iter_mut().zip(from.unwrap_or_default()) {
                    *to = *from;
                }
                Ok(())
            }
            Self::Pattern(_) => {
                for (to, at) in data.iter_mut().zip(offset..) {
                    *to = u8::try_from(at % PATTERN_LENGTH).unwrap_or(0);
                }
                Ok(())
            }
        }
    }
}
