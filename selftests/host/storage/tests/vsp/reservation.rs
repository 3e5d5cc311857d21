// SPDX-License-Identifier: GPL-2.0

//! Persistent reservations: one disk, three controllers.

use crate::guest::{cdb10, Data, Done, Guest};
use hvdef::Guid;
use storage_vsp::{Controller, ControllerConfig, Disk, DiskOptions};
use storvsc_proto::{ScsiStatus, Version};
use vmbus_proto::Relid;

/// Three initiators of one disk.
struct Cluster {
    guest: Guest,
    nodes: [Relid; 3],
}

fn node(disk: &Disk, number: u8) -> Controller {
    let mut controller = Controller::new(ControllerConfig::scsi(Guid::from_bytes([number; 16])));
    controller.add(0, None, disk.clone()).unwrap();
    controller
}

impl Cluster {
    fn new() -> Self {
        let disk = Disk::ram(1 << 20, &DiskOptions::default()).unwrap();
        let mut guest = Guest::with(node(&disk, 1));
        let mut nodes = [guest.relid; 3];
        for number in [2_u8, 3] {
            let relid = guest.add(&format!("scsi{number}"), node(&disk, number));
            guest.relid = relid;
            guest.handshake(Version::V6_2).unwrap();
            nodes[usize::from(number) - 1] = relid;
        }
        Self { guest, nodes }
    }

    fn command(&mut self, node: usize, cdb: &[u8], data: Data<'_>) -> Done {
        self.guest.relid = self.nodes[node];
        self.guest.command(0, cdb, data)
    }

    /// PERSISTENT RESERVE OUT.
    fn out(&mut self, node: usize, action: u8, kind: u8, key: u64, service_key: u64) -> Done {
        let mut cdb = cdb10(0x5f, 0, 24);
        (cdb[1], cdb[2]) = (action, kind);
        let mut list = [key.to_be_bytes(), service_key.to_be_bytes()].concat();
        list.extend([0; 8]);
        self.command(node, &cdb, Data::Out(&list))
    }

    /// PERSISTENT RESERVE IN.
    fn state(&mut self, action: u8) -> Vec<u8> {
        let mut cdb = cdb10(0x5e, 0, 512);
        cdb[1] = action;
        self.command(0, &cdb, Data::In(512)).good()
    }

    fn keys(&mut self) -> Vec<u64> {
        let data = self.state(0);
        let length = u32::from_be_bytes(data[4..8].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), data.len() - 8);
        let keys = data[8..].chunks(8);
        keys.map(|key| u64::from_be_bytes(key.try_into().unwrap()))
            .collect()
    }

    /// Key and kind of the reservation.
    fn held(&mut self) -> Option<(u64, u8)> {
        let data = self.state(1);
        if data.len() == 8 {
            return None;
        }
        assert_eq!((data.len(), data[7]), (24, 16));
        Some((
            u64::from_be_bytes(data[8..16].try_into().unwrap()),
            data[21],
        ))
    }

    /// Registers all: node n with key n + 1.
    fn register_all(&mut self) {
        for node in 0..3_u8 {
            self.out(node.into(), 0, 0, 0, u64::from(node) + 1).good();
        }
    }

    /// Whether each node may read, and write.
    fn access(&mut self) -> [(bool, bool); 3] {
        [0, 1, 2].map(|node| {
            let read = self.command(node, &cdb10(0x28, 0, 1), Data::In(512));
            let write = self.command(node, &cdb10(0x2a, 0, 1), Data::Out(&[0; 512]));
            [read, write]
                .map(|done| match done.srb.scsi_status {
                    0 => true,
                    _ => {
                        done.is(0x04, ScsiStatus::RESERVATION_CONFLICT);
                        false
                    }
                })
                .into()
        })
    }
}

