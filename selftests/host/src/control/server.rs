// SPDX-License-Identifier: GPL-2.0

//! The control socket: a thread for each connection, one request after the other.

use super::MAX_REQUEST;
use serde_json::{json, Value};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::thread;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 32;

/// Takes the answer to one request.
pub(crate) type Answer = Box<dyn FnOnce(Value) + Send>;
/// Handles one request, from any thread. The answer may come later, and from another thread.
pub(crate) type Handler = Arc<dyn Fn(&[u8], Answer) + Send + Sync>;

/// The socket; it is removed with this.
pub(crate) struct Server {
    /// Where it is.
    path: PathBuf,
}

impl Server {
    /// Listens on a socket at `path`. One that a dead machine has left there is replaced.
    ///
    /// # Errors
    ///
    /// A sentence that names the path.
    pub(crate) fn start(path: &Path, handler: Handler) -> Result<Self, String> {
        let shown = path.display();
        if path
            .metadata()
            .is_ok_and(|found| found.file_type().is_socket())
        {
            if UnixStream::connect(path).is_ok() {
                return Err(format!("--control {shown}: another machine listens there"));
            }
            let _ = std::fs::remove_file(path);
        }
        let error = |error: io::Error| format!("--control {shown}: {error}");
        let listener = UnixListener::bind(path).map_err(error)?;
        thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&listener, &handler))
            .map_err(error)?;
        Ok(Self { path: path.into() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes connections.
fn accept(listener: &UnixListener, handler: &Handler) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        // A connection that failed is its peer's loss.
        let Ok(stream) = stream else { continue };
        if open.load(Ordering::SeqCst) >= MAX_CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::SeqCst);
        let (handler, open) = (handler.clone(), open.clone());
        let serve = move || {
            let _ = serve(&handler, &stream);
            open.fetch_sub(1, Ordering::SeqCst);
        };
        let _ = thread::Builder::new().name("request".into()).spawn(serve);
    }
}

/// Serves a connection until its end.
fn serve(handler: &Handler, mut stream: &UnixStream) -> io::Result<()> {
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let (sender, receiver) = channel();
        handler(
            &line,
            Box::new(move |answer| {
                // It fails if nobody waits any longer.
                let _ = sender.send(answer);
            }),
        );
        let answer = receiver
            .recv()
            .unwrap_or_else(|_| json!({ "error": "there is no answer" }));
        stream.write_all(format!("{answer}\n").as_bytes())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::{ask, request};
    use crate::options::ControlRequest;
    use std::time::Duration;
    use vmm_sys_util::tempdir::TempDir;

    /// Answers with the request; says nothing to `silence`; takes its time for `later`.
    fn echo() -> Handler {
        Arc::new(|line, answer| {
            let Ok(request) = serde_json::from_slice::<Value>(line) else {
                return answer(json!({ "error": "no JSON" }));
            };
            match request.get("command").and_then(Value::as_str) {
                Some("silence") => {}
                Some("later") => {
                    thread::spawn(move || {
                        thread::sleep(Duration::from_millis(50));
                        answer(json!({ "ok": "late" }));
                    });
                }
                _ => answer(json!({ "ok": request })),
            }
        })
    }

    /// What the client gets for the words of a command line.
    fn get(socket: &Path, words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        ask(&ControlRequest {
            socket: socket.into(),
            request: request(&words)?,
        })
    }

    #[test]
    fn client_and_server_understand_each_other() {
        let folder = TempDir::new().unwrap();
        let path = folder.as_path().join("socket");
        let error = get(&path, &["list"]).unwrap_err();
        assert!(error.contains("is the machine running"), "{error}");
        let server = Server::start(&path, echo()).unwrap();
        let answer = get(&path, &["list", "n=5"]).unwrap();
        assert_eq!(answer, json!({ "command": "list", "n": 5 }));
        assert_eq!(get(&path, &["later"]).unwrap(), json!("late"));
        let error = get(&path, &["silence"]).unwrap_err();
        assert_eq!(error, "there is no answer");
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_connection_has_many_requests_and_survives_a_bad_one() {
        let folder = TempDir::new().unwrap();
        let path = folder.as_path().join("socket");
        let _server = Server::start(&path, echo()).unwrap();
        let mut stream = UnixStream::connect(&path).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        stream.write_all(b"nonsense\n\n{\"a\": 1}\n").unwrap();
        assert_eq!(next(), r#"{"error":"no JSON"}"#);
        assert_eq!(next(), r#"{"ok":{"a":1}}"#);
        // One without end is not waited for.
        stream.write_all(&vec![b'x'; MAX_REQUEST]).unwrap();
        assert_eq!(next(), r#"{"error":"no JSON"}"#);
        stream.write_all(b"\n[2]\n").unwrap();
        assert_eq!(next(), r#"{"ok":[2]}"#);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = TempDir::new().unwrap();
        let path = folder.as_path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _server = Server::start(&path, echo()).unwrap();
        let error = Server::start(&path, echo()).err().unwrap();
        assert!(error.contains("another machine"), "{error}");
        let error = Server::start(folder.as_path(), echo()).err().unwrap();
        assert!(error.contains("--control"), "{error}");
    }
}
