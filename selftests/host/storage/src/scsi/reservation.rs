// SPDX-License-Identifier: GPL-2.0

//! Persistent reservations (SPC-4, section 5.13). Each controller that a disk is attached to is an initiator.

use super::cdb::{bytes_at, put, Cdb};
use super::opcode as op;
use super::sense::Sense;
use super::{data, Answer, Command, Refusal, Step};
use crate::disk::State;
use hvdef::Guid;
use std::collections::BTreeMap;

/// How many initiators may be registered.
const MAX_REGISTRATIONS: usize = 64;

/// The size in bytes of a parameter list without transport ids, the only kind there is.
const PARAMETERS: u32 = 24;

/// The kind of a reservation (SPC-4, table 54).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind(u8);

impl Kind {
    /// Only the holder writes.
    const WRITE_EXCLUSIVE: Self = Self(1);
    /// Only the holder reads and writes.
    const EXCLUSIVE_ACCESS: Self = Self(3);
    /// Only the registered write.
    const WRITE_EXCLUSIVE_REGISTRANTS_ONLY: Self = Self(5);
    /// As 5, and all registered hold it.
    const WRITE_EXCLUSIVE_ALL_REGISTRANTS: Self = Self(7);
    /// Only the registered read and write, and all of them hold it; 6 is the same with one holder.
    const EXCLUSIVE_ACCESS_ALL_REGISTRANTS: Self = Self(8);

    /// A kind that there is, with the scope of the whole LUN.
    fn new(scope_and_kind: u8) -> Option<Self> {
        matches!(scope_and_kind, 1 | 3 | 5..=8).then_some(Self(scope_and_kind))
    }

    /// Whether all registered initiators hold it.
    fn is_held_by_all(self) -> bool {
        matches!(
            self,
            Self::WRITE_EXCLUSIVE_ALL_REGISTRANTS | Self::EXCLUSIVE_ACCESS_ALL_REGISTRANTS
        )
    }

    /// Whether only the holder, and not every registered initiator, has access.
    fn is_for_holder_only(self) -> bool {
        matches!(self, Self::WRITE_EXCLUSIVE | Self::EXCLUSIVE_ACCESS)
    }

    /// Whether others may read.
    fn lets_others_read(self) -> bool {
        matches!(
            self,
            Self::WRITE_EXCLUSIVE
                | Self::WRITE_EXCLUSIVE_REGISTRANTS_ONLY
                | Self::WRITE_EXCLUSIVE_ALL_REGISTRANTS
        )
    }
}

/// A reservation.
#[derive(Clone, Copy, Debug)]
struct Reservation {
    /// Its kind.
    kind: Kind,
    /// Who made it. Where all hold it, that does not matter.
    holder: Guid,
}

/// Who is registered, and the reservation if there is one.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    /// The key of each registered initiator.
    keys: BTreeMap<Guid, u64>,
    /// The reservation.
    reservation: Option<Reservation>,
    /// Counts changes of the registrations.
    generation: u32,
    /// Whether the guest asked that they survive a loss of power (APTPL); they live as long as the host.
    through_power_loss: bool,
}

impl Reservations {
    /// Whether an initiator holds the reservation.
    fn holds(&self, nexus: Guid) -> bool {
        self.reservation.is_some_and(|held| {
            held.holder == nexus || (held.kind.is_held_by_all() && self.keys.contains_key(&nexus))
        })
    }

    /// Whether a reservation keeps an initiator from a command (SPC-4, tables 48 and 49; SBC-3, table 13).
    pub(crate) fn conflicts(&self, nexus: Guid, cdb: &Cdb) -> bool {
        let Some(held) = self.reservation else {
            return false;
        };
        if self.holds(nexus) || (!held.kind.is_for_holder_only() && self.keys.contains_key(&nexus))
        {
            return false;
        }
        match cdb.opcode() {
            op::TEST_UNIT_READY
            | op::READ_CAPACITY_10
            | op::SERVICE_ACTION_IN_16
            | op::MAINTENANCE_IN
            | op::PERSISTENT_RESERVE_IN
            | op::PERSISTENT_RESERVE_OUT => false,
            // Starting is allowed, stopping is not.
            op::START_STOP_UNIT => !cdb.has(4, 1),
            op::READ_6
            | op::READ_10
            | op::READ_12
            | op::READ_16
            | op::VERIFY_10
            | op::VERIFY_12
            | op::VERIFY_16
            | op::MODE_SENSE_6
            | op::MODE_SENSE_10 => !held.kind.lets_others_read(),
            _ => true,
        }
    }

