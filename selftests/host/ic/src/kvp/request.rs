// SPDX-License-Identifier: GPL-2.0

//! Pairs between JSON and the wire.

use hv_utils_proto::kvp::{self, Enumerate, Header, Key, Operation, Pair, Pool, ValueType};
use hv_utils_proto::{utf16, Malformed};
use serde::Deserialize;
use serde_json::{json, Value};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// A value to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvpValue {
    /// A text.
    String(String),
    /// An integer of 32 bits.
    U32(u32),
    /// An integer of 64 bits.
    U64(u64),
}

/// The members of requests about one pair.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PairArguments {
    /// Whose pairs.
    pub(super) pool: Value,
    /// The key.
    pub(super) key: String,
    /// The value to set.
    pub(super) value: Option<Value>,
    /// What it is.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// How long it may take.
    pub(super) timeout_ms: Option<u64>,
}

/// The members of requests about all pairs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolArguments {
    /// Whose pairs.
    pub(super) pool: Value,
    /// How long it may take.
    pub(super) timeout_ms: Option<u64>,
}

/// The pool with a number or a name.
pub(super) fn named_pool(pool: &Value) -> Result<Pool, String> {
    let number = pool.as_u64().and_then(|number| u8::try_from(number).ok());
    match (number, pool.as_str()) {
        (Some(number), _) => Ok(Pool(number)),
        (_, Some("external")) => Ok(Pool::EXTERNAL),
        (_, Some("guest")) => Ok(Pool::GUEST),
        (_, Some("auto")) => Ok(Pool::AUTO),
        (_, Some("auto_external")) => Ok(Pool::AUTO_EXTERNAL),
        (_, Some("auto_internal")) => Ok(Pool::AUTO_INTERNAL),
        _ => Err(format!("there is no pool {pool}")),
    }
}

impl KvpValue {
    /// The value of a request of the control socket.
    pub(super) fn parse(value: Value, kind: Option<String>) -> Result<Self, String> {
        let small = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match (kind.as_deref(), value) {
            (None | Some("string"), Value::String(text)) => Ok(Self::String(text)),
            (kind, Value::Number(number)) => match (kind, small, number.as_u64()) {
                (None | Some("u32"), Some(number), _) => Ok(Self::U32(number)),
                (None | Some("u64"), _, Some(number)) => Ok(Self::U64(number)),
                (Some("string"), _, _) => Ok(Self::String(number.to_string())),
                _ => Err(format!("{number} is no {}", kind.unwrap_or("u64"))),
            },
            (Some(kind), value) => Err(format!("{value} is no {kind}")),
            (None, value) => Err(format!("{value} is neither text nor a number")),
        }
    }
}

/// Writes a text into a field, and returns how many bytes of it count.
fn text(text: &str, field: &mut [u8], what: &str) -> Result<U32, String> {
    let length = field.len();
    let units = utf16::units_mut(field)
        .and_then(|units| utf16::encode(text, units).ok())
        .ok_or_else(|| format!("the {what} takes more than the {length} bytes that there are"))?;
    Ok(U32::new(
        u32::try_from(units.saturating_mul(2)).unwrap_or(0),
    ))
}

/// A pair with a key and, to set it, a value.
pub(super) fn pair(key: &str, value: Option<&KvpValue>) -> Result<Pair, String> {
    let mut pair = Pair::new_zeroed();
    pair.key_size = text(key, &mut pair.key, "key")?;
    let (value_type, size) = match value {
        None => return Ok(pair),
        Some(KvpValue::String(value)) => {
            (ValueType::STRING, text(value, &mut pair.value, "value")?)
        }
        Some(KvpValue::U32(value)) => (ValueType::U32, integer(&U32::new(*value), &mut pair.value)),
        Some(KvpValue::U64(value)) => (ValueType::U64, integer(&U64::new(*value), &mut pair.value)),
    };
    pair.value_type = U32::new(value_type.0);
    pair.value_size = size;
    Ok(pair)
}

/// Writes an integer into a field, and returns its size.
fn integer(value: &(impl IntoBytes + Immutable), field: &mut [u8]) -> U32 {
    let bytes = value.as_bytes();
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
    U32::new(u32::try_from(bytes.len()).unwrap_or(0))
}

/// A key to delete.
pub(super) fn key(key: &str) -> Result<Key, String> {
    let mut wire = Key::new_zeroed();
    wire.size = text(key, &mut wire.key, "key")?;
    Ok(wire)
}

/// A body: the header and what follows it.
pub(super) fn body(
    operation: Operation,
    pool: Pool,
    rest: &(impl IntoBytes + Immutable),
) -> Vec<u8> {
    let header = Header {
        operation,
        pool,
        reserved: U16::new(0),
    };
    let mut body = header.as_bytes().to_vec();
    body.extend_from_slice(rest.as_bytes());
    body
}

/// The body that asks for the pair with an index.
pub(super) fn enumerate(pool: Pool, index: u32) -> Vec<u8> {
    let mut rest = Enumerate::new_zeroed();
    rest.index = U32::new(index);
    body(Operation::ENUMERATE, pool, &rest)
}

/// A pair's value as JSON.
pub(super) fn value(pair: &Pair) -> Result<Value, Malformed> {
    Ok(match pair.value()? {
        kvp::Value::String(text) => json!(text.collect::<String>()),
        kvp::Value::U32(number) => json!(number),
        kvp::Value::U64(number) => json!(number),
        kvp::Value::Other(kind, bytes) => json!({ "type": kind.0, "bytes": bytes }),
    })
}

/// A pair as JSON.
pub(super) fn shown(pair: &Pair) -> Result<Value, Malformed> {
    let key: String = pair.key()?.collect();
    Ok(json!({ "key": key, "value": value(pair)? }))
}
