// SPDX-License-Identifier: GPL-2.0

//! The command line.

use crate::control::client;
use crate::machine::MAX_CPUS;
use crate::memory::{MAX_MEBIBYTES, MIN_MEBIBYTES};
use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use storage_vsp::DiskSpec;
use vmbus_proto::Version;

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Print this and end.
    Print(&'static str),
    /// Boot a guest.
    Boot(Box<Boot>),
    /// Send a request to a running machine.
    Control(ControlRequest),
}

/// A guest to boot.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    /// The bzImage.
    pub(crate) kernel: PathBuf,
    /// The initramfs.
    pub(crate) initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub(crate) command_line: String,
    /// Processors, 1 to 8.
    pub(crate) cpus: u8,
    /// RAM in MiB.
    pub(crate) memory: u64,
    /// Whether the machine poses as Hyper-V.
    pub(crate) hyperv: bool,
    /// The newest VMBus version.
    pub(crate) vmbus_max: Version,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// Where the control socket is to be.
    pub(crate) control: Option<PathBuf>,
    /// Whether a guest that reports a crash goes on.
    pub(crate) after_crash: bool,
    /// Whether a reset is a success.
    pub(crate) reset_is_success: bool,
    /// Disks and DVD drives of SCSI controllers.
    pub(crate) disks: Vec<DiskSpec>,
    /// Disks of IDE controllers.
    pub(crate) ide: Vec<DiskSpec>,
    /// Whether there is a SCSI controller without disks.
    pub(crate) scsi: bool,
    /// Sub-channels that each SCSI controller offers.
    pub(crate) sub_channels: u16,
    /// Whether the integration services are offered.
    pub(crate) integration_services: bool,
    /// Whether the Dynamic Memory device is offered.
    pub(crate) balloon: bool,
    /// Fault rules.
    pub(crate) faults: Vec<Map<String, Value>>,
    /// Whether VMBus messages are shown.
    pub(crate) trace: bool,
}

/// A request to a running machine.
#[derive(Debug)]
pub(crate) struct ControlRequest {
    /// Its control socket.
    pub(crate) socket: PathBuf,
    /// The request.
    pub(crate) request: Map<String, Value>,
}

/// The text of `--help`.
const HELP: &str = include_str!("help.txt");

/// The text of `--version`.
const VERSION: &str = concat!("hvhost ", env!("CARGO_PKG_VERSION"), "\n");

/// Reads the command line, without the program's name.
///
/// # Errors
///
/// A sentence that says what to write instead.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_args(arguments);
    match parser.next().map_err(text)? {
        Some(Arg::Short('h') | Arg::Long("help")) => Ok(Command::Print(HELP)),
        Some(Arg::Long("version")) => Ok(Command::Print(VERSION)),
        Some(Arg::Value(word)) if word == "help" => Ok(Command::Print(HELP)),
        Some(Arg::Value(word)) if word == "boot" => boot(&mut parser),
        Some(Arg::Value(word)) if word == "ctl" => control(&mut parser),
        None => Err("what is it to do: boot or ctl?".into()),
        Some(Arg::Value(word)) => Err(format!(
            "there is no command {}; there are boot and ctl",
            word.to_string_lossy()
        )),
        Some(argument) => Err(text(argument.unexpected())),
    }
}

/// An error of the parser.
fn text(error: lexopt::Error) -> String {
    error.to_string()
}

/// The value of an option.
fn value(parser: &mut Parser) -> Result<OsString, String> {
    parser.value().map_err(text)
}

/// The value of an option that is text.
fn string(parser: &mut Parser) -> Result<String, String> {
    value(parser)?.string().map_err(text)
}

/// The value of an option that is a number.
fn number<T: std::str::FromStr<Err: std::fmt::Display>>(
    parser: &mut Parser,
    option: &str,
) -> Result<T, String> {
    let text = string(parser)?;
    text.parse()
        .map_err(|error| format!("--{option} {text}: {error}"))
}

