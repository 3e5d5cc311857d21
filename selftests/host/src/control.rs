// SPDX-License-Identifier: GPL-2.0

//! Requests to the machine, as lines of JSON: over a socket, or from the guest on its second serial port.

pub(crate) mod client;
mod server;

pub(crate) use server::{Handler, Server};

use crate::ending::End;
use crate::machine::Machine;
use crate::sync::lock;
use serde_json::{json, Map, Value};
use std::sync::Arc;
use vmbus_host::Reply;

/// The longest request, in bytes.
pub(crate) const MAX_REQUEST: usize = 64 << 10;

/// Handles one request. `answer` gets `{"ok": …}` or `{"error": …}`, perhaps later and from another thread.
pub(crate) fn handle(
    machine: &Arc<Machine>,
    line: &[u8],
    answer: impl FnOnce(Value) + Send + 'static,
) {
    let reply = Reply::new(|result| {
        answer(match result {
            Ok(value) => json!({ "ok": value }),
            Err(text) => json!({ "error": text }),
        });
    });
    let request = match serde_json::from_slice::<Map<String, Value>>(line) {
        Ok(request) => request,
        Err(error) => {
            return reply.error(format!("a request is one JSON object on one line: {error}"))
        }
    };
    match request.get("command").and_then(Value::as_str) {
        Some("quit") => {
            reply.ok(Value::Null);
            machine.ending().set(End::Stopped("a request"));
        }
        Some("power_button") => {
            machine.ports().press_power_button();
            reply.ok(Value::Null);
        }
        _ => lock(machine.partition()).control(request, reply),
    }
}
