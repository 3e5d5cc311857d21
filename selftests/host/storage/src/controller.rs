// SPDX-License-Identifier: GPL-2.0

//! The controller: the storage protocol on its channels, and the requests that are on their way.

mod control;
mod request;

use crate::disk::Disk;
use crate::io::{Finished, Job};
use crate::lun::{Address, Lun, Verdict};
use crate::options::DiskSpec;
use crate::scsi::sense::Sense;
use core::time::Duration;
use hvdef::Guid;
use request::Pending;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use storvsc_proto::{
    ChannelFlags, ChannelProperties, NtStatus, OfferProperties, Operation, Packet as StorPacket,
    ProtocolVersion, Srb, SrbStatus, SubChannelCount, Version,
};
use vmbus_host::{Context, Control, Device, OfferSpec, Packet};
use vmbus_proto::{class, OfferFlags, USER_DATA_SIZE};
use vmbus_ring::{OutgoingPacket, PacketFlags, PacketType};
use zerocopy::IntoBytes;

/// Targets of a SCSI controller, as many as Linux looks for.
const TARGETS: u8 = 2;

/// LUNs of a target, as many as Hyper-V has.
const LUNS: u8 = 64;

/// What kind of controller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// A SCSI controller.
    Scsi,
    /// The accelerator of one disk at an IDE controller.
    Ide {
        /// Which IDE controller.
        path: u8,
        /// Which disk of it.
        target: u8,
    },
}

/// How a controller is to be.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// Its instance GUID.
    pub instance: Guid,
    /// What kind it is.
    pub flavour: Flavour,
    /// The versions that it accepts.
    pub versions: Vec<Version>,
    /// How many sub-channels the guest may ask for.
    pub max_sub_channels: u16,
    /// The most bytes that one request may move.
    pub max_transfer: u32,
    /// Whether the guest is to signal through the monitor pages.
    pub monitored: bool,
    /// Whether the channel has a connection of its own.
    pub dedicated_interrupt: bool,
}

impl ControllerConfig {
    /// A SCSI controller as current hosts have it: versions 6.2 and 6.0, no sub-channels unless set, 8 MiB at a time.
    #[must_use]
    pub fn scsi(instance: Guid) -> Self {
        Self {
            instance,
            flavour: Flavour::Scsi,
            versions: Version::SUPPORTED.into(),
            max_sub_channels: 0,
            max_transfer: 8 << 20,
            monitored: false,
            dedicated_interrupt: true,
        }
    }

    /// The accelerator of an IDE disk. Guests take the target from the instance GUID, which hosts make of path and target.
    #[must_use]
    pub fn ide(path: u8, target: u8) -> Self {
        let mut instance = [0; 16];
        // 0000000P-000T-8899-0000-000000000000 as text.
        crate::scsi::cdb::put(&mut instance, 0, &[path, 0, 0, 0, target, 0, 0x99, 0x88]);
        Self {
            flavour: Flavour::Ide { path, target },
            ..Self::scsi(Guid::from_bytes(instance))
        }
    }
}

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing yet.
    Idle,
    /// BEGIN_INITIALIZATION came.
    Begun,
    /// A version is agreed on.
    Negotiated,
    /// The guest knows the properties.
    Described,
    /// END_INITIALIZATION came.
    Ready,
}

/// A controller: a device of the host.
pub struct Controller {
    /// How it is.
    config: ControllerConfig,
    /// The LUNs, of path 0.
    luns: BTreeMap<Address, Lun>,
    /// How far the handshake is.
    phase: Phase,
    /// The version agreed on.
    version: Version,
    /// Requests that are not answered, by id.
    pending: BTreeMap<u64, Pending>,
    /// How many of them each channel has.
    in_flight: BTreeMap<u16, usize>,
    /// Jobs that are held back, by the time at which they start, and id.
    waiting: BTreeMap<(Duration, u64), Job>,
    /// The id of the next request.
    next_id: u64,
    /// What threads have done.
    finished: Finished,
    /// For jobs that are done here.
    bounce: Vec<u8>,
}