    /// The registrations changed.
    fn changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}

/// PERSISTENT RESERVE IN.
pub(super) fn read(command: &Command<'_>, state: &State) -> Answer {
    let held = &state.reservations;
    let mut body = Vec::new();
    match command.cdb.service_action() {
        // READ KEYS.
        0 => held
            .keys
            .values()
            .for_each(|key| body.extend(key.to_be_bytes())),
        // READ RESERVATION.
        1 => {
            if let Some(reservation) = held.reservation {
                let key = held.keys.get(&reservation.holder).copied().unwrap_or(0);
                // One that all hold has no key.
                let key = if reservation.kind.is_held_by_all() {
                    0
                } else {
                    key
                };
                body.extend(key.to_be_bytes());
                body.extend([0, 0, 0, 0, 0, reservation.kind.0, 0, 0]);
            }
        }
        // REPORT CAPABILITIES: PTPL_C; TMV and whether PTPL_A; all six kinds.
        2 => {
            let active = if held.through_power_loss { 0x81 } else { 0x80 };
            return data(vec![0, 8, 1, active, 0xea, 1, 0, 0], command.cdb.u16(7));
        }
        // READ FULL STATUS.
        3 => {
            for (nexus, key) in &held.keys {
                body.extend(full_status(held, *nexus, *key));
            }
        }
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.into()),
    }
    let mut bytes = held.generation.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    bytes.extend(body);
    data(bytes, command.cdb.u16(7))
}

/// One initiator in READ FULL STATUS, with a transport id of the SAS kind, which is the simplest that there is.
fn full_status(held: &Reservations, nexus: Guid, key: u64) -> [u8; 48] {
    let mut bytes = [0; 48];
    put(&mut bytes, 0, &key.to_be_bytes());
    if let Some(reservation) = held.reservation.filter(|_| held.holds(nexus)) {
        put(&mut bytes, 12, &[1, reservation.kind.0]);
    }
    // Relative target port 1, and 24 bytes of transport id.
    put(&mut bytes, 18, &[0, 1, 0, 0, 0, 24]);
    put(&mut bytes, 24, &[6]);
    put(&mut bytes, 28, &bytes_at::<8>(&nexus.to_bytes(), 8));
    bytes
}

/// PERSISTENT RESERVE OUT.
pub(super) fn write(command: &Command<'_>, state: &mut State) -> Answer {
    let cdb = &command.cdb;
    if cdb.u32(5) != PARAMETERS {
        return Err(Sense::PARAMETER_LIST_LENGTH.into());
    }
    let list = command.parameters(24)?;
    let key = u64::from_be_bytes(bytes_at(&list, 0));
    let service_key = u64::from_be_bytes(bytes_at(&list, 8));
    let [flags] = bytes_at(&list, 20);
    let action = cdb.service_action();
    let registered = state.reservations.keys.get(&command.nexus).copied();

    // REGISTER, and REGISTER AND IGNORE EXISTING KEY.
    if action == 0 || action == 6 {
        // Transport ids (SPEC_I_PT) and all ports (ALL_TG_PT) are not supported.
        if flags & 0x0c != 0 {
            return Err(Sense::INVALID_FIELD_IN_PARAMETERS.into());
        }
        if action == 0 && registered.unwrap_or(0) != key {
            return Err(Refusal::ReservationConflict);
        }
        register(command.nexus, service_key, state)?;
        state.reservations.through_power_loss = flags & 1 != 0;
        return Ok(Step::Taken(24));
    }
    if registered != Some(key) {
        return Err(Refusal::ReservationConflict);
    }
    let kind = Kind::new(cdb.u8(2));
    match action {
        // RESERVE.
        1 => reserve(
            command.nexus,
            kind.ok_or(Sense::INVALID_FIELD_IN_CDB)?,
            state,
        )?,
        // RELEASE.
        2 => release(command.nexus, kind, state)?,
        // CLEAR.
        3 => {
            let others: Vec<Guid> = state.reservations.keys.keys().copied().collect();
            state.reservations.keys.clear();
            state.reservations.reservation = None;
            state.reservations.changed();
            for other in others.into_iter().filter(|other| *other != command.nexus) {
                state.tell(other, Sense::RESERVATIONS_PREEMPTED);
            }
        }
        // PREEMPT, and PREEMPT AND ABORT: what others had sent is done by the time that they are told.
        4 | 5 => preempt(command.nexus, service_key, kind, state)?,
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.into()),
    }
    Ok(Step::Taken(24))
}

