// SPDX-License-Identifier: GPL-2.0

//! Disks in words: `key=value` pairs of the command line, and the members of a control request.

use crate::backing::{Backing, FileBacking, RamBacking};
use crate::disk::{Disk, DiskOptions};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A disk and where it goes, as words say it.
///
/// | key | value |
/// |---|---|
/// | `file` | path of the disk's bytes, without commas on the command line |
/// | `ram` | size of a disk in memory |
/// | `size` | size that a `file` is made with if it does not exist |
/// | `controller` | which SCSI controller, from 0; for the caller |
/// | `target`, `lun` | the address; target 0 and the first LUN that is free unless given |
/// | `name` | for the caller |
/// | `sector`, `physical` | logical and physical block size in bytes: 512 and 4096 unless given |
/// | `ro` (`readonly`, `read_only`) | writes are refused |
/// | `dvd` | a DVD drive; empty without `file` and `ram` |
/// | `thin` | `off`: the guest cannot give back blocks |
/// | `cache` | `off`: every write is flushed |
/// | `id` | a number that makes the disk's name unique; from the file's name unless given |
/// | `delay_ms` | how long every command that touches the medium takes at least |
///
/// Sizes take the suffixes K, M, G and T. A key without a value means `on`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskSpec {
    /// Path of the disk's bytes.
    pub file: Option<String>,
    /// Size in memory, in bytes.
    pub ram: Option<u64>,
    /// Size of a new file, in bytes.
    pub size: Option<u64>,
    /// Which controller; for the caller.
    pub controller: u32,
    /// The target.
    pub target: u8,
    /// The LUN; the first free one if none is given.
    pub lun: Option<u8>,
    /// For the caller.
    pub name: Option<String>,
    /// How the disk is to be.
    pub options: DiskOptions,
    /// The least time that a command which touches the medium takes, in milliseconds.
    pub delay_ms: u64,
}

/// Reads a size in bytes, with the suffix K, M, G or T if any.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = text.get(digits.len()..).unwrap_or_default();
    let unit = match suffix.to_ascii_uppercase().trim_end_matches('B') {
        "" => 1,
        "K" => 1_u64 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(format!("{text}: the suffixes of sizes are K, M, G and T")),
    };
    number::<u64>(digits)?
        .checked_mul(unit)
        .ok_or_else(|| format!("{text} is too large"))
}

/// Reads a number, decimal or after 0x hexadecimal.
fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let value = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    value
        .ok()
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| format!("\"{text}\" is not a number that fits here"))
}

/// Reads a yes or no.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("\"{text}\" is neither on nor off")),
    }
}

/// A member of a control request in the words of the command line.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl DiskSpec {
    /// Reads `key=value,key=value,…`.
    ///
    /// # Errors
    ///
    /// Says which word is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut spec = Self::default();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "on"));
            spec.set(key, value)?;
        }
        Ok(spec)
    }

    /// Reads the members of a control request.
    ///
    /// # Errors
    ///
    /// Says which member is wrong.
    pub fn from_arguments(arguments: &Map<String, Value>) -> Result<Self, String> {
        let mut spec = Self::default();
        for (key, value) in arguments {
            if key != "command" && key != "device" {
                spec.set(key, &word(value))?;
            }
        }
        Ok(spec)
    }

    /// Takes one pair.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let options = &mut self.options;
        let taken = match key {
            "file" => {
                self.file = Some(value.into());
                Ok(())
            }
            "name" => {
                self.name = Some(value.into());
                Ok(())
            }
            "ram" => parse_size(value).map(|size| self.ram = Some(size)),
            "size" => parse_size(value).map(|size| self.size = Some(size)),
            "controller" => number(value).map(|number| self.controller = number),
            "target" => number(value).map(|number| self.target = number),
            "lun" => number(value).map(|number| self.lun = Some(number)),
            "sector" => number(value).map(|number| options.sector = number),
            "physical" => number(value).map(|number| options.physical = number),
            "id" => number(value).map(|number| options.id = Some(number)),
            "delay_ms" => number(value).map(|number| self.delay_ms = number),
            "ro" | "readonly" | "read_only" => switch(value).map(|on| options.read_only = on),
            "dvd" => switch(value).map(|on| options.dvd = on),
            "thin" => switch(value).map(|on| options.thin = on),
            "cache" => switch(value).map(|on| options.write_cache = on),
            _ => Err("there is no such option of a disk".into()),
        };
        taken.map_err(|error| format!("{key}: {error}"))
    }

    /// The disk that the words describe.
    ///
    /// # Errors
    ///
    /// Says what is wrong with words or file.
    pub fn build(&self) -> Result<Disk, String> {
        let name = match (&self.file, self.ram) {
            (Some(file), _) => file.clone(),
            // Disks in memory have no name: their place stands in for one.
            _ => format!("ram {} {} {:?}", self.controller, self.target, self.lun),
        };
        Disk::new(self.medium()?, &self.options, &name)
    }

    /// The bytes that the words describe.
    pub(crate) fn medium(&self) -> Result<Option<Arc<dyn Backing>>, String> {
        match (&self.file, self.ram) {
            (Some(_), Some(_)) => Err("a disk is in a file or in memory, not in both".into()),
            (None, Some(size)) => Ok(Some(Arc::new(RamBacking::new(size)))),
            (Some(path), None) => {
                let read_only = self.options.read_only || self.options.dvd;
                if let Some(size) = self.size {
                    FileBacking::create(path, size).map_err(|error| format!("{path}: {error}"))?;
                }
                let file = FileBacking::open(path, read_only)
                    .map_err(|error| format!("{path}: {error}"))?;
                Ok(Some(Arc::new(file)))
            }
            (None, None) if self.options.dvd => Ok(None),
            (None, None) => Err("a disk needs file=PATH or ram=SIZE".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_describe_a_disk() {
        let spec =
            DiskSpec::parse("file=x.img,controller=1,lun=3,sector=4096,readonly,thin=off").unwrap();
        assert_eq!(spec.file.as_deref(), Some("x.img"));
        assert_eq!((spec.controller, spec.target, spec.lun), (1, 0, Some(3)));
        assert_eq!(spec.options.sector, 4096);
        assert!(spec.options.read_only && !spec.options.thin && spec.options.write_cache);
        assert_eq!(DiskSpec::parse("ram=64M").unwrap().ram, Some(64 << 20));
    }

    #[test]
    fn a_control_request_says_the_same() {
        let arguments = serde_json::json!({
            "command": "add_disk", "device": "scsi0", "lun": 5, "ram": "64M", "sector": 4096, "read_only": false,
        });
        let spec = DiskSpec::from_arguments(arguments.as_object().unwrap()).unwrap();
        assert_eq!(
            spec,
            DiskSpec::parse("ram=64M,lun=5,sector=4096,ro=off").unwrap()
        );
    }

    #[test]
    fn wrong_words_are_named() {
        for (text, culprit) in [
            ("lun=256", "lun"),
            ("lun=-1", "lun"),
            ("sector=x", "sector"),
            ("ram=1X", "ram"),
            ("ram=99999999T", "ram"),
            ("dvd=maybe", "dvd"),
            ("colour=red", "colour"),
        ] {
            let error = DiskSpec::parse(text).unwrap_err();
            assert!(error.starts_with(culprit), "{error}");
        }
        for text in [
            "",
            "file=a,ram=1M",
            "ram=1M,sector=1000",
            "ram=1M,sector=8192",
        ] {
            assert!(DiskSpec::parse(text).unwrap().build().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("4k", 4096),
            ("2MB", 2 << 20),
            ("3T", 3 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(size));
        }
    }
}
