// SPDX-License-Identifier: GPL-2.0

//! SRBs: from the packet to the answer, which comes exactly once.

use super::Controller;
use crate::io::{Gate, Io, Job, JobResult};
use crate::lun::{Address, Kind, Verdict};
use crate::scsi::cdb::{put, Cdb};
use crate::scsi::sense::Sense;
use crate::scsi::{self, opcode, Command, Refusal, Step};
use std::sync::Arc;
use storvsc_proto::{
    NtStatus, Packet as StorPacket, ScsiStatus, Srb, SrbFlags, SrbStatus, SrbStatusFlags,
    SENSE_SIZE,
};
use vmbus_host::{Context, GuestBuffer, Packet};
use vmbus_ring::{OutgoingPacket, PacketFlags};
use zerocopy::IntoBytes;

/// How many requests a channel may have on the way. More than its ring can hold, unless it is huge.
const MAX_IN_FLIGHT: usize = 2048;

/// Where the answer to a request goes.
#[derive(Clone, Copy)]
struct Sender {
    /// The channel.
    channel: u16,
    /// The transaction, if an answer is wanted.
    transaction_id: Option<u64>,
}

/// A request that is on the way.
pub(super) struct Pending {
    /// Where the answer goes.
    sender: Sender,
    /// The request.
    srb: Srb,
    /// Which LUN it is for.
    pub(super) address: Address,
    /// What kind of job it waits for.
    kind: Kind,
    /// Whether the command has more data than the buffer takes.
    overrun: bool,
    /// Whether it may still touch guest memory.
    gate: Gate,
}

/// What an SRB asks, found before its LUN is.
enum Asked {
    /// What the controller answers for every address.
    Answer(scsi::Answer),
    /// A command for a LUN.
    Command(Cdb),
}

impl Controller {
    /// Carries out an SRB.
    pub(super) fn execute(
        &mut self,
        channel: u16,
        packet: &Packet<'_>,
        request: &StorPacket,
        context: &mut Context<'_>,
    ) {
        let srb: Srb = request.payload();
        let wanted = packet.flags.contains(PacketFlags::COMPLETION_REQUESTED);
        let sender = Sender {
            channel,
            transaction_id: wanted.then_some(packet.transaction_id),
        };
        let buffer = packet.gpa.first();
        let room = buffer.map_or(0, GuestBuffer::len);
        let asked = usize::try_from(srb.data_transfer_length.get()).unwrap_or(usize::MAX);
        if let Some(status) = packet.forced_status {
            let [status, ..] = status.to_le_bytes();
            let verdict = Verdict {
                srb: status,
                ..Verdict::srb(SrbStatus::ERROR)
            };
            return complete(sender, &srb, verdict, context);
        }
        let transfer_fits = srb.data_transfer_length.get() <= self.config.max_transfer;
        let cdb = srb.cdb().and_then(Cdb::new);
        let (Some(cdb), true) = (cdb, asked <= room && transfer_fits) else {
            let verdict = Verdict::srb(SrbStatus::INVALID_REQUEST);
            return complete(sender, &srb, verdict, context);
        };
        let (target, lun) = (srb.target_id, srb.lun);
        let address = Address { target, lun };
        let exists = srb.path_id == 0 && self.luns.contains_key(&address);
        let step = match self.asked(cdb, srb.path_id, address, exists) {
            Asked::Answer(answer) => answer,
            Asked::Command(_) if !exists => {
                let verdict = Verdict::srb(SrbStatus::INVALID_LUN);
                return complete(sender, &srb, verdict, context);
            }
            Asked::Command(cdb) => {
                let command = Command {
                    cdb,
                    buffer,
                    limit: asked,
                    nexus: self.config.instance,
                    version: self.version,
                    max_transfer: self.config.max_transfer,
                };
                match self.decide(&command, address) {
                    Ok(answer) => answer,
                    Err(verdict) => return complete(sender, &srb, verdict, context),
                }
            }
        };
        let verdict = match step {
            Ok(Step::Io(io)) => {
                return self.begin(sender, srb, address, io, packet.gpa.first(), context)
            }
            Ok(Step::Taken(length)) => Verdict::good(length),
            Ok(Step::Data(bytes)) => {
                let moved = bytes.get(..asked).unwrap_or(&bytes);
                if let Some(buffer) = buffer.filter(|_| !moved.is_empty()) {
                    // The length is within the buffer, as was checked above.
                    let _ = buffer.write_at(0, moved);
                }
                match bytes.len() > asked {
                    true => Verdict::overrun(moved.len()),
                    false => Verdict::good(moved.len()),
                }
            }
            Err(Refusal::Check(sense)) => Verdict::check(sense),
            Err(Refusal::ReservationConflict) => Verdict::scsi(ScsiStatus::RESERVATION_CONFLICT),
            Err(Refusal::ShortBuffer) => Verdict::overrun(0),
        };
        if let Some(lun) = self.luns.get_mut(&address).filter(|_| verdict.srb != 1) {
            lun.count_error();
        }
        complete(sender, &srb, verdict, context);
    }

