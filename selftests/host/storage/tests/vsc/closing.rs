// SPDX-License-Identifier: GPL-2.0

//! A host that does not confirm that channels are closed.

use crate::driver::{Command, Driver, SCSI};
use serde_json::{json, Value};
use storage_vsp::{Controller, ControllerConfig, DiskSpec};
use storvsc_proto::{DataDirection, HostByte, CDB_SIZE};
use vmbus_host::sim::Sim;

/// A guest with a controller of two channels; on each, the host has a READ that it does not answer.
fn driver() -> Driver {
    let mut controller = Controller::new(ControllerConfig {
        max_sub_channels: 1,
        ..ControllerConfig::scsi(SCSI)
    });
    controller
        .add_spec(&DiskSpec::parse("ram=1M").unwrap())
        .unwrap();
    let mut sim = Sim::new();
    sim.add("scsi0", controller);
    sim.connect(vmbus_proto::Version::V6_0);
    let mut driver = Driver::new(sim, Some(2000));
    driver.connect(9).unwrap();
    driver.sim.fault(
        json!({"channel": "scsi0", "direction": "from-guest", "type": "GPA_DIRECT", "action": "drop", "probability": 1.0}),
    );
    for queue in 0..2 {
        let mut cdb = [0; CDB_SIZE];
        // READ (10) of one block.
        (cdb[0], cdb[8]) = (0x28, 1);
        let command = Command {
            id: queue,
            lun: 0,
            cdb,
            direction: DataDirection::READ,
            pfns: vec![100],
            offset: 0,
            length: 512,
        };
        assert!(driver.queue(command, queue, 0).is_none());
    }
    driver.pass(1000);
    assert!(driver.ended.is_empty());
    driver
}

/// Has the host not hear that its memory is taken back.
fn deaf(driver: &mut Driver, when: (&str, Value)) {
    let mut rule =
        json!({"direction": "message-from-guest", "type": "GPADL_TEARDOWN", "action": "drop"});
    rule[when.0] = when.1;
    driver.sim.fault(rule);
}

#[test]
fn commands_end_when_the_host_confirms() {
    let mut driver = driver();
    driver.close();
    assert!(driver.kept.is_empty());
    let hosts = driver.ended.iter().map(|(_, ending)| ending.host);
    assert_eq!(
        hosts.collect::<Vec<_>>(),
        [HostByte::NO_CONNECT, HostByte::NO_CONNECT]
    );
}

#[test]
fn commands_stay_until_the_channel_is_withdrawn() {
    let mut driver = driver();
    deaf(&mut driver, ("probability", json!(1.0)));
    driver.close();
    assert_eq!((driver.ended.len(), driver.kept.clone()), (0, vec![1, 0]));
    // With the first channel's close the host has withdrawn the sub-channel.
    driver.settle();
    assert_eq!((driver.ended.len(), driver.kept.clone()), (1, vec![0]));
    let rescind = json!({"command": "rescind", "device": "scsi0"});
    driver.sim.control(rescind).unwrap();
    driver.settle();
    assert_eq!((driver.ended.len(), driver.kept.len()), (2, 0));
}

#[test]
fn each_channel_is_confirmed_by_itself() {
    let mut driver = driver();
    // Sub-channels go first.
    deaf(&mut driver, ("nth", json!(2)));
    driver.close();
    let ended: Vec<_> = driver.ended.iter().map(|(command, _)| command.id).collect();
    assert_eq!((ended, driver.kept.clone()), (vec![1], vec![0]));
}