/// The words after `boot`.
fn boot(parser: &mut Parser) -> Result<Command, String> {
    let mut kernel = None;
    let mut boot = Boot {
        kernel: PathBuf::new(),
        initrd: None,
        command_line: "console=ttyS0".into(),
        cpus: 1,
        memory: 1024,
        hyperv: true,
        vmbus_max: Version::V6_0,
        seed: RandomState::new().build_hasher().finish(),
        control: None,
        after_crash: false,
        reset_is_success: false,
        disks: Vec::new(),
        ide: Vec::new(),
        scsi: false,
        sub_channels: 0,
        integration_services: true,
        balloon: true,
        faults: Vec::new(),
        trace: false,
    };
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Print(HELP)),
            Arg::Long("kernel") => kernel = Some(PathBuf::from(value(parser)?)),
            Arg::Long("initrd") => boot.initrd = Some(value(parser)?.into()),
            Arg::Long("cmdline") => boot.command_line = string(parser)?,
            Arg::Long("cpus") => boot.cpus = number(parser, "cpus")?,
            Arg::Long("memory") => boot.memory = number(parser, "memory")?,
            Arg::Long("no-hyperv") => boot.hyperv = false,
            Arg::Long("vmbus-max") => {
                let text = string(parser)?;
                boot.vmbus_max = vmbus_host::parse_version(&text)
                    .ok_or_else(|| format!("--vmbus-max {text}: it is a version such as 5.3"))?;
            }
            Arg::Long("seed") => boot.seed = number(parser, "seed")?,
            Arg::Long("control") => boot.control = Some(value(parser)?.into()),
            Arg::Long("after-crash") => boot.after_crash = true,
            Arg::Long("trace") => boot.trace = true,
            Arg::Long("reset-ok") => boot.reset_is_success = true,
            Arg::Long("disk") => boot.disks.push(disk(parser, "disk")?),
            Arg::Long("dvd") => {
                let mut spec = disk(parser, "dvd")?;
                spec.options.dvd = true;
                boot.disks.push(spec);
            }
            Arg::Long("ide") => boot.ide.push(disk(parser, "ide")?),
            Arg::Long("scsi") => boot.scsi = true,
            Arg::Long("sub-channels") => boot.sub_channels = number(parser, "sub-channels")?,
            Arg::Long("no-ic") => boot.integration_services = false,
            Arg::Long("no-balloon") => boot.balloon = false,
            Arg::Long("fault") => boot.faults.extend(faults(&string(parser)?)?),
            argument => return Err(text(argument.unexpected())),
        }
    }
    boot.kernel = kernel.ok_or("boot needs --kernel FILE, a bzImage such as /boot/vmlinuz")?;
    if !(1..=MAX_CPUS).contains(&boot.cpus) {
        return Err(format!("--cpus {}: a guest has 1 to {MAX_CPUS}", boot.cpus));
    }
    if !(MIN_MEBIBYTES..=MAX_MEBIBYTES).contains(&boot.memory) {
        return Err(format!(
            "--memory {}: a guest has {MIN_MEBIBYTES} to {MAX_MEBIBYTES} MiB",
            boot.memory
        ));
    }
    Ok(Command::Boot(Box::new(boot)))
}

/// A disk.
fn disk(parser: &mut Parser, option: &str) -> Result<DiskSpec, String> {
    let text = string(parser)?;
    DiskSpec::parse(&text).map_err(|error| format!("--{option} {text}: {error}"))
}

/// The rules of `--fault`: JSON, one rule or an array of them, or the name of a file of that after `@`.
fn faults(argument: &str) -> Result<Vec<Map<String, Value>>, String> {
    let json = match argument.strip_prefix('@') {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|error| format!("--fault {argument}: {error}"))?
        }
        None => argument.to_owned(),
    };
    let wrong = |error| format!("--fault: a rule is a JSON object: {error}");
    if json.trim_start().starts_with('[') {
        serde_json::from_str(&json).map_err(wrong)
    } else {
        serde_json::from_str(&json)
            .map(|rule| vec![rule])
            .map_err(wrong)
    }
}

/// The words after `ctl`.
fn control(parser: &mut Parser) -> Result<Command, String> {
    let mut socket = None;
    let mut words = Vec::new();
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Print(HELP)),
            Arg::Long("control") => socket = Some(PathBuf::from(value(parser)?)),
            Arg::Value(word) => words.push(word.string().map_err(text)?),
            argument => return Err(text(argument.unexpected())),
        }
    }
    Ok(Command::Control(ControlRequest {
        socket: socket.ok_or("ctl needs --control PATH, the one that boot was given")?,
        request: client::request(&words)?,
    }))
}

#[cfg(test)]
mod tests;