impl Controller {
    /// A controller without LUNs.
    #[must_use]
    pub fn new(config: ControllerConfig) -> Self {
        Self {
            config,
            luns: BTreeMap::new(),
            phase: Phase::Idle,
            version: Version(0),
            pending: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_id: 0,
            finished: Finished::default(),
            bounce: Vec::new(),
        }
    }

    /// Attaches a disk and returns its LUN, which is the target's first free one unless given. The guest is not told: this
    /// is for before it runs.
    ///
    /// # Errors
    ///
    /// Says why the address cannot be used.
    pub fn add(&mut self, target: u8, lun: Option<u8>, disk: Disk) -> Result<u8, String> {
        self.attach(target, lun, Lun::new(disk, None, Duration::ZERO))
            .map(|address| address.lun)
    }

    /// Attaches the disk that words describe; see [`DiskSpec`] and [`Self::add`].
    ///
    /// # Errors
    ///
    /// Says what is wrong with words, file or address.
    pub fn add_spec(&mut self, spec: &DiskSpec) -> Result<u8, String> {
        self.attach_spec(spec).map(|address| address.lun)
    }

    /// Attaches the disk that words describe.
    fn attach_spec(&mut self, spec: &DiskSpec) -> Result<Address, String> {
        let target = self.target(spec.target);
        let mut spec = spec.clone();
        spec.lun = Some(self.free_lun(target, spec.lun)?.lun);
        let delay = Duration::from_millis(spec.delay_ms);
        let lun = Lun::new(spec.build()?, spec.name.clone(), delay);
        self.attach(spec.target, spec.lun, lun)
    }

    /// The target that requests will name: an IDE accelerator has but one.
    fn target(&self, target: u8) -> u8 {
        match self.config.flavour {
            Flavour::Scsi => target,
            Flavour::Ide { target, .. } => target,
        }
    }

    /// An address that is free: the one that is asked for, or the target's first.
    fn free_lun(&self, target: u8, lun: Option<u8>) -> Result<Address, String> {
        let (targets, luns) = match self.config.flavour {
            Flavour::Scsi => (0..TARGETS, LUNS),
            Flavour::Ide { target, .. } => (target..target.saturating_add(1), 1),
        };
        if !targets.contains(&target) {
            return Err(format!("there is no target {target}"));
        }
        let taken = |lun: u8| self.luns.contains_key(&Address { target, lun });
        let lun = match lun {
            Some(lun) => lun,
            None => (0..luns).find(|lun| !taken(*lun)).unwrap_or(luns),
        };
        if lun >= luns {
            return Err(format!("LUNs are below {luns}, and one must be free"));
        }
        if taken(lun) {
            return Err(format!("LUN {lun} of target {target} is taken"));
        }
        Ok(Address { target, lun })
    }

    /// Attaches a LUN.
    fn attach(&mut self, target: u8, lun: Option<u8>, new: Lun) -> Result<Address, String> {
        let address = self.free_lun(self.target(target), lun)?;
        new.disk.state().attach(self.config.instance);
        self.luns.insert(address, new);
        Ok(address)
    }

    /// Tells the guest that LUNs of a target have come or gone.
    fn announce(&mut self, operation: Operation, address: Address, context: &mut Context<'_>) {
        let others = self
            .luns
            .iter()
            .filter(|(other, _)| other.target == address.target && other.lun != address.lun);
        for (_, lun) in others {
            lun.disk
                .state()
                .tell(self.config.instance, Sense::LUNS_CHANGED);
        }
        if self.phase == Phase::Ready {
            let packet = StorPacket::notification(operation);
            context.send(0, &OutgoingPacket::in_band(&[packet.as_bytes()]));
        }
    }

    /// Answers a request that is not an SRB.
    fn answer(packet: &Packet<'_>, channel: u16, answer: &StorPacket, context: &mut Context<'_>) {
        if packet.flags.contains(PacketFlags::COMPLETION_REQUESTED) {
            let payload: &[&[u8]] = &[answer.as_bytes()];
            context.send(
                channel,
                &OutgoingPacket::completion(packet.transaction_id, payload),
            );
        }
    }