    /// What is answered for every address of a target, whether there is a LUN or not.
    fn asked(&self, cdb: Cdb, path: u8, address: Address, exists: bool) -> Asked {
        match cdb.opcode() {
            opcode::REPORT_LUNS => {
                let here = self
                    .luns
                    .keys()
                    .filter(|other| path == 0 && other.target == address.target);
                let luns: Vec<u8> = here.map(|other| other.lun).collect();
                Asked::Answer(scsi::report_luns(&cdb, &luns))
            }
            opcode::INQUIRY if !exists => Asked::Answer(scsi::inquiry_without_lun(&cdb)),
            opcode::REQUEST_SENSE if !exists => Asked::Answer(scsi::sense_without_lun(&cdb)),
            _ => Asked::Command(cdb),
        }
    }

    /// What a command for a LUN comes to, or fails with because it was told to.
    fn decide(&mut self, command: &Command<'_>, address: Address) -> Result<scsi::Answer, Verdict> {
        let Some(lun) = self.luns.get_mut(&address) else {
            return Err(Verdict::srb(SrbStatus::INVALID_LUN));
        };
        lun.count_command();
        let answer = scsi::execute(command, lun.disk.traits(), &mut lun.disk.state());
        let touches_medium = matches!(answer, Ok(Step::Io(_)));
        match lun.take_fault(command.cdb.opcode(), touches_medium) {
            Some(failure) => {
                lun.count_error();
                Err(Verdict::failed(failure))
            }
            None => Ok(answer),
        }
    }

    /// Has a job done that a request waits for.
    fn begin(
        &mut self,
        sender: Sender,
        srb: Srb,
        address: Address,
        mut io: Io,
        buffer: Option<&GuestBuffer>,
        context: &mut Context<'_>,
    ) {
        let limit = usize::try_from(srb.data_transfer_length.get()).unwrap_or(usize::MAX);
        let mut overrun = false;
        if let Io::Read { length, .. } = &mut io {
            overrun = *length > limit;
            *length = limit.min(*length);
            if *length == 0 {
                let verdict = match overrun {
                    true => Verdict::overrun(0),
                    false => Verdict::good(0),
                };
                return complete(sender, &srb, verdict, context);
            }
        }
        let in_flight = self.in_flight.entry(sender.channel).or_default();
        if *in_flight >= MAX_IN_FLIGHT {
            let verdict = Verdict::scsi(ScsiStatus::TASK_SET_FULL);
            return complete(sender, &srb, verdict, context);
        }
        let medium = self.luns.get(&address).and_then(|lun| {
            let medium = lun.disk.state().medium.as_ref().map(Arc::clone);
            Some((medium?, lun.delay))
        });
        let Some((backing, delay)) = medium else {
            return complete(
                sender,
                &srb,
                Verdict::check(Sense::MEDIUM_NOT_PRESENT),
                context,
            );
        };
        *in_flight = in_flight.saturating_add(1);
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let gate = Gate::new();
        let pending = Pending {
            sender,
            srb,
            address,
            kind: Kind::from(&io),
            overrun,
            gate: gate.clone(),
        };
        self.pending.insert(id, pending);
        let job = Job {
            id,
            io,
            backing,
            buffer: buffer.cloned(),
            gate,
        };
        if delay.is_zero() {
            self.start(job, context);
        } else {
            let due = context.now().saturating_add(delay);
            self.waiting.insert((due, id), job);
        }
    }