/// Registers a key, or with key 0 takes back the registration and what it holds.
fn register(nexus: Guid, key: u64, state: &mut State) -> Result<(), Refusal> {
    let held = &mut state.reservations;
    if key != 0 {
        if held.keys.len() >= MAX_REGISTRATIONS && !held.keys.contains_key(&nexus) {
            return Err(Sense::NO_REGISTRATION_RESOURCES.into());
        }
        held.keys.insert(nexus, key);
        held.changed();
        return Ok(());
    }
    let held_it = held.holds(nexus);
    if held.keys.remove(&nexus).is_some() {
        held.changed();
    }
    if let Some(reservation) = held.reservation.filter(|_| held_it) {
        if !reservation.kind.is_held_by_all() || held.keys.is_empty() {
            held.reservation = None;
            if !reservation.kind.is_for_holder_only() {
                tell_registered(state, nexus, Sense::RESERVATIONS_RELEASED);
            }
        }
    }
    Ok(())
}

/// Tells every registered initiator but one.
fn tell_registered(state: &mut State, except: Guid, sense: Sense) {
    let registered: Vec<Guid> = state.reservations.keys.keys().copied().collect();
    for other in registered.into_iter().filter(|other| *other != except) {
        state.tell(other, sense);
    }
}

/// Makes a reservation. To make the same again is no error.
fn reserve(nexus: Guid, kind: Kind, state: &mut State) -> Result<(), Refusal> {
    let holds = state.reservations.holds(nexus);
    match state.reservations.reservation {
        None => {
            let holder = nexus;
            state.reservations.reservation = Some(Reservation { kind, holder });
            Ok(())
        }
        Some(held) if holds && held.kind == kind => Ok(()),
        Some(_) => Err(Refusal::ReservationConflict),
    }
}

/// Gives a reservation back. Who holds none has nothing to give back, which is no error.
fn release(nexus: Guid, kind: Option<Kind>, state: &mut State) -> Result<(), Refusal> {
    let Some(held) = state.reservations.reservation else {
        return Ok(());
    };
    if !state.reservations.holds(nexus) {
        return Ok(());
    }
    if kind != Some(held.kind) {
        return Err(Sense::INVALID_RELEASE.into());
    }
    state.reservations.reservation = None;
    if !held.kind.is_for_holder_only() {
        tell_registered(state, nexus, Sense::RESERVATIONS_RELEASED);
    }
    Ok(())
}

/// Removes the registrations that have a key, and takes over the reservation if one of them holds it.
fn preempt(nexus: Guid, key: u64, kind: Option<Kind>, state: &mut State) -> Result<(), Refusal> {
    let held = state.reservations.reservation;
    let all_hold = held.is_some_and(|held| held.kind.is_held_by_all());
    if key == 0 && !all_hold {
        return Err(Sense::INVALID_FIELD_IN_PARAMETERS.into());
    }
    let keys = &state.reservations.keys;
    // Where all hold the reservation, key 0 means all others, and takes it over.
    let victims: Vec<Guid> = keys
        .iter()
        .filter(|(other, registered)| match key {
            0 => **other != nexus,
            _ => **registered == key,
        })
        .map(|(other, _)| *other)
        .collect();
    let takes_over = match held {
        Some(_) if all_hold => key == 0,
        Some(held) => victims.contains(&held.holder),
        None => false,
    };
    if victims.is_empty() && !takes_over {
        return Err(Refusal::ReservationConflict);
    }
    let kind = match takes_over {
        true => Some(kind.ok_or(Sense::INVALID_FIELD_IN_CDB)?),
        false => None,
    };
    for victim in victims.into_iter().filter(|victim| *victim != nexus) {
        state.reservations.keys.remove(&victim);
        state.tell(victim, Sense::REGISTRATIONS_PREEMPTED);
    }
    if let Some(kind) = kind {
        let holder = nexus;
        state.reservations.reservation = Some(Reservation { kind, holder });
        if held.is_some_and(|held| held.kind != kind) {
            tell_registered(state, nexus, Sense::RESERVATIONS_RELEASED);
        }
    }
    state.reservations.changed();
    Ok(())
}
