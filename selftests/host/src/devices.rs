// SPDX-License-Identifier: GPL-2.0

//! The devices of a machine.

use crate::options::Boot;
use hvdef::Guid;
use serde_json::{Map, Value};
use std::sync::mpsc::channel;
use storage_vsp::{Controller, ControllerConfig};
use vmbus_host::{Balloon, Host, Reply};

/// The first SCSI controller's instance; the next ones count up its first byte.
const SCSI: Guid = Guid::parse("f8b3781a-1e82-4818-a1c3-63d806ec15bb");
/// SCSI controllers that a guest can have; Hyper-V has 4.
const MAX_SCSI: u32 = 8;
/// The Dynamic Memory device's instance.
const BALLOON: Guid = Guid::parse("1eccfd72-4b41-45ef-b73a-4a6e44c12924");

/// Adds the devices that were asked for, and the fault rules.
///
/// # Errors
///
/// A sentence that names the device or the rule.
pub(crate) fn add(host: &mut Host, options: &Boot) -> Result<(), String> {
    if options.balloon {
        host.add("balloon", Box::new(Balloon::new(BALLOON)))?;
    }
    if options.integration_services {
        for service in ic_vsp::all(ic_vsp::Options::default()) {
            host.add(service.name(), Box::new(service))?;
        }
    }
    for controller in controllers(options)? {
        host.add(&controller.name, Box::new(controller.device))?;
    }
    for rule in &options.faults {
        add_fault(host, rule.clone())?;
    }
    Ok(())
}

/// A storage controller and what the control socket calls it.
struct Named {
    /// `scsi0`, or `ide0.1` for the second disk of the first controller.
    name: String,
    /// The controller.
    device: Controller,
}

/// The storage controllers, with their disks. Those of SCSI are numbered without gaps.
fn controllers(options: &Boot) -> Result<Vec<Named>, String> {
    let last = options.disks.iter().map(|disk| disk.controller).max();
    let last = last.or(options.scsi.then_some(0));
    if last.is_some_and(|last| last >= MAX_SCSI) {
        return Err(format!("a guest has at most {MAX_SCSI} SCSI controllers"));
    }
    let mut named = Vec::new();
    for number in 0..last.map_or(0, |last| last.saturating_add(1)) {
        let mut instance = SCSI.to_bytes();
        let [first, ..] = number.to_le_bytes();
        instance[0] = instance[0].wrapping_add(first);
        let mut device = Controller::new(ControllerConfig {
            max_sub_channels: options.sub_channels,
            ..ControllerConfig::scsi(Guid::from_bytes(instance))
        });
        for disk in options
            .disks
            .iter()
            .filter(|disk| disk.controller == number)
        {
            device
                .add_spec(disk)
                .map_err(|error| format!("a disk of SCSI controller {number}: {error}"))?;
        }
        named.push(Named {
            name: format!("scsi{number}"),
            device,
        });
    }
    for disk in &options.ide {
        let name = format!("ide{}.{}", disk.controller, disk.target);
        let (Ok(path @ 0..=1), target @ 0..=1) = (u8::try_from(disk.controller), disk.target)
        else {
            return Err(format!(
                "{name}: there are two IDE controllers with two disks each, from 0"
            ));
        };
        let mut device = Controller::new(ControllerConfig::ide(path, target));
        device
            .add_spec(disk)
            .map_err(|error| format!("{name}: {error}"))?;
        named.push(Named { name, device });
    }
    Ok(named)
}

/// Adds a rule as the control socket does.
fn add_fault(host: &mut Host, mut rule: Map<String, Value>) -> Result<(), String> {
    rule.insert("command".into(), "fault".into());
    let (sender, answer) = channel();
    host.control(
        rule,
        Reply::new(move |result| {
            let _ = sender.send(result);
        }),
    );
    match answer.try_recv() {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("--fault: {error}")),
        Err(_) => Err("--fault: the host does not answer".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{parse, Command};

    /// The controllers' names, or what is wrong.
    fn names(words: &[&str]) -> Result<Vec<String>, String> {
        let line = ["boot", "--kernel", "k"].iter().chain(words);
        let Command::Boot(options) = parse(line.map(Into::into))? else {
            return Err("no boot".into());
        };
        Ok(controllers(&options)?
            .into_iter()
            .map(|named| named.name)
            .collect())
    }

    #[test]
    fn controllers_have_names_without_gaps() {
        assert_eq!(names(&[]), Ok(vec![]));
        assert_eq!(names(&["--scsi"]), Ok(vec!["scsi0".into()]));
        let words = ["--disk", "ram=1M,controller=1", "--ide", "ram=1M,target=1"];
        let all = ["scsi0", "scsi1", "ide0.1"].map(String::from);
        assert_eq!(names(&words), Ok(all.into()));
    }

    #[test]
    fn disks_that_cannot_be_are_refused() {
        for (words, said) in [
            (["--disk", "ram=1M,controller=8"], "8 SCSI"),
            (["--ide", "ram=1M,controller=2"], "ide2.0"),
            (["--disk", "lun=1"], "controller 0"),
            (["--disk", "file=/no/such/file"], "/no/such/file"),
        ] {
            let error = names(&words).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