    /// Has a job done now, here or by the LUN's thread.
    pub(super) fn start(&mut self, job: Job, context: &mut Context<'_>) {
        let address = self.pending.get(&job.id).map(|pending| pending.address);
        let lun = address.and_then(|address| self.luns.get_mut(&address));
        let Some(lun) = lun else { return };
        let Some(job) = lun.submit(job, &self.finished, context.waker()) else {
            return;
        };
        let result = job.perform(&mut self.bounce);
        if let Some(result) = result {
            self.finish(job.id, result, context);
        }
    }

    /// A job is done: its request is answered, unless that was ended in the meantime.
    pub(super) fn finish(&mut self, id: u64, result: JobResult, context: &mut Context<'_>) {
        let Some(pending) = self.take(id) else { return };
        let limit = usize::try_from(pending.srb.data_transfer_length.get()).unwrap_or(usize::MAX);
        let lun = self.luns.get_mut(&pending.address);
        let verdict = match result {
            Ok(moved) => {
                if let Some(lun) = lun {
                    lun.count_done(pending.kind, moved);
                }
                match pending.overrun {
                    true => Verdict::overrun(moved),
                    false => Verdict::good(moved.min(limit)),
                }
            }
            Err(sense) => {
                if let Some(lun) = lun {
                    lun.count_error();
                }
                Verdict::check(sense)
            }
        };
        complete(pending.sender, &pending.srb, verdict, context);
    }

    /// Takes a request out of those that are on the way.
    fn take(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if let Some(count) = self.in_flight.get_mut(&pending.sender.channel) {
            *count = count.saturating_sub(1);
        }
        Some(pending)
    }

    /// Ends requests: nothing touches guest memory for them any more, and each is answered with the verdict.
    pub(super) fn end(
        &mut self,
        which: impl Fn(&Pending) -> bool,
        verdict: Verdict,
        context: &mut Context<'_>,
    ) {
        for pending in self.withdraw(which) {
            if let Some(lun) = self.luns.get_mut(&pending.address) {
                lun.count_aborted();
            }
            complete(pending.sender, &pending.srb, verdict, context);
        }
    }

    /// Forgets the requests of a channel.
    pub(super) fn drop_channel(&mut self, channel: u16) {
        self.withdraw(|pending| pending.sender.channel == channel);
        self.in_flight.remove(&channel);
    }

    /// Takes requests back, so that nothing touches guest memory for them any more.
    fn withdraw(&mut self, which: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let chosen = self.pending.iter().filter(|(_, pending)| which(pending));
        let ids: Vec<u64> = chosen.map(|(id, _)| *id).collect();
        let taken: Vec<Pending> = ids.iter().filter_map(|id| self.take(*id)).collect();
        for pending in &taken {
            pending.gate.close();
        }
        let pending = &self.pending;
        self.waiting.retain(|(_, id), _| pending.contains_key(id));
        taken
    }
}

/// Answers an SRB.
fn complete(sender: Sender, request: &Srb, verdict: Verdict, context: &mut Context<'_>) {
    let Some(transaction_id) = sender.transaction_id else {
        return;
    };
    let mut srb = *request;
    srb.srb_status = verdict.srb;
    srb.scsi_status = verdict.scsi.0;
    srb.sense_info_length = 0;
    srb.cdb_or_sense = [0; SENSE_SIZE];
    let autosense = !request.flags().contains(SrbFlags::DISABLE_AUTOSENSE);
    if let Some(sense) = verdict.sense.filter(|_| autosense) {
        let bytes = sense.to_bytes();
        let room = usize::from(request.sense_info_length);
        let sent = bytes.get(..room).unwrap_or(&bytes);
        put(&mut srb.cdb_or_sense, 0, sent);
        srb.sense_info_length = u8::try_from(sent.len()).unwrap_or(0);
        srb.srb_status |= SrbStatusFlags::AUTOSENSE_VALID.bits();
    }
    if let Some(moved) = verdict.moved {
        srb.data_transfer_length = u32::try_from(moved).unwrap_or(u32::MAX).into();
    }
    let status = match verdict.srb == SrbStatus::SUCCESS.0 {
        true => NtStatus::SUCCESS,
        false => NtStatus::UNSUCCESSFUL,
    };
    let answer = StorPacket::answer(status).with(&srb);
    let payload: &[&[u8]] = &[answer.as_bytes()];
    context.send(
        sender.channel,
        &OutgoingPacket::completion(transaction_id, payload),
    );
}
