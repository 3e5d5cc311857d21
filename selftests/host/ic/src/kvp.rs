// SPDX-License-Identifier: GPL-2.0

//! KVP: reads and writes the guest's pools of key-value pairs and its network addresses.
//!
//! | request | members | answer |
//! |---|---|---|
//! | `set` | `pool`, `key`, `value` (text or number), `type` | |
//! | `get` | `pool`, `key` | the value |
//! | `delete` | `pool`, `key` | |
//! | `enumerate` | `pool` | a list of objects with `key` and `value` |
//! | `get_ip` | `adapter_id`, `family` | an object as `set_ip` takes it |
//! | `set_ip` | `adapter_id`, `family`, `dhcp`, `addresses`, `subnets`, `gateways`, `dns_servers` | |
//!
//! `pool` is a number or one of `external`, `guest`, `auto`, `auto_external` and `auto_internal`; `type` is `string`, `u32` or
//! `u64`, and usually follows from the value; `family` is `ipv4`, `ipv6` or `both`. All take `timeout_ms`. Requests wait for
//! each other. Pairs of the pool `external` are the host's own: it remembers them, and sends them again whenever the guest
//! connects.

use crate::device::{arguments, duration, Ic, Service};
use crate::link::{Answer, Negotiation, NotNow, Outcome, Turn};
use crate::refusal;
use core::fmt;
use core::time::Duration;
use hv_utils_proto as proto;
use proto::kvp::{self, Body, Operation, Pool, IP_VERSION};
use proto::{Malformed, Status};
use serde_json::{json, Value};
use std::collections::{BTreeMap, VecDeque};
use vmbus_host::{Control, Reply};

mod address;
mod request;

pub use request::KvpValue;
use request::{named_pool, PairArguments, PoolArguments};

/// The most pairs of a pool that are listed: a guest may have no end of them.
const MAX_PAIRS: usize = 4096;

/// The most requests that wait.
const MAX_WAITING: usize = 256;

/// How the KVP service behaves.
#[derive(Clone, Debug)]
pub struct KvpOptions {
    /// How it negotiates. Linux answers the offer only when its daemon has started.
    pub negotiation: Negotiation,
    /// How long a request may take, the wait for others included.
    pub timeout: Duration,
    /// The pairs of the pool `external` from the beginning. Those with a key or value that is too long are left out.
    pub external: Vec<(String, KvpValue)>,
}

impl Default for KvpOptions {
    fn default() -> Self {
        Self {
            negotiation: Negotiation::of(proto::Service::Kvp),
            // Longer than the 30 seconds that Linux gives its daemon.
            timeout: Duration::from_secs(40),
            external: Vec::new(),
        }
    }
}

impl Ic {
    /// The KVP service.
    #[must_use]
    pub fn kvp(options: KvpOptions) -> Self {
        let service = Kvp {
            timeout: options.timeout,
            external: options.external.into_iter().collect(),
            active: None,
            waiting: VecDeque::new(),
            done: 0,
            failed: 0,
        };
        Self::new(proto::Service::Kvp, options.negotiation, service)
    }
}

/// What the answer to a request is used for.
enum Task {
    /// Nothing but its status.
    Set,
    /// A value.
    Get,
    /// Nothing but its status.
    Delete,
    /// A pair; then the next one is asked for.
    Enumerate(Vec<Value>),
    /// Addresses.
    GetIp,
    /// Nothing but its status.
    SetIp,
}

/// A request of the control socket, or a pair that is sent again.
struct Job {
    /// What the answer is used for.
    task: Task,
    /// Whose pairs.
    pool: Pool,
    /// The key, where there is one, and the value to set.
    pair: Option<(String, Option<KvpValue>)>,
    /// The body, up to what it has from here.
    body: Vec<u8>,
    /// When it has taken too long.
    deadline: Duration,
    /// Who waits for it.
    reply: Option<Reply>,
}

/// What is wrong with an answer that claims success.
enum BadAnswer {
    /// A field of it.
    Malformed(Malformed),
    /// It is about another operation.
    Operation,
    /// It has the pair with this index.
    Index(u32),
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Operation => f.write_str("the answer is about another operation"),
            Self::Index(index) => write!(f, "the answer has the pair with index {index}"),
        }
    }
}

