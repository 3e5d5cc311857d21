// SPDX-License-Identifier: GPL-2.0

//! Fcopy: copies a file into the guest.
//!
//! `{"command": "copy_file", "path": "/folder/name"}` with one of `"source"` (a file of the host), `"content"` (a text) and
//! `"size"` (so many bytes, the n-th of which is n modulo 251); `"overwrite": true` replaces a file, `"create_path": true`
//! makes its folders. The answer comes when the guest has it all, and is an error when the guest refuses anything or
//! takes longer than `"timeout_ms"` for one piece. `cancel` ends a copy; the list of devices shows how far it is.

use crate::device::{arguments, duration, Ic, Service};
use crate::link::{Negotiation, NotNow, Outcome, Turn};
use crate::refusal;
use core::time::Duration;
use hv_utils_proto as proto;
use proto::fcopy::{CopyFlags, Header, Operation, Start, Write, FRAGMENT_SIZE};
use proto::{utf16, Status};
use serde::Deserialize;
use serde_json::{json, Value};
use vmbus_host::{Control, Reply};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, IntoBytes};

mod source;

use source::Source;

/// How the fcopy service behaves.
#[derive(Clone, Debug)]
pub struct FcopyOptions {
    /// How it negotiates. Linux opens the channel when its daemon starts.
    pub negotiation: Negotiation,
    /// How long one piece may take.
    pub timeout: Duration,
}