#[test]
fn keys_are_registered_changed_and_removed() {
    let mut cluster = Cluster::new();
    assert!(cluster.keys().is_empty());
    cluster.out(0, 0, 0, 0, 10).good();
    cluster.out(1, 0, 0, 0, 20).good();
    assert_eq!(cluster.keys(), [10, 20]);
    cluster
        .out(0, 0, 0, 11, 12)
        .is(0x04, ScsiStatus::RESERVATION_CONFLICT);
    cluster.out(0, 0, 0, 10, 12).good();
    cluster.out(1, 6, 0, 99, 22).good();
    assert_eq!(cluster.keys(), [12, 22]);
    cluster.out(0, 0, 0, 12, 0).good();
    assert_eq!(cluster.keys(), [22]);
    // Five changes.
    assert_eq!(cluster.state(0)[..4], [0, 0, 0, 5]);
    // Reserving takes a registration.
    cluster
        .out(0, 1, 1, 12, 0)
        .is(0x04, ScsiStatus::RESERVATION_CONFLICT);
    cluster
        .out(1, 1, 1, 21, 0)
        .is(0x04, ScsiStatus::RESERVATION_CONFLICT);
}

#[test]
fn each_kind_of_reservation_keeps_others_out() {
    const ALL: (bool, bool) = (true, true);
    const READ: (bool, bool) = (true, false);
    const NONE: (bool, bool) = (false, false);
    // Node 0 holds it, node 1 is registered, node 2 is not.
    for (kind, expected) in [
        (1, [ALL, READ, READ]),
        (3, [ALL, NONE, NONE]),
        (5, [ALL, ALL, READ]),
        (6, [ALL, ALL, NONE]),
        (7, [ALL, ALL, READ]),
        (8, [ALL, ALL, NONE]),
    ] {
        let mut cluster = Cluster::new();
        cluster.out(0, 0, 0, 0, 1).good();
        cluster.out(1, 0, 0, 0, 2).good();
        assert_eq!(cluster.access(), [ALL; 3]);
        cluster.out(0, 1, kind, 1, 0).good();
        cluster.out(0, 1, kind, 1, 0).good();
        assert_eq!(cluster.access(), expected, "kind {kind}");
        let key = if kind >= 7 { 0 } else { 1 };
        assert_eq!(cluster.held(), Some((key, kind)));
        // These are never kept out.
        cluster.command(2, &[0; 6], Data::None).good();
        cluster
            .command(2, &[0x12, 0, 0, 0, 36, 0], Data::In(36))
            .good();
        cluster.command(2, &cdb10(0x25, 0, 0), Data::In(8)).good();
        // Another reservation is not made.
        let other = if kind == 1 { 3 } else { 1 };
        cluster
            .out(1, 1, other, 2, 0)
            .is(0x04, ScsiStatus::RESERVATION_CONFLICT);
        cluster.out(0, 2, kind, 1, 0).good();
        assert_eq!(cluster.held(), None);
        if kind >= 5 {
            cluster.command(1, &[0; 6], Data::None).check(6, 0x2a, 4);
        }
        assert_eq!(cluster.access(), [ALL; 3]);
    }
}

#[test]
fn release_takes_the_holder_and_the_kind() {
    let mut cluster = Cluster::new();
    cluster.register_all();
    cluster.out(0, 1, 3, 1, 0).good();
    cluster.out(1, 2, 3, 2, 0).good();
    assert_eq!(cluster.held(), Some((1, 3)));
    cluster.out(0, 2, 1, 1, 0).check(5, 0x26, 4);
    cluster.out(0, 1, 9, 1, 0).check(5, 0x24, 0);
    cluster.out(0, 2, 3, 1, 0).good();
    cluster.out(0, 2, 3, 1, 0).good();
}

#[test]
fn an_unregistered_holder_gives_the_reservation_back() {
    let mut cluster = Cluster::new();
    cluster.register_all();
    cluster.out(0, 1, 5, 1, 0).good();
    cluster.out(0, 0, 0, 1, 0).good();
    assert_eq!((cluster.held(), cluster.keys()), (None, vec![2, 3]));
    cluster.command(1, &[0; 6], Data::None).check(6, 0x2a, 4);
    cluster.command(2, &[0; 6], Data::None).check(6, 0x2a, 4);
    // Where all hold it, it stays until the last has gone.
    cluster.out(1, 1, 8, 2, 0).good();
    cluster.out(1, 0, 0, 2, 0).good();
    assert_eq!(cluster.held(), Some((0, 8)));
    cluster.out(2, 0, 0, 3, 0).good();
    assert_eq!(cluster.held(), None);
}