impl From<Malformed> for BadAnswer {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// The service.
struct Kvp {
    /// How long a request may take.
    timeout: Duration,
    /// The host's own pairs.
    external: BTreeMap<String, KvpValue>,
    /// The job whose request is outstanding.
    active: Option<Job>,
    /// Those behind it.
    waiting: VecDeque<Job>,
    /// Jobs that succeeded.
    done: u64,
    /// Jobs that failed.
    failed: u64,
}

impl Job {
    /// A job on pairs with a key, and a value to set.
    fn on_pair(
        operation: Operation,
        pool: Pool,
        key: String,
        value: Option<KvpValue>,
    ) -> Result<Self, String> {
        let body = match operation {
            Operation::DELETE => request::body(operation, pool, &request::key(&key)?),
            _ => request::body(operation, pool, &request::pair(&key, value.as_ref())?),
        };
        let task = match operation {
            Operation::SET => Task::Set,
            Operation::GET => Task::Get,
            _ => Task::Delete,
        };
        Ok(Self {
            pair: Some((key, value)),
            ..Self::new(task, pool, body)
        })
    }

    /// A job with a body.
    fn new(task: Task, pool: Pool, body: Vec<u8>) -> Self {
        Self {
            task,
            pool,
            pair: None,
            body,
            deadline: Duration::MAX,
            reply: None,
        }
    }

    /// The job that a request of the control socket asks for, without who asks, and its timeout.
    fn parse(control: &mut Control) -> Result<(Self, Option<u64>), String> {
        let members = core::mem::take(&mut control.arguments);
        match &*control.command {
            "set" | "get" | "delete" => {
                let operation = match &*control.command {
                    "set" => Operation::SET,
                    "get" => Operation::GET,
                    _ => Operation::DELETE,
                };
                let PairArguments {
                    pool,
                    key,
                    value,
                    kind,
                    timeout_ms,
                } = arguments(members)?;
                let value = match (value, operation) {
                    (Some(value), Operation::SET) => Some(KvpValue::parse(value, kind)?),
                    (None, Operation::SET) => return Err("set takes a value".into()),
                    (None, _) => None,
                    (Some(_), _) => return Err(format!("{} takes no value", control.command)),
                };
                let job = Self::on_pair(operation, named_pool(&pool)?, key, value)?;
                Ok((job, timeout_ms))
            }
            "enumerate" => {
                let PoolArguments { pool, timeout_ms } = arguments(members)?;
                let pool = named_pool(&pool)?;
                let body = request::enumerate(pool, 0);
                Ok((
                    Self::new(Task::Enumerate(Vec::new()), pool, body),
                    timeout_ms,
                ))
            }
            "get_ip" => {
                let (body, timeout_ms) = address::get(arguments(members)?)?;
                Ok((Self::new(Task::GetIp, Pool(0), body), timeout_ms))
            }
            "set_ip" => {
                let (body, timeout_ms) = address::set(arguments(members)?)?;
                Ok((Self::new(Task::SetIp, Pool(0), body), timeout_ms))
            }
            other => Err(crate::unknown(
                other,
                &["set", "get", "delete", "enumerate", "get_ip", "set_ip"],
            )),
        }
    }

    /// The result in the body of an answer; none if one more request is to be sent.
    fn read(&mut self, body: &[u8]) -> Result<Option<Value>, BadAnswer> {
        let (_, body) = Body::parse(body)?;
        Ok(match (&mut self.task, body) {
            (Task::Set, Body::Set(_))
            | (Task::Delete, Body::Delete(_))
            | (Task::SetIp, Body::SetIp(_)) => Some(Value::Null),
            (Task::Get, Body::Get(pair)) => Some(request::value(pair)?),
            (Task::GetIp, Body::GetIp(addresses)) => Some(address::show(addresses)?),
            (Task::Enumerate(found), Body::Enumerate(enumerate)) => {
                let index = u32::try_from(found.len()).unwrap_or(u32::MAX);
                if enumerate.index.get() != index {
                    return Err(BadAnswer::Index(enumerate.index.get()));
                }
                found.push(request::shown(&enumerate.pair)?);
                self.body = request::enumerate(self.pool, index.saturating_add(1));
                (found.len() >= MAX_PAIRS).then(|| Value::Array(core::mem::take(found)))
            }
            _ => return Err(BadAnswer::Operation),
        })
    }

    /// Whether it is about addresses.
    fn is_ip(&self) -> bool {
        matches!(self.task, Task::GetIp | Task::SetIp)
    }
}

impl Kvp {
    /// Sends the next request, if none is outstanding.
    fn advance(&mut self, turn: &mut Turn<'_>) {
        while self.active.is_none() {
            let Some(mut job) = self.waiting.pop_front() else {
                return;
            };
            job.body.resize(kvp::body_size(turn.version()), 0);
            let timeout = job.deadline.saturating_sub(turn.now());
            match turn.request(&[&job.body], timeout) {
                Ok(()) => self.active = Some(job),
                Err(error) => self.fail(job, error.to_string()),
            }
        }
    }

    /// Ends a job with an error.
    fn fail(&mut self, job: Job, error: String) {
        self.failed = self.failed.saturating_add(1);
        if let Some(reply) = job.reply {
            reply.error(error);
        }
    }