impl Default for FcopyOptions {
    fn default() -> Self {
        Self {
            negotiation: Negotiation::of(proto::Service::Fcopy),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Ic {
    /// The fcopy service.
    #[must_use]
    pub fn fcopy(options: FcopyOptions) -> Self {
        let service = Fcopy {
            timeout: options.timeout,
            copy: None,
            copied: 0,
            failed: 0,
            last_error: None,
        };
        Self::new(proto::Service::Fcopy, options.negotiation, service)
    }
}

/// A file on its way.
struct Copy {
    /// Where the guest puts it.
    path: String,
    /// What is in it.
    source: Source,
    /// How many bytes the guest has.
    offset: u64,
    /// How many bytes the outstanding request carries.
    length: u64,
    /// What the outstanding request asks for.
    operation: Operation,
    /// How long a request may take.
    timeout: Duration,
    /// Why it is cancelled.
    error: Option<String>,
    /// Who waits for it.
    reply: Reply,
}

/// The service.
struct Fcopy {
    /// How long one piece may take.
    timeout: Duration,
    /// The file on its way.
    copy: Option<Copy>,
    /// Files that arrived.
    copied: u64,
    /// Files that did not.
    failed: u64,
    /// Why the last one did not.
    last_error: Option<String>,
}

/// The members of `copy_file`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Where the guest puts it.
    path: String,
    /// A file of the host.
    source: Option<String>,
    /// A text.
    content: Option<String>,
    /// How long a pattern.
    size: Option<u64>,
    /// Replace a file.
    #[serde(default)]
    overwrite: bool,
    /// Make the folders.
    #[serde(default)]
    create_path: bool,
    /// How long one piece may take.
    timeout_ms: Option<u64>,
}

impl Arguments {
    /// What the guest is asked for first.
    fn start(&self, size: u64) -> Result<Start, String> {
        let mut start = Start::new_zeroed();
        start.header = Header::new(Operation::START);
        start.file_size = U64::new(size);
        let mut flags = CopyFlags::empty();
        flags.set(CopyFlags::OVERWRITE, self.overwrite);
        flags.set(CopyFlags::CREATE_PATH, self.create_path);
        start.flags = U32::new(flags.bits());
        // The folder keeps its last slash, without which Linux' daemon does not create it.
        let slash = self.path.rfind('/').filter(|_| self.path.starts_with('/'));
        let name_at = slash
            .ok_or("the path does not start with a slash")?
            .saturating_add(1);
        let (folder, name) = self.path.split_at(name_at);
        if name.is_empty() {
            return Err("the path has no file name".into());
        }
        let long = |utf16::TooLong| "the path is longer than 259 UTF-16 units";
        utf16::encode(name, &mut start.file_name).map_err(long)?;
        utf16::encode(folder, &mut start.path_name).map_err(long)?;
        Ok(start)
    }

    /// What is to be in the file.
    fn source(&mut self) -> Result<Source, String> {
        match (self.source.take(), self.content.take(), self.size) {
            (Some(path), None, None) => Source::open(&path),
            (None, Some(content), None) => Ok(Source::Bytes(content.into_bytes())),
            (None, None, Some(size)) => Ok(Source::Pattern(size)),
            _ => Err("copy_file takes one of source, content and size".into()),
        }
    }
}

impl Fcopy {
    /// Starts a copy.
    fn start(&mut self, control: Control, turn: &mut Turn<'_>) {
        let Control {
            arguments: members,
            reply,
            ..
        } = control;
        let started = arguments::<Arguments>(members).and_then(|mut arguments| {
            if self.copy.is_some() {
                return Err(NotNow::Busy.to_string());
            }
            turn.may_request().map_err(|error| error.to_string())?;
            let source = arguments.source()?;
            let start = arguments.start(source.size())?;
            let timeout = duration(arguments.timeout_ms, self.timeout);
            turn.request(&[start.as_bytes()], timeout)
                .map_err(|error| error.to_string())?;
            Ok((arguments.path, source, timeout))
        });
        match started {
            Ok((path, source, timeout)) => {
                self.copy = Some(Copy {
                    path,
                    source,
                    offset: 0,
                    length: 0,
                    operation: Operation::START,
                    timeout,
                    error: None,
                    reply,
                });
            }
            Err(error) => reply.error(error),
        }
    }

    /// Ends a copy.
    fn finish(&mut self, copy: Copy, error: Option<String>) {
        match copy.error.or(error) {
            None => {
                self.copied = self.copied.saturating_add(1);
                copy.reply.ok(json!({ "bytes": copy.offset }));
            }
            Some(error) => {
                self.failed = self.failed.saturating_add(1);
                self.last_error = Some(error.clone());
                copy.reply.error(error);
            }
        }
    }
}

impl Copy {
    /// Notes the outcome of the outstanding request, and says what comes next, if anything.
    fn next(&mut self, outcome: Outcome<'_>) -> Option<Operation> {
        let failure = match outcome {
            Ok(answer) if answer.status == Status::OK => None,
            Ok(answer) => Some(match answer.status {
                Status::ALREADY_EXISTS => "the file exists in the guest".into(),
                Status::DISK_FULL => "the guest's disk is full".into(),
                status => refusal(status),
            }),
            Err(timed_out) => Some(timed_out.to_string()),
        };
        let refused = failure.is_some() && outcome.is_ok();
        match failure {
            Some(failure) => {
                self.error.get_or_insert(failure);
            }
            None => self.offset = self.offset.saturating_add(self.length),
        }
        self.length = 0;
        match self.operation {
            Operation::CANCEL => None,
            // The guest has nothing to forget.
            Operation::START if refused => None,
            _ if self.error.is_some() => Some(Operation::CANCEL),
            Operation::COMPLETE => None,
            _ if self.offset < self.source.size() => Some(Operation::WRITE),
            _ => Some(Operation::COMPLETE),
        }
    }

    /// Asks the guest.
    fn ask(&mut self, operation: Operation, turn: &mut Turn<'_>) -> Result<(), String> {
        self.operation = operation;
        let sent = match operation {
            Operation::WRITE => turn.request(&[self.write()?.as_bytes()], self.timeout),
            _ => turn.request(&[Header::new(operation).as_bytes()], self.timeout),
        };
        sent.map_err(|error| error.to_string())
    }

    /// The next piece of the file.
    fn write(&mut self) -> Result<Write, String> {
        let left = self.source.size().saturating_sub(self.offset);
        let mut write = Write::new_zeroed();
        let length = usize::try_from(left).map_or(FRAGMENT_SIZE, |left| left.min(FRAGMENT_SIZE));
        write.header = Header::new(Operation::WRITE);
        write.offset = U64::new(self.offset);
        write.size = U32::new(u32::try_from(length).unwrap_or(0));
        let data = write.data.get_mut(..length).unwrap_or_default();
        self.source.read(self.offset, data)?;
        self.length = u64::try_from(length).unwrap_or(0);
        Ok(write)
    }
}

impl Service for Fcopy {
    fn ended(&mut self, outcome: Outcome<'_>, turn: &mut Turn<'_>) {
        let Some(mut copy) = self.copy.take() else {
            return;
        };
        let mut next = copy.next(outcome);
        while let Some(operation) = next {
            match copy.ask(operation, turn) {
                Ok(()) => {
                    self.copy = Some(copy);
                    return;
                }
                Err(error) => {
                    copy.error.get_or_insert(error);
                    next = (operation != Operation::CANCEL).then_some(Operation::CANCEL);
                }
            }
        }
        self.finish(copy, None);
    }

    fn closed(&mut self) {
        if let Some(copy) = self.copy.take() {
            self.finish(copy, Some(crate::CLOSED.into()));
        }
    }

    fn control(&mut self, control: Control, turn: &mut Turn<'_>) {
        match (&*control.command, &mut self.copy) {
            ("copy_file", _) => self.start(control, turn),
            ("cancel", Some(copy)) => {
                // When the outstanding request has ended.
                copy.error.get_or_insert("cancelled".into());
                control.reply.ok(Value::Null);
            }
            ("cancel", None) => control.reply.error("no file is being copied"),
            (other, _) => {
                let error = crate::unknown(other, &["copy_file", "cancel"]);
                control.reply.error(error);
            }
        }
    }

    fn status(&self) -> Value {
        let copying = self.copy.as_ref().map(
            |copy| json!({ "path": copy.path, "bytes": copy.offset, "size": copy.source.size() }),
        );
        json!({
            "copying": copying,
            "copied": self.copied,
            "failed": self.failed,
            "last_error": self.last_error,
        })
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]
mod tests;
