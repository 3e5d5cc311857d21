// SPDX-License-Identifier: GPL-2.0

//! Network addresses between JSON and the wire.

use hv_utils_proto::kvp::{AddressFamily, IpAddresses, IpMessage, Operation};
use hv_utils_proto::{utf16, Malformed};
use serde::Deserialize;
use serde_json::{json, Value};
use zerocopy::little_endian::U16;
use zerocopy::{FromZeros, IntoBytes};

/// What separates the addresses of a list.
const SEPARATOR: &str = ";";

/// The members of `get_ip`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetArguments {
    /// Of which adapter.
    adapter_id: String,
    /// Which.
    #[serde(default)]
    family: Family,
    /// How long it may take.
    timeout_ms: Option<u64>,
}

/// The members of `set_ip`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetArguments {
    /// Of which adapter.
    adapter_id: String,
    /// Which.
    #[serde(default)]
    family: Family,
    /// Whether they come by DHCP.
    #[serde(default)]
    dhcp: bool,
    /// The adapter's own addresses.
    #[serde(default)]
    addresses: Vec<String>,
    /// Their subnet masks.
    #[serde(default)]
    subnets: Vec<String>,
    /// The gateways.
    #[serde(default)]
    gateways: Vec<String>,
    /// The name servers.
    #[serde(default)]
    dns_servers: Vec<String>,
    /// How long it may take.
    timeout_ms: Option<u64>,
}

/// Which addresses.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Both.
    Both,
}

impl From<Family> for AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::IPV4,
            Family::Ipv6 => Self::IPV6,
            Family::Both => Self::BOTH,
        }
    }
}

/// An empty body for an adapter.
fn message(operation: Operation, adapter: &str, family: Family) -> Result<IpMessage, String> {
    let mut message = IpMessage::new_zeroed();
    message.operation = operation;
    message.addresses.family = family.into();
    write(adapter, &mut message.addresses.adapter_id, "adapter_id")?;
    Ok(message)
}

/// Writes a text into a field.
fn write(text: &str, field: &mut [U16], what: &str) -> Result<(), String> {
    utf16::encode(text, field)
        .map(|_| ())
        .map_err(|utf16::TooLong| format!("{what} takes more UTF-16 units than there are"))
}

/// The body of `get_ip`, and its timeout.
pub(super) fn get(arguments: GetArguments) -> Result<(Vec<u8>, Option<u64>), String> {
    let message = message(
        Operation::GET_IP_INFO,
        &arguments.adapter_id,
        arguments.family,
    )?;
    Ok((message.as_bytes().to_vec(), arguments.timeout_ms))
}

/// The body of `set_ip`, and its timeout.
pub(super) fn set(arguments: SetArguments) -> Result<(Vec<u8>, Option<u64>), String> {
    let mut message = message(
        Operation::SET_IP_INFO,
        &arguments.adapter_id,
        arguments.family,
    )?;
    let to = &mut message.addresses;
    to.dhcp_enabled = u8::from(arguments.dhcp);
    write(
        &arguments.addresses.join(SEPARATOR),
        &mut to.addresses,
        "addresses",
    )?;
    write(
        &arguments.subnets.join(SEPARATOR),
        &mut to.subnets,
        "subnets",
    )?;
    write(
        &arguments.gateways.join(SEPARATOR),
        &mut to.gateways,
        "gateways",
    )?;
    write(
        &arguments.dns_servers.join(SEPARATOR),
        &mut to.dns_servers,
        "dns_servers",
    )?;
    Ok((message.as_bytes().to_vec(), arguments.timeout_ms))
}

/// A guest's answer as JSON.
pub(super) fn show(addresses: &IpAddresses) -> Result<Value, Malformed> {
    let text = |field: &[U16]| -> Result<String, Malformed> {
        let text = utf16::decode(field).map_err(|utf16::Unpaired| Malformed::Text)?;
        Ok(text.collect())
    };
    let list = |field: &[U16]| -> Result<Vec<String>, Malformed> {
        let text = text(field)?;
        let entries = text.split(SEPARATOR).filter(|entry| !entry.is_empty());
        Ok(entries.map(str::to_owned).collect())
    };
    Ok(json!({
        "adapter_id": text(&addresses.adapter_id)?,
        "family": format!("{:?}", addresses.family).to_lowercase(),
        "dhcp": addresses.dhcp_enabled != 0,
        "addresses": list(&addresses.addresses)?,
        "subnets": list(&addresses.subnets)?,
        "gateways": list(&addresses.gateways)?,
        "dns_servers": list(&addresses.dns_servers)?,
    }))
}
