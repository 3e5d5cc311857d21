// SPDX-License-Identifier: GPL-2.0

//! KVP: the host reads and writes pools of key-value pairs in the guest, and reads and sets its network addresses.

use crate::message::read;
use crate::utf16::{self, units, Chars};
use crate::{Malformed, Version};
use zerocopy::little_endian::{U16, U32, U64};

mod daemon;

pub use daemon::{Kvp, MESSAGE_SIZE};

/// Message versions, the best first.
pub const VERSIONS: [Version; 3] = [Version::new(4, 0), Version::new(3, 0), Version::new(1, 0)];

/// The first version in which a host reads and sets network addresses.
pub const IP_VERSION: Version = Version::new(4, 0);

/// Size of a key in bytes, its end included (`HV_KVP_EXCHANGE_MAX_KEY_SIZE`).
pub const KEY_SIZE: usize = 512;
/// Size of a value in bytes, the end of a text included (`HV_KVP_EXCHANGE_MAX_VALUE_SIZE`).
pub const VALUE_SIZE: usize = 2048;
/// Length of an adapter's name in UTF-16 units (`MAX_ADAPTER_ID_SIZE`).
pub const ADAPTER_ID_UNITS: usize = 128;
/// Length of a list of addresses in UTF-16 units (`MAX_IP_ADDR_SIZE`).
pub const ADDRESSES_UNITS: usize = 1024;
/// Length of a list of gateways in UTF-16 units (`MAX_GATEWAY_SIZE`).
pub const GATEWAYS_UNITS: usize = 512;

hvdef::open_enum! {
    /// What to do (`enum hv_kvp_exchg_op`).
    #[derive(zerocopy_derive::FromBytes, zerocopy_derive::IntoBytes, zerocopy_derive::Immutable)]
    #[derive(zerocopy_derive::KnownLayout, zerocopy_derive::Unaligned)]
    pub enum Operation: u8 {
        /// Read the value of a key: [`Pair`].
        GET = 0,
        /// Add a pair, or change its value: [`Pair`].
        SET = 1,
        /// Remove a pair: [`Key`].
        DELETE = 2,
        /// Read the pair with an index: [`Enumerate`].
        ENUMERATE = 3,
        /// Read the addresses of an adapter: [`IpAddresses`].
        GET_IP_INFO = 4,
        /// Set them.
        SET_IP_INFO = 5,
    }
}

hvdef::open_enum! {
    /// Whose pairs (`enum hv_kvp_exchg_pool`).
    #[derive(zerocopy_derive::FromBytes, zerocopy_derive::IntoBytes, zerocopy_derive::Immutable)]
    #[derive(zerocopy_derive::KnownLayout, zerocopy_derive::Unaligned)]
    pub enum Pool: u8 {
        /// Written by the host's administrator.
        EXTERNAL = 0,
        /// Written by programs in the guest.
        GUEST = 1,
        /// Made by the guest's service when asked.
        AUTO = 2,
        /// Written by the host itself.
        AUTO_EXTERNAL = 3,
        /// For the guest's service itself.
        AUTO_INTERNAL = 4,
    }
}

hvdef::open_enum! {
    /// What a value is: Windows' registry types.
    pub enum ValueType: u32 {
        /// A text in UTF-16.
        STRING = 1,
        /// An integer of 32 bits.
        U32 = 4,
        /// An integer of 64 bits (11 in Windows itself).
        U64 = 8,
    }
}

hvdef::open_enum! {
    /// Which addresses (`ADDR_FAMILY_*`).
    #[derive(zerocopy_derive::FromBytes, zerocopy_derive::IntoBytes, zerocopy_derive::Immutable)]
    #[derive(zerocopy_derive::KnownLayout, zerocopy_derive::Unaligned)]
    pub enum AddressFamily: u8 {
        /// None.
        NONE = 0,
        /// IPv4.
        IPV4 = 1,
        /// IPv6.
        IPV6 = 2,
        /// Both.
        BOTH = 3,
    }
}

wire! {
    /// Starts the body (`struct hv_kvp_hdr`), 4 bytes.
    pub struct Header {
        /// What to do.
        operation: Operation,
        /// Whose pairs.
        pool: Pool,
        /// Zero.
        reserved: U16,
    }

    /// A key and its value (`struct hv_kvp_exchg_msg_value`), 2572 bytes.
    pub struct Pair {
        /// The [`ValueType`].
        value_type: U32,
        /// Bytes of the key that count, its end included.
        key_size: U32,
        /// Bytes of the value that count, the end of a text included.
        value_size: U32,
        /// The key, in UTF-16.
        key: [u8; KEY_SIZE],
        /// The value.
        value: [u8; VALUE_SIZE],
    }

    /// What to enumerate and, in the answer, what was there (`struct hv_kvp_msg_enumerate`), 2576 bytes.
    pub struct Enumerate {
        /// Which pair, counted from 0.
        index: U32,
        /// The pair.
        pair: Pair,
    }

    /// A key (`struct hv_kvp_msg_delete`), 516 bytes.
    pub struct Key {
        /// Bytes of it that count, its end included.
        size: U32,
        /// The key, in UTF-16.
        key: [u8; KEY_SIZE],
    }

    /// The whole body of an operation on addresses (`struct hv_kvp_ip_msg`), 7428 bytes. Lists have semicolons.
    pub struct IpMessage {
        /// What to do.
        operation: Operation,
        /// Meaningless here.
        pool: Pool,
        /// Of which adapter, and which.
        addresses: IpAddresses,
    }

    /// The addresses of an adapter (`struct hv_kvp_ipaddr_value`), 7426 bytes.
    pub struct IpAddresses {
        /// The adapter. Linux' daemon compares it with MAC addresses to get, and with instance GUIDs to set.
        adapter_id: [U16; ADAPTER_ID_UNITS],
        /// Which addresses.
        family: AddressFamily,
        /// Whether they come by DHCP.
        dhcp_enabled: u8,
        /// The adapter's own addresses.
        addresses: [U16; ADDRESSES_UNITS],
        /// Their subnet masks or prefix lengths.
        subnets: [U16; ADDRESSES_UNITS],
        /// The gateways.
        gateways: [U16; GATEWAYS_UNITS],
        /// The name servers.
        dns_servers: [U16; ADDRESSES_UNITS],
    }
}

