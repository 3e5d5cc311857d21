// SPDX-License-Identifier: GPL-2.0

//! A service as a device of the host.

use crate::link::{Event, Link, Negotiation, Outcome, Time, Turn};
use core::time::Duration;
use hv_utils_proto as proto;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use vmbus_host::{Context, Control, Device, OfferSpec, Packet};
use vmbus_proto::{OfferFlags, USER_DATA_SIZE};
use vmbus_ring::{OutgoingPacket, PacketType};

/// The mode of a pipe that keeps messages apart (`VMBUS_PIPE_TYPE_MESSAGE`), in the first bytes of an offer's user data.
const PIPE_MODE_MESSAGE: [u8; 4] = 4u32.to_le_bytes();

/// What a service does, apart from versions and transactions.
pub(crate) trait Service: Send {
    /// The versions are agreed.
    fn ready(&mut self, _turn: &mut Turn<'_>) {}

    /// The outstanding request has ended.
    fn ended(&mut self, outcome: Outcome<'_>, turn: &mut Turn<'_>);

    /// The channel was closed, and with it the outstanding request.
    fn closed(&mut self) {}

    /// When [`Self::timer`] wants to be called.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// The deadline has passed. Afterwards it is later, or there is none.
    fn timer(&mut self, _turn: &mut Turn<'_>) {}

    /// A request of the control socket.
    fn control(&mut self, control: Control, turn: &mut Turn<'_>);

    /// What the control socket's list shows of the service: an object.
    fn status(&self) -> Value;
}

/// An integration service as a device of the host.
pub struct Ic {
    /// The conversation with the guest.
    link: Link,
    /// What it is about.
    service: Box<dyn Service>,
}

impl Ic {
    /// A device. The public constructors are beside the services.
    pub(crate) fn new(
        kind: proto::Service,
        negotiation: Negotiation,
        service: impl Service + 'static,
    ) -> Self {
        Self {
            link: Link::new(kind, negotiation),
            service: Box::new(service),
        }
    }

    /// The name by which the control socket knows the service: `shutdown`, `heartbeat`, and so on.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.link.service().name()
    }

    /// Calls into the service.
    fn turn<'a>(
        &'a mut self,
        time: Time,
        out: &'a mut Vec<Vec<u8>>,
    ) -> (&'a mut dyn Service, Turn<'a>) {
        (&mut *self.service, Turn::new(&mut self.link, time, out))
    }

    /// The channel was opened.
    pub(crate) fn handle_open(&mut self, time: Time, out: &mut Vec<Vec<u8>>) {
        self.link.opened(time.now, out);
    }

    /// The guest sent a packet.
    pub(crate) fn handle_payload(&mut self, payload: &[u8], time: Time, out: &mut Vec<Vec<u8>>) {
        let event = self.link.received(payload);
        let (service, mut turn) = self.turn(time, out);
        match event {
            Some(Event::Ready) => service.ready(&mut turn),
            Some(Event::Answer(answer)) => service.ended(Ok(answer), &mut turn),
            None => {}
        }
    }

    /// The channel was closed.
    pub(crate) fn handle_close(&mut self) {
        self.link.closed();
        self.service.closed();
    }

    /// The deadline has passed.
    pub(crate) fn handle_timer(&mut self, time: Time, out: &mut Vec<Vec<u8>>) {
        let timed_out = self.link.expire(time.now, out);
        let (service, mut turn) = self.turn(time, out);
        if let Some(timed_out) = timed_out {
            service.ended(Err(timed_out), &mut turn);
        }
        if service
            .deadline()
            .is_some_and(|deadline| deadline <= time.now)
        {
            service.timer(&mut turn);
        }
    }

    /// A request of the control socket.
    pub(crate) fn handle_control(&mut self, control: Control, time: Time, out: &mut Vec<Vec<u8>>) {
        let (service, mut turn) = self.turn(time, out);
        service.control(control, &mut turn);
    }
}

/// The clocks of a context.
fn time(context: &Context<'_>) -> Time {
    Time {
        now: context.now(),
        wall_clock: context.wall_clock(),
        reference_time: context.reference_time(),
    }
}

/// Sends what a call left to be sent.
fn send(out: Vec<Vec<u8>>, context: &mut Context<'_>) {
    for packet in out {
        context.send(0, &OutgoingPacket::in_band(&[&packet]));
    }
}

impl Device for Ic {
    fn offer(&self) -> OfferSpec {
        let mut user_data = [0; USER_DATA_SIZE];
        for (to, from) in user_data.iter_mut().zip(PIPE_MODE_MESSAGE) {
            *to = from;
        }
        OfferSpec {
            class: self.link.service().class(),
            instance: self.link.service().instance(),
            flags: OfferFlags::ENUMERATE_DEVICE_INTERFACE | OfferFlags::NAMED_PIPE_MODE,
            mmio_megabytes: 0,
            user_data,
            monitored: false,
            dedicated_interrupt: false,
        }
    }

    fn opened(&mut self, _channel: u16, context: &mut Context<'_>) {
        let mut out = Vec::new();
        self.handle_open(time(context), &mut out);
        send(out, context);
    }

    fn received(&mut self, _channel: u16, packet: &Packet<'_>, context: &mut Context<'_>) {
        // A packet of another type has no payload that could be meant.
        let payload = match packet.packet_type {
            PacketType::IN_BAND => packet.payload,
            _ => &[],
        };
        let mut out = Vec::new();
        self.handle_payload(payload, time(context), &mut out);
        send(out, context);
    }

    fn closed(&mut self, _channel: u16, _context: &mut Context<'_>) {
        self.handle_close();
    }

    fn deadline(&self) -> Option<Duration> {
        let deadlines = [self.link.deadline(), self.service.deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn timer(&mut self, context: &mut Context<'_>) {
        let mut out = Vec::new();
        self.handle_timer(time(context), &mut out);
        send(out, context);
    }

    fn control(&mut self, control: Control, context: &mut Context<'_>) {
        let mut out = Vec::new();
        self.handle_control(control, time(context), &mut out);
        send(out, context);
    }

    fn status(&self) -> Value {
        let mut status = self.link.status();
        if let Value::Object(service) = self.service.status() {
            status.extend(service);
        }
        Value::Object(status)
    }
}

/// The members of a request, by name; the error names the member that is wrong.
pub(crate) fn arguments<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(members)).map_err(|error| error.to_string())
}

/// The time in `milliseconds`, or `otherwise`.
pub(crate) fn duration(milliseconds: Option<u64>, otherwise: Duration) -> Duration {
    milliseconds.map_or(otherwise, Duration::from_millis)
}
