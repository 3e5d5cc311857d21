// SPDX-License-Identifier: GPL-2.0

//! What the KVP daemon is asked: texts in UTF-8, in the fields that have UTF-16 on the way to the host.
//!
//! Its messages are `struct hv_kvp_msg`: a header of 4 bytes, where an answer has its status, and the largest of the bodies.
//! It takes every size and every pool for good, so that all are checked here.

use super::{
    read_mut, Body, Enumerate, Header, IpAddresses, Key, Operation, Pair, Pool, Value, ValueType,
};
use super::{KEY_SIZE, VALUE_SIZE};
use crate::message::read;
use crate::relay::{Nonsense, Protocol, Verdict};
use crate::utf16::{self, Chars};
use crate::{Malformed, Status};
use core::fmt::{self, Write as _};
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes as _;

/// Bytes of a message: 7432, since the body is padded to a multiple of 4.
pub const MESSAGE_SIZE: usize = size_of::<Header>()
    .saturating_add(size_of::<IpAddresses>())
    .next_multiple_of(4);

/// A registration by a daemon that knows nothing of addresses (`KVP_OP_REGISTER`).
const REGISTER: u8 = 4;
/// A registration by any other (`KVP_OP_REGISTER1`).
const REGISTER1: u8 = 100;

/// What the greeting says in place of a driver's version: the daemon hands it to the host as
/// `IntegrationServicesVersion`. That of the stock driver.
const VERSION: &str = "3.1";

/// The most bytes of a list of addresses, its end included: as many as the fields have units. The daemon counts on it.
const ADDRESSES_BYTES: usize = super::ADDRESSES_UNITS;
/// The same of gateways.
const GATEWAYS_BYTES: usize = super::GATEWAYS_UNITS;
/// The most bytes of one address in a list, its end not included: the daemon copies it without a look at its length
/// (`INET6_ADDRSTRLEN`).
const ADDRESS_BYTES: usize = 45;
/// The most bytes of an adapter's name, its end included.
const ADAPTER_ID_BYTES: usize = super::ADAPTER_ID_UNITS;

/// The KVP service towards its daemon.
#[derive(Debug)]
pub struct Kvp {
    /// For how many milliseconds the choice of versions waits for a daemon.
    patience: u64,
    /// In how many milliseconds a request is answered.
    timeout: u64,
    /// How the daemon registered.
    registration: u8,
}

impl Kvp {
    /// With both times in milliseconds.
    #[must_use]
    pub const fn new(patience: u64, timeout: u64) -> Self {
        Self {
            patience,
            timeout,
            registration: REGISTER1,
        }
    }

    /// Makes the daemon's message from the body of a request.
    fn ask(&self, body: &[u8], message: &mut [u8]) -> Result<(), Status> {
        let (pool, parsed) = Body::parse(body)?;
        if pool > Pool::AUTO_INTERNAL && !matches!(parsed, Body::GetIp(_) | Body::SetIp(_)) {
            return Err(Status::INVALID_ARGUMENT);
        }
        message.fill(0);
        let header = read_mut::<Header>(message)?;
        header.operation = read::<Header>(body)?.0.operation;
        header.pool = pool;
        let message = message.get_mut(size_of::<Header>()..).unwrap_or_default();
        match parsed {
            Body::Get(from) => {
                let to = read_mut::<Pair>(message)?;
                to.key_size = text(from.key()?, &mut to.key)?;
                // The daemon copies so much of the value.
                to.value_size = size(VALUE_SIZE);
            }
            Body::Set(from) => {
                let to = read_mut::<Pair>(message)?;
                to.key_size = text(from.key()?, &mut to.key)?;
                to.value_size = match from.value()? {
                    Value::String(chars) => text(chars, &mut to.value)?,
                    Value::U32(number) => decimal(number, &mut to.value)?,
                    Value::U64(number) => decimal(number, &mut to.value)?,
                    Value::Other(..) => return Err(Status::NOT_SUPPORTED),
                };
                to.value_type = U32::new(ValueType::STRING.0);
            }
            Body::Delete(from) => {
                let to = read_mut::<Key>(message)?;
                to.size = text(from.key()?, &mut to.key)?;
            }
            // The daemon would take it for a negative one.
            Body::Enumerate(from) if i32::try_from(from.index.get()).is_err() => {
                return Err(Status::NO_MORE_ITEMS);
            }
            Body::Enumerate(from) => read_mut::<Enumerate>(message)?.index = from.index,
            Body::GetIp(_) | Body::SetIp(_) if self.registration == REGISTER => {
                return Err(Status::NOT_SUPPORTED);
            }
            Body::GetIp(from) => adapter(from, read_mut(message)?)?,
            Body::SetIp(from) => {
                let to = read_mut::<IpAddresses>(message)?;
                adapter(from, to)?;
                to.dhcp_enabled = from.dhcp_enabled;
                addresses(&from.addresses, &mut to.addresses, ADDRESSES_BYTES)?;
                addresses(&from.subnets, &mut to.subnets, ADDRESSES_BYTES)?;
                addresses(&from.gateways, &mut to.gateways, GATEWAYS_BYTES)?;
                addresses(&from.dns_servers, &mut to.dns_servers, ADDRESSES_BYTES)?;
            }
            Body::Other(_) => return Err(Status::NOT_SUPPORTED),
        }
        Ok(())
    }

