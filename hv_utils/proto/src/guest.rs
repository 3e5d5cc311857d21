// SPDX-License-Identifier: GPL-2.0

//! The guest's end of a service: chooses the versions, and takes requests apart for those who answer them.
//!
//! Whoever runs it copies a packet's payload out of the ring, gives it to [`Endpoint::handle`], and sends the same bytes back
//! once they are answered. Nothing here waits, and nothing is kept of a message but the versions.

use crate::negotiation::{Answer, Versions, ANSWER_LENGTH};
use crate::{Malformed, MessageType, Prefix, Service, Status, Version};
use zerocopy::little_endian::U16;

/// The guest's end of a service.
#[derive(Debug)]
pub struct Endpoint {
    /// Which service.
    service: Service,
    /// The versions of framework and messages, once chosen.
    versions: Option<(Version, Version)>,
}

/// What a message of the host is.
#[must_use = "what is not answered leaves the host waiting"]
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// An offer of versions. It is answered: the payload is to be sent back.
    Negotiated(Option<(Version, Version)>),
    /// A request to this service: it is to be answered, and then the payload sent back.
    Request(Request<'a>),
    /// Something else. It is answered with a failure: the payload is to be sent back.
    Refused(MessageType),
}

/// A request of the host, to be answered in place.
#[must_use = "what is not answered leaves the host waiting"]
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The message version in use.
    pub version: Version,
    /// What the host said, and the answer says. The end may be the packet's padding.
    pub body: &'a mut [u8],
    /// Starts the message.
    prefix: &'a mut Prefix,
}

impl Request<'_> {
    /// Makes the payload the answer.
    pub fn answer(self, status: Status) {
        self.prefix.answer(status);
    }
}

impl Endpoint {
    /// The end of a service whose channel was just opened, for the first time or again.
    #[must_use]
    pub const fn new(service: Service) -> Self {
        Self {
            service,
            versions: None,
        }
    }

    /// The versions of framework and messages, once chosen.
    #[must_use]
    pub const fn versions(&self) -> Option<(Version, Version)> {
        self.versions
    }

    /// Takes a message apart. A host may negotiate again at any time.
    ///
    /// # Errors
    ///
    /// There is no answer to what is too short to have one; the payload is to be dropped.
    pub fn handle<'a>(&mut self, payload: &'a mut [u8]) -> Result<Incoming<'a>, Malformed> {
        let (prefix, body) = Prefix::parse_mut(payload)?;
        let message_type = prefix.message_type();
        if message_type == MessageType::NEGOTIATE {
            self.negotiate(body)?;
            prefix.body_length = U16::new(ANSWER_LENGTH);
            prefix.answer(match self.versions {
                Some(_) => Status::OK,
                None => Status::FAIL,
            });
            return Ok(Incoming::Negotiated(self.versions));
        }
        match self.versions {
            Some((_, version)) if message_type == self.service.into() => {
                Ok(Incoming::Request(Request {
                    version,
                    body,
                    prefix,
                }))
            }
            _ => {
                prefix.answer(Status::FAIL);
                Ok(Incoming::Refused(message_type))
            }
        }
    }

    /// Chooses versions, and answers.
    fn negotiate(&mut self, body: &mut [u8]) -> Result<(), Malformed> {
        // Lists that make no sense are refused, as long as there is room to say so.
        let offered = Versions::parse(body).ok();
        self.versions =
            offered.and_then(|offered| Versions::of(self.service).best_common(&offered));
        Answer::new(self.versions).write(body)
    }
}

#[cfg(test)]
mod tests;
