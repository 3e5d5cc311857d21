// SPDX-License-Identifier: GPL-2.0

//! A device that returns what it gets.

use crate::device::{Context, Control, Device, OfferSpec, Packet};
use hvdef::Guid;
use serde_json::{json, Value};
use vmbus_proto::OfferFlags;
use vmbus_ring::{OutgoingPacket, PacketFlags};

/// A device that returns what it gets: requests as completions, other packets as packets.
///
/// A GPA-direct request has all bytes of its buffers inverted. The command `sub_channels` of the control socket offers `count`
/// sub-channels, `burst` sends `count` packets of `size` bytes on `channel`.
#[derive(Clone, Debug)]
pub struct Echo {
    /// How it is offered.
    pub spec: OfferSpec,
    /// Which channels are open.
    open: Vec<u16>,
}

impl Echo {
    /// The class of this device, which no other has.
    pub const CLASS: Guid = Guid::parse("6563686f-0000-4000-8000-000000000001");
}

impl Default for Echo {
    fn default() -> Self {
        Self {
            spec: OfferSpec {
                class: Self::CLASS,
                instance: Guid::parse("6563686f-0000-4000-8000-000000000002"),
                flags: OfferFlags::empty(),
                mmio_megabytes: 0,
                user_data: [0; 120],
                monitored: false,
                dedicated_interrupt: true,
            },
            open: Vec::new(),
        }
    }
}

impl Device for Echo {
    fn offer(&self) -> OfferSpec {
        self.spec.clone()
    }

    fn opened(&mut self, channel: u16, context: &mut Context<'_>) {
        assert!(context.is_open(channel), "the host knows of the opening");
        assert!(!self.open.contains(&channel), "opened once");
        self.open.push(channel);
    }

    fn received(&mut self, channel: u16, packet: &Packet<'_>, context: &mut Context<'_>) {
        assert!(self.open.contains(&channel), "packets of open channels");
        for range in packet.gpa.ranges() {
            let inverted: Vec<u8> = range.to_vec().into_iter().map(|byte| !byte).collect();
            let written = range.write_at(0, &inverted);
            written.expect("a buffer is as long as its bytes");
        }
        let status = packet.forced_status.map(u32::to_le_bytes);
        let payload = [
            packet.payload,
            status.as_ref().map_or(&[], |s| s.as_slice()),
        ];
        let request = packet.flags.contains(PacketFlags::COMPLETION_REQUESTED);
        context.send(
            channel,
            &if request {
                OutgoingPacket::completion(packet.transaction_id, &payload)
            } else {
                OutgoingPacket::in_band(&payload)
            },
        );
    }

    fn closed(&mut self, channel: u16, context: &mut Context<'_>) {
        assert!(!context.is_open(channel), "the host knows of the closing");
        let before = self.open.len();
        self.open.retain(|open| *open != channel);
        assert!(self.open.len() < before, "closed once");
    }

    fn control(&mut self, control: Control, context: &mut Context<'_>) {
        let number = |name: &str| {
            let number = control.arguments.get(name).and_then(Value::as_u64);
            u16::try_from(number.unwrap_or(0)).expect("a small number")
        };
        match control.command.as_str() {
            "sub_channels" => context.offer_sub_channels(number("count")),
            "burst" => {
                let payload = vec![0x5a; number("size").into()];
                for _ in 0..number("count") {
                    context.send(number("channel"), &OutgoingPacket::in_band(&[&payload]));
                }
            }
            _ => return control.reply.error("no such command"),
        }
        control.reply.ok(Value::Null);
    }

    fn status(&self) -> Value {
        json!({ "open": self.open })
    }
}
