// SPDX-License-Identifier: GPL-2.0

//! A guest with a storage VSC, as small as can be.

use hvdef::Guid;
use serde_json::{json, Value};
use storage_vsp::{Controller, ControllerConfig, DiskSpec};
use storvsc_proto::handshake::{Controller as Agreed, Handshake, HandshakeError, Step, Wishes};
use storvsc_proto::{
    DataDirection, NtStatus, Operation, Packet, ScsiStatus, Srb, Version, SENSE_SIZE, SRB_SIZE,
};
use vmbus_host::sim::Sim;
use vmbus_host::GuestBuffer;
use vmbus_proto::{Channel, ChannelTable, Relid};
use vmbus_ring::gpa::{extension_size, pages, GpaDirect};
use vmbus_ring::{OutgoingPacket, PacketType};
use zerocopy::{FromZeros, IntoBytes};

/// Where buffers begin in their first page: nowhere in particular.
const OFFSET: u32 = 24;

pub(crate) const SCSI: Guid = Guid::parse("f8b3781a-1e82-4818-a1c3-63d806ec15bb");

/// Where the data of a command goes.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    None,
    In(u32),
    Out(&'a [u8]),
}

/// A command that was sent.
pub(crate) struct Sent {
    pub(crate) id: u64,
    buffer: Option<GuestBuffer>,
    pfns: Vec<u64>,
}

/// A command that was answered.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) id: u64,
    pub(crate) status: NtStatus,
    pub(crate) srb: Srb,
    pub(crate) data: Vec<u8>,
}

impl Done {
    /// Asserts success; returns what was moved.
    #[track_caller]
    pub(crate) fn good(self) -> Vec<u8> {
        assert_eq!(self.srb.srb_status, 1, "{:x?}", self.srb.sense());
        assert_eq!(self.srb.scsi_status, 0);
        assert_eq!(self.status, NtStatus::SUCCESS);
        let moved = usize::try_from(self.srb.data_transfer_length.get()).unwrap();
        let mut data = self.data;
        data.truncate(moved);
        data
    }

    /// Asserts a check condition with this sense.
    #[track_caller]
    pub(crate) fn check(&self, key: u8, asc: u8, ascq: u8) {
        assert_eq!(self.srb.scsi_status, ScsiStatus::CHECK_CONDITION.0);
        assert_eq!(self.status, NtStatus::UNSUCCESSFUL);
        let srb = if key == 5 { 0x86 } else { 0x84 };
        assert_eq!(self.srb.srb_status, srb);
        let sense = self.srb.sense().unwrap();
        assert_eq!(sense.len(), 18);
        assert_eq!((sense[0] & 0x7f, sense[7]), (0x70, 10));
        assert_eq!((sense[2], sense[12], sense[13]), (key, asc, ascq));
    }

    /// Asserts an SRB status and a SCSI status, without sense.
    #[track_caller]
    pub(crate) fn is(&self, srb: u8, scsi: ScsiStatus) {
        assert_eq!((self.srb.srb_status, self.srb.scsi_status), (srb, scsi.0));
        assert_eq!(self.srb.sense(), None);
    }
}

pub(crate) struct Guest {
    pub(crate) sim: Sim,
    /// The first channel of the controller that commands go to.
    pub(crate) relid: Relid,
    pub(crate) agreed: Option<Agreed>,
    next: u64,
}

/// A SCSI controller with these disks.
pub(crate) fn scsi(disks: &[&str]) -> Controller {
    controller(ControllerConfig::scsi(SCSI), disks)
}

/// A controller with these disks.
pub(crate) fn controller(config: ControllerConfig, disks: &[&str]) -> Controller {
    let mut controller = Controller::new(config);
    for disk in disks {
        controller
            .add_spec(&DiskSpec::parse(disk).unwrap())
            .unwrap();
    }
    controller
}

impl Guest {
    /// A guest that has brought up a SCSI controller with these disks.
    pub(crate) fn new(disks: &[&str]) -> Self {
        Self::with(scsi(disks))
    }

    /// A guest that has brought up this controller.
    pub(crate) fn with(controller: Controller) -> Self {
        let mut guest = Self::unready(controller);
        guest.handshake(Version::V6_2).unwrap();
        guest
    }