#[test]
fn clear_removes_everything_and_tells() {
    let mut cluster = Cluster::new();
    cluster.register_all();
    cluster.out(0, 1, 3, 1, 0).good();
    cluster.out(1, 3, 0, 2, 0).good();
    cluster.command(0, &[0; 6], Data::None).check(6, 0x2a, 3);
    cluster.command(0, &[0; 6], Data::None).good();
    cluster.command(1, &[0; 6], Data::None).good();
    cluster.command(2, &[0; 6], Data::None).check(6, 0x2a, 3);
    assert_eq!((cluster.held(), cluster.keys()), (None, vec![]));
}

#[test]
fn preempt_takes_over() {
    for action in [4, 5] {
        let mut cluster = Cluster::new();
        cluster.register_all();
        cluster.out(0, 1, 3, 1, 0).good();
        // A key that is registered but holds nothing: only the registration goes.
        cluster.out(1, action, 0, 2, 3).good();
        cluster.command(2, &[0; 6], Data::None).check(6, 0x2a, 5);
        assert_eq!(cluster.held(), Some((1, 3)));
        // The holder's.
        cluster.out(1, action, 0, 2, 1).check(5, 0x24, 0);
        cluster.out(1, action, 1, 2, 1).good();
        cluster.command(0, &[0; 6], Data::None).check(6, 0x2a, 5);
        assert_eq!((cluster.held(), cluster.keys()), (Some((2, 1)), vec![2]));
        // One that nobody has, and none.
        cluster
            .out(1, action, 1, 2, 77)
            .is(0x04, ScsiStatus::RESERVATION_CONFLICT);
        cluster.out(1, action, 1, 2, 0).check(5, 0x26, 0);
    }
}

#[test]
fn preempt_where_all_hold_it() {
    let mut cluster = Cluster::new();
    cluster.register_all();
    cluster.out(0, 1, 7, 1, 0).good();
    // One key: that registration goes, and the others hold the reservation as before.
    cluster.out(1, 4, 3, 2, 3).good();
    assert_eq!((cluster.held(), cluster.keys()), (Some((0, 7)), vec![1, 2]));
    // Key 0: the reservation is taken over from all.
    cluster.out(1, 4, 3, 2, 0).good();
    cluster.command(0, &[0; 6], Data::None).check(6, 0x2a, 5);
    assert_eq!((cluster.held(), cluster.keys()), (Some((2, 3)), vec![2]));
}

#[test]
fn what_the_disk_can_and_who_is_there() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.state(2), [0, 8, 1, 0x80, 0xea, 1, 0, 0]);
    cluster.register_all();
    cluster.out(1, 1, 5, 2, 0).good();
    let full = cluster.state(3);
    assert_eq!(full.len(), 8 + 3 * 48);
    for (node, status) in (1..).zip(full[8..].chunks(48)) {
        assert_eq!(status[7], node);
        let holder = if node == 2 { [1, 5] } else { [0, 0] };
        assert_eq!(status[12..14], holder);
        assert_eq!(status[18..25], [0, 1, 0, 0, 0, 24, 6]);
        assert_eq!(status[28..36], [node; 8]);
    }
    let mut bad = cdb10(0x5e, 0, 512);
    bad[1] = 4;
    cluster.command(0, &bad, Data::In(512)).check(5, 0x24, 0);
    let mut list = cdb10(0x5f, 0, 23);
    list[1] = 0;
    cluster
        .command(0, &list, Data::Out(&[0; 23]))
        .check(5, 0x1a, 0);
    cluster.out(0, 9, 0, 1, 0).check(5, 0x24, 0);
}