    /// Goes from one phase of the handshake to the next.
    fn advance(&mut self, from: Phase, to: Phase) -> NtStatus {
        if self.phase != from {
            return NtStatus::INVALID_DEVICE_STATE;
        }
        self.phase = to;
        NtStatus::SUCCESS
    }

    /// A request of the handshake, or what is none at all.
    fn handshake(&mut self, request: &StorPacket) -> StorPacket {
        match request.operation() {
            Operation::BEGIN_INITIALIZATION => {
                StorPacket::answer(self.advance(Phase::Idle, Phase::Begun))
            }
            Operation::QUERY_PROTOCOL_VERSION => {
                let proposal: ProtocolVersion = request.payload();
                let status = match self.config.versions.contains(&proposal.version()) {
                    _ if self.phase != Phase::Begun => NtStatus::INVALID_DEVICE_STATE,
                    false => NtStatus::REVISION_MISMATCH,
                    true => {
                        self.version = proposal.version();
                        self.advance(Phase::Begun, Phase::Negotiated)
                    }
                };
                StorPacket::answer(status).with(&proposal)
            }
            Operation::QUERY_PROPERTIES => {
                match self.advance(Phase::Negotiated, Phase::Described) {
                    NtStatus::SUCCESS => {
                        StorPacket::answer(NtStatus::SUCCESS).with(&self.properties())
                    }
                    status => StorPacket::answer(status),
                }
            }
            Operation::END_INITIALIZATION => {
                StorPacket::answer(self.advance(Phase::Described, Phase::Ready))
            }
            Operation::FCHBA_DATA => StorPacket::answer(NtStatus::INVALID_DEVICE_REQUEST),
            _ => StorPacket::answer(NtStatus::INVALID_PARAMETER),
        }
    }

    /// What the guest is told in the handshake.
    fn properties(&self) -> ChannelProperties {
        let count = self.max_sub_channels();
        let flags = match count {
            0 => ChannelFlags::empty(),
            _ => ChannelFlags::SUPPORTS_MULTI_CHANNEL,
        };
        ChannelProperties {
            reserved: 0.into(),
            max_channel_count: count.into(),
            reserved1: 0.into(),
            flags: flags.bits().into(),
            max_transfer_bytes: self.config.max_transfer.into(),
            reserved2: 0.into(),
        }
    }

    /// How many sub-channels the guest may ask for.
    const fn max_sub_channels(&self) -> u16 {
        match self.config.flavour {
            Flavour::Scsi => self.config.max_sub_channels,
            Flavour::Ide { .. } => 0,
        }
    }

    /// A reset ends what it names, and then is answered.
    fn reset(&mut self, request: &StorPacket, context: &mut Context<'_>) -> StorPacket {
        if self.phase != Phase::Ready {
            return StorPacket::answer(NtStatus::INVALID_DEVICE_STATE);
        }
        let srb: Srb = request.payload();
        let (one, sense) = match request.operation() {
            Operation::RESET_LUN => {
                let (target, lun) = (srb.target_id, srb.lun);
                (Some(Address { target, lun }), Sense::LUN_RESET)
            }
            _ => (None, Sense::BUS_RESET),
        };
        if one.is_some_and(|address| !self.luns.contains_key(&address)) {
            return StorPacket::answer(NtStatus::INVALID_PARAMETER);
        }
        let named = |address: Address| one.is_none_or(|one| one == address);
        self.end(
            |pending| named(pending.address),
            Verdict::srb(SrbStatus::BUS_RESET),
            context,
        );
        for (_, lun) in self.luns.iter().filter(|(address, _)| named(**address)) {
            lun.disk.state().tell(self.config.instance, sense);
        }
        StorPacket::answer(NtStatus::SUCCESS)
    }
}

