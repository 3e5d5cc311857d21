// SPDX-License-Identifier: GPL-2.0

//! Requests of the control socket to a controller.
//!
//! | command | members |
//! |---|---|
//! | `add_disk` | those of [`DiskSpec`]; answers `{"target", "lun"}` |
//! | `remove_disk` | an address |
//! | `resize_disk` | an address, `size` |
//! | `eject` | an address: takes the disc out of a DVD drive, whether the guest locked it or not |
//! | `insert` | an address, `file` or `ram`: puts one in |
//! | `delay` | an address, `delay_ms`: how long commands that touch the medium take at least |
//! | `fail` | an address; `sense` ("key/asc/ascq" in hexadecimal), `scsi_status` or `srb_status`; `count` (1); `opcode` (any that touches the medium) |
//! | `unfail` | an address: no more of that |
//! | `attention` | an address, `sense` ("asc/ascq"): a unit attention |
//!
//! An address is `lun` (0) and `target` (0), or the disk's `name`.

use super::Controller;
use crate::lun::{Address, Failure, Fault, Lun, Verdict};
use crate::options::{word, DiskSpec};
use crate::scsi::sense::Sense;
use core::time::Duration;
use serde_json::{json, Map, Value};
use storvsc_proto::{Operation, ScsiStatus, SrbStatus};
use vmbus_host::Context;

/// The members of a request.
type Arguments = Map<String, Value>;

/// A member that is a number, also as text and then also in hexadecimal.
fn number(arguments: &Arguments, key: &str) -> Result<Option<u64>, String> {
    let Some(value) = arguments.get(key) else {
        return Ok(None);
    };
    let text = word(value);
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number
        .map(Some)
        .map_err(|_| format!("{key}: \"{text}\" is not a number"))
}

/// A member that is a number below 256.
fn byte(arguments: &Arguments, key: &str) -> Result<Option<u8>, String> {
    let number = number(arguments, key)?;
    number
        .map(u8::try_from)
        .transpose()
        .map_err(|_| format!("{key} is below 256"))
}

impl Controller {
    /// Carries out a request.
    pub(super) fn carry_out(
        &mut self,
        command: &str,
        arguments: &Arguments,
        context: &mut Context<'_>,
    ) -> Result<Value, String> {
        if command == "add_disk" {
            let spec = DiskSpec::from_arguments(arguments)?;
            let address = self.attach_spec(&spec)?;
            self.announce(Operation::ENUMERATE_BUS, address, context);
            return Ok(json!({"target": address.target, "lun": address.lun}));
        }
        let address = self.address(arguments)?;
        if command == "remove_disk" {
            self.remove(address, context);
            return Ok(Value::Null);
        }
        let nexus = self.config.instance;
        let lun = self.luns.get_mut(&address).ok_or("there is no such LUN")?;
        match command {
            "resize_disk" => {
                let size = arguments.get("size").ok_or("size is missing")?;
                lun.disk.resize(crate::options::parse_size(&word(size))?)?;
            }
            "eject" => lun.disk.load(None)?,
            "insert" => {
                let mut members = arguments.clone();
                members.remove("name");
                let mut spec = DiskSpec::from_arguments(&members)?;
                spec.options.dvd = true;
                lun.disk.load(spec.medium()?)?;
            }
            "delay" => {
                let delay = number(arguments, "delay_ms")?.ok_or("delay_ms is missing")?;
                lun.delay = Duration::from_millis(delay);
            }
            "fail" => lun.faults.push(fault(arguments)?),
            "unfail" => lun.faults.clear(),
            "attention" => {
                let text = arguments.get("sense").map(word).unwrap_or_default();
                let sense = Sense::parse(&format!("6/{text}"))
                    .ok_or("sense is two hexadecimal numbers, as in \"2a/01\"")?;
                lun.disk.state().tell(nexus, sense);
            }
            _ => return Err(format!("controllers have no command \"{command}\"")),
        }
        Ok(Value::Null)
    }

    /// The LUN that a request names.
    fn address(&self, arguments: &Arguments) -> Result<Address, String> {
        if let Some(name) = arguments.get("name").map(word) {
            let named = |lun: &Lun| lun.name.as_deref() == Some(&name);
            let mut luns = self.luns.iter();
            let found = luns
                .find(|(_, lun)| named(lun))
                .map(|(address, _)| *address);
            return found.ok_or_else(|| format!("there is no disk \"{name}\""));
        }
        let target = self.target(byte(arguments, "target")?.unwrap_or(0));
        let lun = byte(arguments, "lun")?.unwrap_or(0);
        let address = Address { target, lun };
        match self.luns.contains_key(&address) {
            true => Ok(address),
            false => Err(format!("there is no LUN {lun} at target {target}")),
        }
    }

    /// Removes a LUN; what it was doing ends with that.
    fn remove(&mut self, address: Address, context: &mut Context<'_>) {
        self.end(
            |pending| pending.address == address,
            Verdict::srb(SrbStatus::INVALID_LUN),
            context,
        );
        if let Some(gone) = self.luns.remove(&address) {
            gone.disk.state().detach(self.config.instance);
        }
        self.announce(Operation::REMOVE_DEVICE, address, context);
    }
}

/// What is to go wrong.
fn fault(arguments: &Arguments) -> Result<Fault, String> {
    let failure = if let Some(text) = arguments.get("sense").map(word) {
        let sense = Sense::parse(&text).ok_or("sense is as in \"3/11/0\"")?;
        Failure::Sense(sense)
    } else if let Some(status) = byte(arguments, "scsi_status")? {
        Failure::Scsi(ScsiStatus(status))
    } else if let Some(status) = byte(arguments, "srb_status")? {
        Failure::Srb(status)
    } else {
        return Err("say how: sense, scsi_status or srb_status".into());
    };
    Ok(Fault {
        opcode: byte(arguments, "opcode")?,
        failure,
        count: number(arguments, "count")?.unwrap_or(1),
    })
}
