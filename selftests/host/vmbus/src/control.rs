// SPDX-License-Identifier: GPL-2.0

//! The control socket's requests that concern the host itself.

use crate::bus::OfferOverride;
use crate::device::{Control, Reply};
use crate::fault::Rule;
use crate::host::{DeviceId, Host};
use serde_json::{json, Map, Value};
use vmbus_proto::Version;

impl Host {
    /// A request of the control socket: `{"command": …, "device": name, …}`.
    ///
    /// The host's own commands are `list`, `counters`, `rescind`, `reoffer`, `configure`, `fault`, `faults` and
    /// `faults_clear`; a device gets all others.
    pub fn control(&mut self, mut request: Map<String, Value>, reply: Reply) {
        let Some(Value::String(command)) = request.remove("command") else {
            return reply.error("a request has a member \"command\", a string");
        };
        let result = match command.as_str() {
            "list" => self.list(&request),
            "counters" => self.count(&request),
            "rescind" => self.named(&request).map(|device| {
                self.bus.rescind(device);
                Value::Null
            }),
            "reoffer" => self.reoffer(&request),
            "configure" => self.configure(&request),
            "fault" => self.add_fault(request),
            "faults" => Ok(json!(self.bus.faults.rules())),
            "faults_clear" => {
                self.bus.faults.clear();
                Ok(Value::Null)
            }
            _ => match self.named(&request) {
                Ok(device) => {
                    request.remove("device");
                    let control = Control {
                        command,
                        arguments: request,
                        reply,
                    };
                    self.call(device, |device, context| device.control(control, context));
                    return self.settle();
                }
                Err(error) => Err(format!(
                    "the host itself has no command {command}, and {error}"
                )),
            },
        };
        self.settle();
        match result {
            Ok(value) => reply.ok(value),
            Err(error) => reply.error(error),
        }
    }

    /// The device that a request names.
    fn named(&self, request: &Map<String, Value>) -> Result<DeviceId, String> {
        match request.get("device") {
            Some(Value::String(name)) => self
                .bus
                .find(name)
                .ok_or_else(|| format!("there is no device {name}; see the command list")),
            _ => Err("the request needs a member \"device\", a string".into()),
        }
    }

    /// Devices and their channels, or only the one that the request names.
    fn list(&self, request: &Map<String, Value>) -> Result<Value, String> {
        let only = match request.get("device") {
            None => None,
            Some(_) => Some(self.named(request)?),
        };
        let devices = self.bus.entries.iter().filter_map(|(id, entry)| {
            if only.is_some_and(|only| only != *id) {
                return None;
            }
            let device = self.devices.get(id)?;
            let spec = device.offer();
            let channels: Vec<Value> = entry
                .ports
                .iter()
                .filter_map(|(index, port)| {
                    let offer = port.offer.as_ref()?;
                    let open = offer.open.as_ref();
                    Some(json!({
                        "index": index,
                        "relid": offer.relid,
                        "open": open.is_some(),
                        "vp": open.map(|open| open.target_vp),
                        "connection": offer.connection_id,
                        "dedicated_interrupt": !offer.shared,
                        "monitor": offer.monitor_id,
                    }))
                })
                .collect();
            let first = entry.ports.get(&0).and_then(|port| port.offer.as_ref());
            let state = match first {
                None => "not offered",
                Some(offer) if offer.open.is_none() => "offered",
                Some(_) => "open",
            };
            Some(json!({
                "name": entry.name,
                "class": spec.class.to_string(),
                "instance": spec.instance.to_string(),
                "state": state,
                "channels": channels,
                "status": device.status(),
            }))
        });
        Ok(Value::Array(devices.collect()))
    }

    /// Counts of one device's channels, or of the connection.
    fn count(&self, request: &Map<String, Value>) -> Result<Value, String> {
        if !request.contains_key("device") {
            let connection = self.bus.connection;
            return Ok(json!({
                "version": connection.map(|connection| connection.version.to_string()),
                "unreleased": self.bus.relids.values().filter(|port| port.is_none()).count(),
                "gpadls": self.bus.gpadls.len(),
                "messages": self.bus.counters,
            }));
        }
        let device = self.named(request)?;
        let entry = self.bus.entries.get(&device);
        let channels = entry.into_iter().flat_map(|entry| &entry.ports);
        let counts = channels.map(|(channel, port)| {
            let mut counts = json!(port.counters);
            if let Value::Object(counts) = &mut counts {
                counts.insert("channel".into(), json!(channel));
            }
            counts
        });
        Ok(Value::Array(counts.collect()))
    }

    /// Offers a rescinded device again, perhaps otherwise than before.
    fn reoffer(&mut self, request: &Map<String, Value>) -> Result<Value, String> {
        let device = self.named(request)?;
        let flag = |name: &str| match request.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(format!("\"{name}\" is true or false")),
        };
        let offer_override = OfferOverride {
            monitored: flag("monitored")?,
            dedicated_interrupt: flag("dedicated_interrupt")?,
        };
        if let Some(entry) = self.bus.entries.get_mut(&device) {
            entry.offer_override = offer_override;
        }
        // Whoever wants it to be different wants it to be withdrawn first.
        self.bus.rescind(device);
        self.offer(device);
        Ok(Value::Null)
    }

    /// Changes how the host behaves from the next contact on.
    fn configure(&mut self, request: &Map<String, Value>) -> Result<Value, String> {
        let version = request.get("vmbus_max").and_then(Value::as_str);
        let version = version.and_then(parse_version).ok_or_else(|| {
            String::from("\"vmbus_max\" is a version, for instance \"5.3\"; there is nothing else to configure")
        })?;
        self.bus.config.max_version = version;
        Ok(Value::Null)
    }

    /// Adds a fault rule; answers with its number and the seed.
    fn add_fault(&mut self, request: Map<String, Value>) -> Result<Value, String> {
        let rule: Rule =
            serde_json::from_value(Value::Object(request)).map_err(|error| error.to_string())?;
        let id = self.bus.faults.add(rule)?;
        Ok(json!({ "id": id, "seed": self.bus.config.seed }))
    }
}

/// Reads a version such as `5.3`.
#[must_use]
pub fn parse_version(text: &str) -> Option<Version> {
    let (major, minor) = text.split_once('.')?;
    let (major, minor): (u16, u16) = (major.parse().ok()?, minor.parse().ok()?);
    Some(Version(u32::from(major) << 16 | u32::from(minor)))
}