impl Device for Controller {
    fn offer(&self) -> OfferSpec {
        let mut user_data = [0; USER_DATA_SIZE];
        let class = match self.config.flavour {
            Flavour::Scsi => class::SCSI.id,
            Flavour::Ide { path, target } => {
                let properties = OfferProperties {
                    reserved: 0.into(),
                    path_id: path,
                    target_id: target,
                    port_number: 0.into(),
                    flags: OfferProperties::EMULATED_IDE.into(),
                };
                crate::scsi::cdb::put(&mut user_data, 0, properties.as_bytes());
                class::IDE.id
            }
        };
        OfferSpec {
            class,
            instance: self.config.instance,
            flags: OfferFlags::ENUMERATE_DEVICE_INTERFACE,
            mmio_megabytes: 0,
            user_data,
            monitored: self.config.monitored,
            dedicated_interrupt: self.config.dedicated_interrupt,
        }
    }

    fn opened(&mut self, _channel: u16, _context: &mut Context<'_>) {}

    fn received(&mut self, channel: u16, packet: &Packet<'_>, context: &mut Context<'_>) {
        if !matches!(
            packet.packet_type,
            PacketType::IN_BAND | PacketType::GPA_DIRECT
        ) {
            return;
        }
        let Some(request) = StorPacket::parse(packet.payload) else {
            let answer = StorPacket::answer(NtStatus::INVALID_PARAMETER);
            return Self::answer(packet, channel, &answer, context);
        };
        let operation = request.operation();
        if operation == Operation::EXECUTE_SRB && self.phase == Phase::Ready {
            return self.execute(channel, packet, &request, context);
        }
        if let Some(status) = packet.forced_status {
            let answer = StorPacket::answer(NtStatus(status));
            return Self::answer(packet, channel, &answer, context);
        }
        let mut sub_channels = None;
        let answer = match operation {
            Operation::EXECUTE_SRB => StorPacket::answer(NtStatus::INVALID_DEVICE_STATE),
            Operation::RESET_LUN | Operation::RESET_BUS | Operation::RESET_ADAPTER => {
                self.reset(&request, context)
            }
            // The handshake is the first channel's alone.
            _ if channel != 0 => StorPacket::answer(NtStatus::INVALID_DEVICE_STATE),
            Operation::CREATE_SUB_CHANNELS => {
                let count = request.payload::<SubChannelCount>().count.get();
                if self.phase != Phase::Ready {
                    StorPacket::answer(NtStatus::INVALID_DEVICE_STATE)
                } else if count > self.max_sub_channels() {
                    StorPacket::answer(NtStatus::INVALID_PARAMETER)
                } else {
                    sub_channels = Some(count);
                    StorPacket::answer(NtStatus::SUCCESS)
                }
            }
            _ => self.handshake(&request),
        };
        Self::answer(packet, channel, &answer, context);
        if let Some(count) = sub_channels {
            context.offer_sub_channels(count);
        }
    }

    fn closed(&mut self, channel: u16, _context: &mut Context<'_>) {
        if channel == 0 {
            self.phase = Phase::Idle;
        }
        self.drop_channel(channel);
    }

    fn woken(&mut self, context: &mut Context<'_>) {
        while let Some((id, result)) = self.finished.take() {
            self.finish(id, result, context);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    fn timer(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let job = entry.remove();
            self.start(job, context);
        }
    }

    fn control(&mut self, control: Control, context: &mut Context<'_>) {
        match self.carry_out(&control.command, &control.arguments, context) {
            Ok(value) => control.reply.ok(value),
            Err(error) => control.reply.error(error),
        }
    }

    fn status(&self) -> Value {
        let luns: Vec<Value> = self
            .luns
            .iter()
            .map(|(address, lun)| lun.status(*address))
            .collect();
        let version = (self.phase >= Phase::Negotiated).then(|| self.version.to_string());
        json!({
            "ready": self.phase == Phase::Ready,
            "version": version,
            "in_flight": self.pending.len(),
            "luns": luns,
        })
    }
}