    /// A guest that has opened the channel of this controller.
    pub(crate) fn unready(controller: Controller) -> Self {
        let mut sim = Sim::new();
        sim.add("scsi0", controller);
        sim.connect(vmbus_proto::Version::V6_0);
        let relid = sim
            .client
            .table()
            .iter()
            .map(Channel::relid)
            .next()
            .unwrap();
        sim.open(relid, 9, 9, [0; 120]).unwrap();
        Self {
            sim,
            relid,
            agreed: None,
            next: 0,
        }
    }

    /// Adds another controller and opens its channel.
    pub(crate) fn add(&mut self, name: &str, controller: Controller) -> Relid {
        let before: Vec<Relid> = self.relids();
        self.sim.add(name, controller);
        let new = self.relids();
        let relid = *new.iter().find(|relid| !before.contains(relid)).unwrap();
        self.sim.open(relid, 9, 9, [0; 120]).unwrap();
        relid
    }

    pub(crate) fn relids(&self) -> Vec<Relid> {
        self.sim.client.table().iter().map(Channel::relid).collect()
    }

    /// Runs the handshake on the current channel.
    pub(crate) fn handshake(&mut self, max_version: Version) -> Result<Agreed, HandshakeError> {
        let wishes = Wishes {
            max_version,
            fibre_channel: false,
        };
        let (mut handshake, mut packet) = Handshake::new(wishes).unwrap();
        loop {
            let answer = self.ask(&packet);
            match handshake.answered(answer.as_bytes())? {
                Step::Send(next) => packet = next,
                Step::Ready(agreed) => {
                    self.agreed = Some(agreed);
                    return Ok(agreed);
                }
            }
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sends a packet without data and returns the answer.
    pub(crate) fn ask(&mut self, packet: &Packet) -> Packet {
        self.ask_on(self.relid, packet)
    }

    pub(crate) fn ask_on(&mut self, relid: Relid, packet: &Packet) -> Packet {
        let id = self.id();
        self.sim
            .send(relid, &OutgoingPacket::request(id, &[packet.as_bytes()]));
        let answer = self.sim.expect_packet(relid);
        assert_eq!(answer.packet_type, PacketType::COMPLETION);
        assert_eq!((answer.transaction_id, answer.payload.len()), (id, 64));
        Packet::parse(&answer.payload).unwrap()
    }

    /// An SRB for a LUN.
    pub(crate) fn srb(lun: u8, cdb: &[u8], data: Data<'_>) -> Srb {
        let (direction, length) = match data {
            Data::None => (DataDirection::NONE, 0),
            Data::In(length) => (DataDirection::READ, length),
            Data::Out(bytes) => (DataDirection::WRITE, u32::try_from(bytes.len()).unwrap()),
        };
        let mut srb = Srb {
            length: SRB_SIZE.into(),
            lun,
            cdb_length: u8::try_from(cdb.len()).unwrap(),
            sense_info_length: u8::try_from(SENSE_SIZE).unwrap(),
            data_in: direction.0,
            data_transfer_length: length.into(),
            ..Srb::new_zeroed()
        };
        srb.cdb_or_sense[..cdb.len()].copy_from_slice(cdb);
        srb
    }

    /// Sends an SRB with a buffer of `length` bytes that holds `bytes`.
    pub(crate) fn submit(&mut self, relid: Relid, srb: &Srb, length: u32, bytes: &[u8]) -> Sent {
        let id = self.id();
        let packet = Packet::request(Operation::EXECUTE_SRB).with(srb);
        if length == 0 {
            self.sim
                .try_send(relid, &OutgoingPacket::request(id, &[packet.as_bytes()]))
                .unwrap();
            return Sent {
                id,
                buffer: None,
                pfns: Vec::new(),
            };
        }
        let count = usize::try_from(pages(OFFSET, length)).unwrap();
        let pfns = self.sim.allocate(count);
        let buffer = self.sim.buffer(&pfns, OFFSET, length);
        buffer.write_at(0, bytes).unwrap();
        let mut extension = vec![0; extension_size(1, count)];
        let mut list = GpaDirect::new(&mut extension).unwrap();
        list.push(OFFSET, length, pfns.iter().copied()).unwrap();
        let list = list.finish();
        self.sim
            .try_send(
                relid,
                &OutgoingPacket::gpa_direct(id, &[list], &[packet.as_bytes()]),
            )
            .unwrap();
        Sent {
            id,
            buffer: Some(buffer),
            pfns,
        }
    }

    /// Sends a command but does not wait for it.
    pub(crate) fn start(&mut self, lun: u8, cdb: &[u8], data: Data<'_>) -> Sent {
        let srb = Self::srb(lun, cdb, data);
        let bytes = match data {
            Data::Out(bytes) => bytes,
            _ => &[],
        };
        self.submit(self.relid, &srb, srb.data_transfer_length.get(), bytes)
    }

    /// What a command's buffer holds.
    pub(crate) fn contents(sent: &Sent) -> Vec<u8> {
        sent.buffer.as_ref().map_or(Vec::new(), GuestBuffer::to_vec)
    }

    /// Takes the answer to a command if it is there.
    pub(crate) fn poll(&mut self, relid: Relid, sent: &Sent) -> Option<Done> {
        self.sim.run();
        let answer = self.sim.receive(relid)?;
        Some(Self::done(&answer.payload, answer.transaction_id, sent))
    }

    fn done(payload: &[u8], id: u64, sent: &Sent) -> Done {
        let packet = Packet::parse(payload).unwrap();
        assert_eq!(packet.operation(), Operation::COMPLETE_IO);
        Done {
            id,
            status: packet.status(),
            srb: packet.payload(),
            data: Self::contents(sent),
        }
    }

    /// Waits for the answer to a command.
    pub(crate) fn finish(&mut self, relid: Relid, sent: Sent) -> Done {
        let answer = self.sim.expect_packet(relid);
        assert_eq!(answer.transaction_id, sent.id);
        let done = Self::done(&answer.payload, answer.transaction_id, &sent);
        self.sim.free(sent.pfns);
        done
    }

    /// Sends an SRB as it is and waits for the answer.
    pub(crate) fn raw(&mut self, srb: &Srb, length: u32, bytes: &[u8]) -> Done {
        let sent = self.submit(self.relid, srb, length, bytes);
        self.finish(self.relid, sent)
    }

    /// Sends a command and waits for the answer.
    pub(crate) fn command(&mut self, lun: u8, cdb: &[u8], data: Data<'_>) -> Done {
        let sent = self.start(lun, cdb, data);
        self.finish(self.relid, sent)
    }

    /// A request of the control socket to the first controller.
    pub(crate) fn control(&mut self, command: &str, mut members: Value) -> Result<Value, String> {
        let object = members.as_object_mut().unwrap();
        object.insert("command".into(), command.into());
        object.entry("device").or_insert("scsi0".into());
        self.sim.control(members)
    }

    /// What the control socket says of a LUN of the first controller, by its place in the list.
    pub(crate) fn status(&mut self, place: usize) -> Value {
        let list = self.sim.control(json!({"command": "list"})).unwrap();
        list[0]["status"]["luns"][place].clone()
    }

    /// A count of a LUN of the first controller.
    pub(crate) fn count(&mut self, place: usize, name: &str) -> u64 {
        self.status(place)["counters"][name].as_u64().unwrap()
    }

    /// Reads blocks with READ (10).
    pub(crate) fn read(&mut self, lun: u8, lba: u32, count: u16, block: u32) -> Vec<u8> {
        let cdb = cdb10(0x28, lba, count);
        let length = u32::from(count) * block;
        self.command(lun, &cdb, Data::In(length)).good()
    }

    /// Writes blocks of 512 bytes with WRITE (10).
    pub(crate) fn write(&mut self, lun: u8, lba: u32, bytes: &[u8]) -> Done {
        let count = u16::try_from(bytes.len() / 512).unwrap();
        self.command(lun, &cdb10(0x2a, lba, count), Data::Out(bytes))
    }
}

pub(crate) fn cdb10(opcode: u8, lba: u32, count: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = opcode;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&count.to_be_bytes());
    cdb
}

pub(crate) fn cdb12(opcode: u8, lba: u32, count: u32) -> [u8; 12] {
    let mut cdb = [0; 12];
    cdb[0] = opcode;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[6..10].copy_from_slice(&count.to_be_bytes());
    cdb
}

pub(crate) fn cdb16(opcode: u8, lba: u64, count: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&count.to_be_bytes());
    cdb
}

/// Bytes that tell where they were meant to be.
pub(crate) fn pattern(seed: u8, length: usize) -> Vec<u8> {
    let mut value = u32::from(seed) * 0x9e37 + 1;
    let mut bytes = Vec::with_capacity(length);
    for _ in 0..length {
        value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.push(value.to_be_bytes()[0]);
    }
    bytes
}
