// SPDX-License-Identifier: GPL-2.0

//! `hvhost ctl`: one request to a running machine.

use crate::options::ControlRequest;
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// The request that the words of a command line stand for: a JSON object, or a command and `key=value` pairs.
///
/// A value is JSON if it can be read so, and else text: `lun=5` is a number, `name=web` a text, `name="5"` one too.
///
/// # Errors
///
/// A sentence that says what to write instead.
pub(crate) fn request(words: &[String]) -> Result<Map<String, Value>, String> {
    let Some((command, pairs)) = words.split_first() else {
        return Err("ctl needs a command, such as list; Documentation/hvhost.md has all".into());
    };
    if command.starts_with('{') {
        if let Some(word) = pairs.first() {
            return Err(format!("{word}: nothing can follow a request in JSON"));
        }
        return serde_json::from_str(command).map_err(|error| format!("{command}: {error}"));
    }
    let mut request = Map::new();
    request.insert("command".into(), Value::String(command.clone()));
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!("{pair}: after the command come key=value pairs"));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
        request.insert(key.into(), value);
    }
    Ok(request)
}

/// Sends a request and waits for the answer. Returns what was asked for.
///
/// # Errors
///
/// A sentence: no machine listens there, or the machine's own answer.
pub(crate) fn ask(control: &ControlRequest) -> Result<Value, String> {
    let shown = control.socket.display();
    let error = |error: std::io::Error| format!("--control {shown}: {error}");
    let mut stream = UnixStream::connect(&control.socket)
        .map_err(|wrong| format!("{}: is the machine running?", error(wrong)))?;
    let line = Value::Object(control.request.clone()).to_string();
    stream
        .write_all(format!("{line}\n").as_bytes())
        .map_err(error)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .map_err(error)?;
    let answer: Map<String, Value> = serde_json::from_str(&answer)
        .map_err(|_| format!("--control {shown}: the machine ended without an answer"))?;
    match (answer.get("ok"), answer.get("error")) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(Value::String(text))) => Err(text.clone()),
        (None, _) => Err(format!("an answer that makes no sense: {answer:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The request of words.
    fn of(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        request(&words).map(Value::Object)
    }

    #[test]
    fn words_make_a_request() {
        assert_eq!(of(&["list"]).unwrap(), json!({ "command": "list" }));
        assert_eq!(
            of(&[
                "add_disk",
                "device=scsi0",
                "lun=5",
                "ram=64M",
                "ro=true",
                "name=\"5\"",
                "x=a=b"
            ])
            .unwrap(),
            json!({
                "command": "add_disk", "device": "scsi0", "lun": 5, "ram": "64M", "ro": true,
                "name": "5", "x": "a=b"
            })
        );
        assert_eq!(
            of(&[r#"{"command":"list"}"#]).unwrap(),
            json!({ "command": "list" })
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (words, said) in [
            (&[][..], "list"),
            (&["list", "all"], "all"),
            (&["{"], "{"),
            (&["{}", "x=1"], "x=1"),
        ] {
            let error = of(words).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