/// Size of the body of a request in this version. The guest answers in place, so a request has room for any answer.
#[must_use]
pub fn body_size(version: Version) -> usize {
    if version >= IP_VERSION {
        size_of::<IpMessage>()
    } else {
        size_of::<Header>().saturating_add(size_of::<Enumerate>())
    }
}

/// A value, checked.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A text.
    String(Chars<'a>),
    /// An integer.
    U32(u32),
    /// An integer.
    U64(u64),
    /// Something that has no name here: its type and its bytes.
    Other(ValueType, &'a [u8]),
}

/// The first `size` bytes of a field.
fn counted(field: &[u8], size: U32) -> Result<&[u8], Malformed> {
    let bad = Malformed::FieldSize(size.get());
    let size = usize::try_from(size.get()).map_err(|_| bad)?;
    field.get(..size).ok_or(bad)
}

/// A text of `size` bytes.
fn text(field: &[u8], size: U32) -> Result<Chars<'_>, Malformed> {
    let units = units(counted(field, size)?).ok_or(Malformed::FieldSize(size.get()))?;
    utf16::decode(units).map_err(|utf16::Unpaired| Malformed::Text)
}

impl Pair {
    /// The key.
    ///
    /// # Errors
    ///
    /// [`Malformed::FieldSize`] and [`Malformed::Text`].
    pub fn key(&self) -> Result<Chars<'_>, Malformed> {
        text(&self.key, self.key_size)
    }

    /// The value. That of an integer does not depend on its size field, which hosts leave 0.
    ///
    /// # Errors
    ///
    /// [`Malformed::FieldSize`] and [`Malformed::Text`].
    pub fn value(&self) -> Result<Value<'_>, Malformed> {
        Ok(match ValueType(self.value_type.get()) {
            ValueType::STRING => Value::String(text(&self.value, self.value_size)?),
            ValueType::U32 => Value::U32(read::<U32>(&self.value)?.0.get()),
            ValueType::U64 => Value::U64(read::<U64>(&self.value)?.0.get()),
            other => Value::Other(other, counted(&self.value, self.value_size)?),
        })
    }
}

impl Key {
    /// The key.
    ///
    /// # Errors
    ///
    /// [`Malformed::FieldSize`] and [`Malformed::Text`].
    pub fn key(&self) -> Result<Chars<'_>, Malformed> {
        text(&self.key, self.size)
    }
}

/// The body of a message, by its operation.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// [`Operation::GET`].
    Get(&'a Pair),
    /// [`Operation::SET`].
    Set(&'a Pair),
    /// [`Operation::DELETE`].
    Delete(&'a Key),
    /// [`Operation::ENUMERATE`].
    Enumerate(&'a Enumerate),
    /// [`Operation::GET_IP_INFO`].
    GetIp(&'a IpAddresses),
    /// [`Operation::SET_IP_INFO`].
    SetIp(&'a IpAddresses),
    /// Something that has no name here.
    Other(Operation),
}

impl<'a> Body<'a> {
    /// Reads the body of a message.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn parse(body: &'a [u8]) -> Result<(Pool, Self), Malformed> {
        let (header, rest) = read::<Header>(body)?;
        let parsed = match header.operation {
            Operation::GET => Self::Get(read(rest)?.0),
            Operation::SET => Self::Set(read(rest)?.0),
            Operation::DELETE => Self::Delete(read(rest)?.0),
            Operation::ENUMERATE => Self::Enumerate(read(rest)?.0),
            Operation::GET_IP_INFO => Self::GetIp(&read::<IpMessage>(body)?.0.addresses),
            Operation::SET_IP_INFO => Self::SetIp(&read::<IpMessage>(body)?.0.addresses),
            other => Self::Other(other),
        };
        Ok((header.pool, parsed))
    }
}

/// The structure at the start of `body`, to fill in an answer.
///
/// # Errors
///
/// [`Malformed::Short`].
pub fn read_mut<T>(body: &mut [u8]) -> Result<&mut T, Malformed>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    let length = body.len();
    T::mut_from_prefix(body)
        .map(|(value, _)| value)
        .map_err(|_| Malformed::Short(length))
}

#[cfg(test)]
mod tests;