    /// Ends a job.
    fn succeed(&mut self, job: Job, value: Value) {
        self.done = self.done.saturating_add(1);
        if job.pool == Pool::EXTERNAL {
            match (job.task, job.pair) {
                (Task::Set, Some((key, Some(value)))) => {
                    self.external.insert(key, value);
                }
                (Task::Delete, Some((key, _))) => {
                    self.external.remove(&key);
                }
                _ => {}
            }
        }
        if let Some(reply) = job.reply {
            reply.ok(value);
        }
    }

    /// Uses the answer to a job's request. Gives the job back if it takes one more request.
    fn answered(&mut self, mut job: Job, answer: Answer<'_>) -> Result<Option<Job>, BadAnswer> {
        if answer.status != Status::OK {
            self.refused(job, answer.status);
            return Ok(None);
        }
        match job.read(answer.body) {
            Ok(Some(value)) => self.succeed(job, value),
            Ok(None) => return Ok(Some(job)),
            Err(error) => {
                self.fail(job, "the guest's answer makes no sense".into());
                return Err(error);
            }
        }
        Ok(None)
    }

    /// Ends a job whose request the guest refused, which is also how a list ends.
    fn refused(&mut self, mut job: Job, status: Status) {
        let error = match (&mut job.task, status) {
            (Task::Enumerate(found), Status::NO_MORE_ITEMS) => {
                let found = core::mem::take(found);
                return self.succeed(job, Value::Array(found));
            }
            (Task::Get | Task::Delete, Status::NO_MORE_ITEMS) => "the guest has no such key".into(),
            (Task::GetIp | Task::SetIp, Status::NOT_FOUND) => {
                "the guest has no such adapter".into()
            }
            (_, status) => refusal(status),
        };
        self.fail(job, error);
    }

    /// Takes a request of the control socket.
    fn take(&mut self, control: Control, turn: &mut Turn<'_>) {
        let mut control = control;
        let checked = Job::parse(&mut control).and_then(|(job, timeout_ms)| {
            match turn.may_request() {
                Ok(()) | Err(NotNow::Busy) => {}
                Err(error) => return Err(error.to_string()),
            }
            if job.is_ip() && turn.version() < IP_VERSION {
                return Err(format!(
                    "addresses take version {IP_VERSION}, and the guest speaks {}",
                    turn.version()
                ));
            }
            if self.waiting.len() >= MAX_WAITING {
                return Err("too many requests wait for the guest".into());
            }
            Ok((job, timeout_ms))
        });
        match checked {
            Ok((mut job, timeout_ms)) => {
                job.deadline = turn
                    .now()
                    .saturating_add(duration(timeout_ms, self.timeout));
                job.reply = Some(control.reply);
                self.waiting.push_back(job);
                self.advance(turn);
            }
            Err(error) => control.reply.error(error),
        }
    }
}

impl Service for Kvp {
    fn ready(&mut self, turn: &mut Turn<'_>) {
        let deadline = turn.now().saturating_add(self.timeout);
        for (key, value) in &self.external {
            let job = Job::on_pair(
                Operation::SET,
                Pool::EXTERNAL,
                key.clone(),
                Some(value.clone()),
            );
            if let Ok(mut job) = job {
                job.deadline = deadline;
                self.waiting.push_back(job);
            }
        }
        self.advance(turn);
    }

    fn ended(&mut self, outcome: Outcome<'_>, turn: &mut Turn<'_>) {
        let Some(job) = self.active.take() else {
            return;
        };
        match outcome {
            Ok(answer) => match self.answered(job, answer) {
                Ok(Some(job)) => self.waiting.push_front(job),
                Ok(None) => {}
                Err(error) => turn.malformed(&error),
            },
            Err(timed_out) => self.fail(job, timed_out.to_string()),
        }
        self.advance(turn);
    }

    fn closed(&mut self) {
        let jobs = self.active.take().into_iter().chain(self.waiting.drain(..));
        for job in jobs.collect::<Vec<_>>() {
            self.fail(job, crate::CLOSED.into());
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.waiting.iter().map(|job| job.deadline).min()
    }

    fn timer(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        for job in core::mem::take(&mut self.waiting) {
            if job.deadline <= now {
                self.fail(job, "other requests took too long".into());
            } else {
                self.waiting.push_back(job);
            }
        }
    }

    fn control(&mut self, control: Control, turn: &mut Turn<'_>) {
        self.take(control, turn);
    }

    fn status(&self) -> Value {
        json!({
            "done": self.done,
            "failed": self.failed,
            "waiting": self.waiting.len(),
            "external": self.external.len(),
        })
    }
}

#[cfg(test)]
mod tests;