    /// Makes the body of an answer from the daemon's message.
    fn answer(&self, body: &mut [u8], message: &[u8]) -> Result<(), Status> {
        let operation = read::<Header>(body)?.0.operation;
        let (status, message) = read::<U32>(message)?;
        if self.registration == REGISTER {
            // It has no other way to say that the list ends, and none at all to say anything else.
            if operation == Operation::ENUMERATE
                && read::<Enumerate>(message)?.0.pair.key.starts_with(&[0])
            {
                return Err(Status::NO_MORE_ITEMS);
            }
        } else if status.get() != Status::OK.0 {
            return Err(Status(status.get()));
        }
        match operation {
            Operation::GET => {
                let to = behind_header::<Pair>(body)?;
                value(read::<Pair>(message)?.0, to);
            }
            Operation::ENUMERATE => {
                let (from, to) = (
                    read::<Enumerate>(message)?.0,
                    behind_header::<Enumerate>(body)?,
                );
                to.pair.key_size = units(&from.pair.key, &mut to.pair.key);
                value(&from.pair, &mut to.pair);
            }
            Operation::GET_IP_INFO => {
                let from = read::<IpAddresses>(message)?.0;
                let to = &mut read_mut::<super::IpMessage>(body)?.addresses;
                to.family = from.family;
                to.dhcp_enabled = from.dhcp_enabled;
                for (from, to) in [
                    (&from.adapter_id[..], &mut to.adapter_id[..]),
                    (&from.addresses, &mut to.addresses),
                    (&from.subnets, &mut to.subnets),
                    (&from.gateways, &mut to.gateways),
                    (&from.dns_servers, &mut to.dns_servers),
                ] {
                    utf16::encode_lossy(from.as_bytes(), to);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Protocol for Kvp {
    const MESSAGE_SIZE: usize = MESSAGE_SIZE;
    const GREETING_SIZE: usize = MESSAGE_SIZE;
    const LONGER_WRITES: bool = true;

    fn patience(&self) -> u64 {
        self.patience
    }

    fn register(&mut self, message: &[u8]) -> Result<bool, Nonsense> {
        match message.first() {
            Some(operation @ (&REGISTER | &REGISTER1)) => {
                self.registration = *operation;
                Ok(true)
            }
            _ => Err(Nonsense::Registration),
        }
    }

    fn greet(&self, into: &mut [u8]) {
        into.fill(0);
        let version = VERSION.as_bytes().iter();
        let places = into.iter_mut().skip(size_of::<Header>());
        for (to, from) in places.zip(version) {
            *to = *from;
        }
        if let Some(operation) = into.first_mut() {
            *operation = self.registration;
        }
    }

    fn consider(&mut self, body: &mut [u8], message: &mut [u8]) -> Verdict {
        match self.ask(body, message) {
            Ok(()) => Verdict::Ask(self.timeout),
            Err(status) => Verdict::Answer(status),
        }
    }

    fn answered(&mut self, body: &mut [u8], message: &[u8], _now: u64) -> Status {
        match self.answer(body, message) {
            Ok(()) => Status::OK,
            Err(status) => status,
        }
    }
}

impl From<Malformed> for Status {
    fn from(_: Malformed) -> Self {
        Self::INVALID_ARGUMENT
    }
}

impl From<utf16::TooLong> for Status {
    fn from(_: utf16::TooLong) -> Self {
        Self::INVALID_ARGUMENT
    }
}

/// The structure behind a body's header.
fn behind_header<T>(body: &mut [u8]) -> Result<&mut T, Malformed>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    read_mut(body.get_mut(size_of::<Header>()..).unwrap_or_default())
}

/// A size on the wire.
fn size(bytes: usize) -> U32 {
    U32::new(u32::try_from(bytes).unwrap_or(0))
}

/// Writes a text for the daemon, and returns its size.
fn text(chars: Chars<'_>, field: &mut [u8]) -> Result<U32, Status> {
    Ok(size(utf16::to_utf8(chars, field)?))
}

/// Writes a number in decimal for the daemon, and returns its size.
fn decimal(number: impl fmt::Display, field: &mut [u8]) -> Result<U32, Status> {
    let mut digits = Digits { field, used: 0 };
    write!(digits, "{number}\0").map_err(|_| Status::FAIL)?;
    Ok(size(digits.used))
}

/// Where digits are written.
struct Digits<'a> {
    /// All of the field.
    field: &'a mut [u8],
    /// Bytes written.
    used: usize,
}

impl fmt::Write for Digits<'_> {
    fn write_str(&mut self, digits: &str) -> fmt::Result {
        let end = self.used.saturating_add(digits.len());
        let place = self.field.get_mut(self.used..end).ok_or(fmt::Error)?;
        // A copy of slices can panic, in a way that the kernel's objtool does not know.
        let bytes = place.iter_mut().zip(digits.as_bytes());
        bytes.for_each(|(to, from)| *to = *from);
        self.used = end;
        Ok(())
    }
}

/// Which addresses of which adapter.
fn adapter(from: &IpAddresses, to: &mut IpAddresses) -> Result<(), Status> {
    to.family = from.family;
    field(&from.adapter_id, &mut to.adapter_id, ADAPTER_ID_BYTES)
}

/// Writes a list of addresses for the daemon, of so many bytes at most, if each has a length that addresses have.
fn addresses(from: &[U16], to: &mut [U16], bytes: usize) -> Result<(), Status> {
    field(from, to, bytes)?;
    let mut list = to.as_bytes().split(|byte| matches!(byte, b';' | 0));
    match list.any(|address| address.len() > ADDRESS_BYTES) {
        true => Err(Status::INVALID_ARGUMENT),
        false => Ok(()),
    }
}

/// Writes a text for the daemon into a field of units, of so many bytes at most.
fn field(from: &[U16], to: &mut [U16], bytes: usize) -> Result<(), Status> {
    let chars = utf16::decode(from).map_err(|utf16::Unpaired| Malformed::Text)?;
    let to = to.as_mut_bytes().get_mut(..bytes).unwrap_or_default();
    utf16::to_utf8(chars, to)?;
    Ok(())
}

/// Writes a text for the host, and returns its size.
fn units(from: &[u8], to: &mut [u8]) -> U32 {
    let to = utf16::units_mut(to).unwrap_or_default();
    size(utf16::encode_lossy(from, to).saturating_mul(size_of::<U16>()))
}

/// Writes a value for the host. The daemon has nothing but texts.
fn value(from: &Pair, to: &mut Pair) {
    to.value_type = U32::new(ValueType::STRING.0);
    to.value_size = units(&from.value, &mut to.value);
}

/// An even field has units.
const _: () = assert!(KEY_SIZE % 2 == 0 && VALUE_SIZE % 2 == 0);

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]
mod tests;
