//! The codec against the generated messages: the same bytes out, the same meaning in.

use super::decode::decode;
use super::encode::encode;
use super::session::{ClientIdentity, attach_to_proto, claim_to_proto, decode_message, open_to_proto};
use super::view::resource_to_proto;
use crate::session::message::{
    Claim, Frame, Incoming, LinkError, Outgoing, Patience, REQUEST_BYTES_MAX, Request, RequestId, Secret,
};
use crate::{Error, LossReason};
use dlock_core::resource::ValueUpdate;
use dlock_core::{Epoch, LockId, MemberId, Mode, ResourceId, SessionId, Token, ValueBlock};
use dlock_proto::v1::client_message::Body as Said;
use dlock_proto::v1::server_message::Body as Heard;
use dlock_proto::v1::{self, ClientMessage, ServerMessage, SessionRequest, SessionResponse};
use dlock_proto::{duration_to_proto, mode_to_proto};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use std::time::Duration;

/// A frame as a generated message.
fn frame_to_proto(frame: Frame, identity: &ClientIdentity) -> SessionRequest {
    let messages = frame.messages.into_iter().map(|message| message_to_proto(message, identity)).collect();
    SessionRequest { received_frames: frame.received, messages }
}

fn message_to_proto(message: Outgoing, identity: &ClientIdentity) -> ClientMessage {
    let (sequence, body) = match message {
        Outgoing::Open { ttl, lock_delay } => return open_to_proto(ttl, lock_delay, identity),
        Outgoing::Attach { session, secret, attempt, last_request, claims } => {
            return attach_to_proto(session, &secret, attempt, last_request, &claims);
        }
        Outgoing::Heartbeat { epoch, nonce } => (0, Said::Heartbeat(v1::Heartbeat { epoch: epoch.0, nonce })),
        Outgoing::Request(id, request) => (id.0, request_to_proto(request)),
        Outgoing::Close(id) => (id.0, Said::Close(v1::CloseSession {})),
    };
    ClientMessage { sequence, body: Some(body) }
}

fn request_to_proto(request: Request) -> Said {
    let named = |resource: ResourceId| Some(resource_to_proto(&resource));
    match request {
        Request::Acquire { lock, resource, mode, patience, reentrant, report_position } => {
            Said::Acquire(v1::AcquireLock {
                lock_id: lock.0,
                resource: named(resource),
                mode: mode_to_proto(mode) as i32,
                patience: patience_to_proto(patience),
                reentrant,
                report_position,
            })
        }
        Request::Convert { lock, resource, mode, patience, value } => Said::Convert(v1::ConvertLock {
            lock_id: lock.0,
            resource: named(resource),
            mode: mode_to_proto(mode) as i32,
            patience: patience_to_proto(patience),
            value: value_to_proto(value),
        }),
        Request::Release { lock, resource, value } => Said::Release(v1::ReleaseLock {
            lock_id: lock.0,
            resource: named(resource),
            value: value_to_proto(value),
        }),
        Request::Cancel { lock, resource, release_if_granted } => {
            Said::Cancel(v1::CancelLock { lock_id: lock.0, resource: named(resource), release_if_granted })
        }
        Request::Query { lock, resource } => {
            Said::Query(v1::QueryLock { lock_id: lock.0, resource: named(resource) })
        }
    }
}

fn patience_to_proto(patience: Patience) -> Option<v1::Patience> {
    let limit = match patience {
        Patience::Try => v1::patience::Limit::TryOnly(true),
        Patience::For(duration) => v1::patience::Limit::WaitTimeout(duration_to_proto(duration)),
        Patience::Forever => return None,
    };
    Some(v1::Patience { limit: Some(limit) })
}

fn value_to_proto(value: ValueUpdate) -> Option<v1::ValueUpdate> {
    let update = match value {
        ValueUpdate::Keep => return None,
        ValueUpdate::Write(block) => v1::value_update::Update::Write(block.into_bytes()),
        ValueUpdate::Invalidate => v1::value_update::Update::Invalidate(true),
    };
    Some(v1::ValueUpdate { update: Some(update) })
}

/// Numbers of every length, and often 0.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), (0u32..64).prop_flat_map(|bits| 0..=u64::MAX >> bits)]
}

fn time() -> impl Strategy<Value = Duration> {
    let nanos = prop_oneof![Just(0), 0..1_000_000_000u32];
    (prop_oneof![Just(0), 0..=315_360_000u64], nanos).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn resource() -> impl Strategy<Value = ResourceId> {
    ("[a-z0-9._-]{1,64}", "[a-zö/]{1,300}").prop_map(|(ns, name)| ResourceId::new(&ns, &name).unwrap())
}

fn value() -> impl Strategy<Value = ValueUpdate> {
    prop_oneof![
        Just(ValueUpdate::Keep),
        Just(ValueUpdate::Invalidate),
        vec(any::<u8>(), 0..300).prop_map(|bytes| ValueUpdate::Write(ValueBlock::new(bytes).unwrap())),
    ]
}

fn patience() -> impl Strategy<Value = Patience> {
    prop_oneof![Just(Patience::Try), Just(Patience::Forever), time().prop_map(Patience::For)]
}

fn mode() -> impl Strategy<Value = Mode> {
    proptest::sample::select(Mode::ALL.to_vec())
}

fn request() -> impl Strategy<Value = Request> {
    let lock = || number().prop_map(LockId);
    prop_oneof![
        (lock(), resource(), mode(), patience(), any::<bool>(), any::<bool>()).prop_map(
            |(lock, resource, mode, patience, reentrant, report_position)| Request::Acquire {
                lock,
                resource,
                mode,
                patience,
                reentrant,
                report_position
            }
        ),
        (lock(), resource(), mode(), patience(), value()).prop_map(
            |(lock, resource, mode, patience, value)| Request::Convert {
                lock,
                resource,
                mode,
                patience,
                value
            }
        ),
        (lock(), resource(), value()).prop_map(|(lock, resource, value)| Request::Release {
            lock,
            resource,
            value
        }),
        (lock(), resource(), any::<bool>()).prop_map(|(lock, resource, release_if_granted)| {
            Request::Cancel { lock, resource, release_if_granted }
        }),
        (lock(), resource()).prop_map(|(lock, resource)| Request::Query { lock, resource }),
    ]
}

fn claim() -> impl Strategy<Value = Claim> {
    let token = number().prop_map(|number| Token::from_u64(number >> 1).unwrap());
    (number(), resource(), option::of(token), option::of(mode()), option::of(number())).prop_map(
        |(lock, resource, token, mode, waiting)| Claim {
            lock: LockId(lock),
            resource,
            token,
            mode,
            waiting: waiting.map(RequestId),
        },
    )
}

fn outgoing() -> impl Strategy<Value = Outgoing> {
    prop_oneof![
        1 => (time(), time()).prop_map(|(ttl, lock_delay)| Outgoing::Open { ttl, lock_delay }),
        1 => (any::<u128>(), vec(any::<u8>(), 0..20), number(), number(), vec(claim(), 0..3)).prop_map(
            |(session, secret, attempt, last_request, claims)| Outgoing::Attach {
                session: SessionId(session),
                secret: Secret(secret.into()),
                attempt,
                last_request: RequestId(last_request),
                claims,
            }
        ),
        1 => (number(), number()).prop_map(|(epoch, nonce)| Outgoing::Heartbeat { epoch: Epoch(epoch), nonce }),
        5 => (number(), request()).prop_map(|(id, request)| Outgoing::Request(RequestId(id), request)),
        1 => number().prop_map(|id| Outgoing::Close(RequestId(id))),
    ]
}

fn granted() -> impl Strategy<Value = v1::LockGranted> {
    let value = option::of((vec(any::<u8>(), 0..200), any::<bool>()))
        .prop_map(|value| value.map(|(data, valid)| v1::ValueBlock { data: data.into(), valid }));
    (number(), 0..8i32, number(), any::<u32>(), value).prop_map(|(lock_id, mode, token, holds, value)| {
        v1::LockGranted { lock_id, mode, token, holds, value }
    })
}

fn heard() -> impl Strategy<Value = Heard> {
    let failure = (any::<i32>(), ".{0,20}", 0..28i32).prop_map(|(code, message, reason)| v1::Failure {
        code,
        message,
        reason,
        ..Default::default()
    });
    prop_oneof![
        4 => granted().prop_map(Heard::Granted),
        4 => number().prop_map(|lock_id| Heard::Released(v1::LockReleased { lock_id })),
        2 => (number(), any::<u32>(), option::of(0..7i32))
            .prop_map(|(lock_id, ahead, held)| Heard::Queued(v1::LockQueued { lock_id, ahead, held })),
        2 => number().prop_map(|lock_id| Heard::Cancelled(v1::LockCancelled { lock_id })),
        2 => (number(), number())
            .prop_map(|(epoch, nonce)| Heard::Heartbeat(v1::HeartbeatAcknowledged { epoch, nonce })),
        1 => failure.prop_map(Heard::Failed),
        1 => (number(), 0..8i32, option::of(resource())).prop_map(|(lock_id, wanted, resource)| {
            let resource = resource.as_ref().map(resource_to_proto);
            Heard::Blocking(v1::BlockingNotification { lock_id, wanted, resource })
        }),
        1 => (number(), 0..4i32).prop_map(|(lock_id, reason)| Heard::Lost(v1::LockLost { lock_id, reason })),
        1 => Just(Heard::Opened(v1::SessionOpened { session_id: "0".repeat(32), ..Default::default() })),
        1 => Just(Heard::Resumed(v1::SessionResumed::default())),
        1 => (0..5i32).prop_map(|reason| Heard::Ended(v1::SessionEnded { reason })),
        1 => Just(Heard::Moved(v1::SessionMoved {})),
        1 => vec("[a-z]{1,9}:[0-9]{1,4}", 0..3)
            .prop_map(|endpoints| Heard::MoveAway(v1::MoveAway { endpoints, grace: None })),
    ]
}

fn response() -> impl Strategy<Value = SessionResponse> {
    let message = (number(), option::weighted(0.9, heard()));
    let messages = vec(message.prop_map(|(sequence, body)| ServerMessage { sequence, body }), 0..6);
    messages.prop_map(|messages| SessionResponse { messages })
}

/// What the generated messages read, told as text: errors can't be compared otherwise.
fn expected(frame: &[u8]) -> String {
    let said = |response: SessionResponse| -> Result<Vec<Incoming>, Error> {
        response.messages.into_iter().filter_map(|message| decode_message(message).transpose()).collect()
    };
    format!("{:?}", SessionResponse::decode(frame).map(said))
}

proptest! {
    #[test]
    fn a_frame_is_encoded_as_the_generated_messages_are(
        received in number(),
        messages in vec(outgoing(), 0..6),
    ) {
        let identity = ClientIdentity::new("test");
        let frame = Frame { received, messages };
        let mut bytes = Vec::new();
        encode(&frame, &identity, &mut bytes);
        prop_assert_eq!(bytes, frame_to_proto(frame, &identity).encode_to_vec());
    }

    #[test]
    fn a_frame_is_decoded_as_the_generated_messages_are(response in response()) {
        let bytes = response.encode_to_vec();
        prop_assert_eq!(format!("{:?}", decode(&bytes)), expected(&bytes));
    }

    /// Fields twice, out of order, of other types and of the future; bytes that make no sense.
    #[test]
    fn a_damaged_frame_is_decoded_as_the_generated_messages_are(
        response in response(),
        damage in vec((any::<proptest::sample::Index>(), 0..4u8, any::<u8>()), 1..4),
    ) {
        let mut bytes = response.encode_to_vec();
        for (at, kind, byte) in damage {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
        }
        let decoded = decode(&bytes);
        // Of a frame that is wrong in two ways, either is told.
        if SessionResponse::decode(&bytes[..]).is_ok() || !matches!(decoded, Ok(Err(_))) {
            let expected = expected(&bytes);
            match decoded {
                Err(_) => prop_assert!(expected.starts_with("Err"), "{expected}"),
                decoded => prop_assert_eq!(format!("{:?}", decoded), expected),
            }
        }
    }
}

#[test]
fn a_message_in_an_unusual_order_is_decoded_all_the_same() {
    let frame =
        |sequence, body| SessionResponse { messages: vec![ServerMessage { sequence, body }] }.encode_to_vec();
    let granted = v1::LockGranted { lock_id: 1, mode: 6, token: 7, holds: 1, value: None };
    let usual = frame(9, Some(Heard::Granted(granted)));
    // The sequence number last, and a field that this client does not know.
    let (sequence, body) = usual[2..].split_at(2);
    let mut unusual = [body, sequence, &[0xf8, 0x01, 0x05]].concat();
    unusual.splice(0..0, [0x0a, unusual.len() as u8]);
    assert_eq!(format!("{:?}", decode(&unusual)), format!("{:?}", decode(&usual)));
    assert!(matches!(decode(&usual).unwrap().as_deref(), Ok([Incoming::Granted { .. }])));
}

/// A request is never longer than the machine reckons when it fills a frame.
#[test]
fn a_request_has_at_most_the_bytes_it_is_reckoned_with() {
    let resource = ResourceId::new(&"n".repeat(64), &"r".repeat(1024)).unwrap();
    let value = || ValueUpdate::Write(ValueBlock::new(vec![0xff; 1024]).unwrap());
    let (lock, mode) = (LockId(u64::MAX), Mode::Exclusive);
    let patience = Patience::For(Duration::from_nanos(1_999_999_999));
    let identity = ClientIdentity::new("test");
    for request in [
        Request::Acquire {
            lock,
            resource: resource.clone(),
            mode,
            patience,
            reentrant: true,
            report_position: true,
        },
        Request::Convert { lock, resource: resource.clone(), mode, patience, value: value() },
        Request::Release { lock, resource: resource.clone(), value: value() },
        Request::Cancel { lock, resource: resource.clone(), release_if_granted: true },
        Request::Query { lock, resource: resource.clone() },
    ] {
        let reckoned = request.bytes();
        let message = Outgoing::Request(RequestId(u64::MAX), request);
        let mut frame = Vec::new();
        encode(&Frame { received: 0, messages: vec![message] }, &identity, &mut frame);
        assert!(frame.len() <= reckoned, "{} > {reckoned}", frame.len());
        assert!(reckoned <= REQUEST_BYTES_MAX);
    }
    let claim = Claim {
        lock,
        resource,
        token: Token::from_u64(i64::MAX as u64),
        mode: Some(mode),
        waiting: Some(RequestId(u64::MAX)),
    };
    assert!(claim_to_proto(&claim).encoded_len() + 4 <= claim.bytes());
}

#[test]
fn a_frame_that_makes_no_sense_is_an_error_and_one_of_the_future_is_not() {
    let decode = |body| {
        decode(&SessionResponse { messages: vec![ServerMessage { sequence: 1, body }] }.encode_to_vec())
            .unwrap()
    };
    assert!(matches!(decode(None).as_deref(), Ok([])));
    for body in [
        Heard::Opened(v1::SessionOpened { session_id: "x".to_owned(), ..Default::default() }),
        Heard::Granted(v1::LockGranted { mode: 9, ..Default::default() }),
        Heard::Granted(v1::LockGranted { mode: 1, token: u64::MAX, ..Default::default() }),
        Heard::Resumed(v1::SessionResumed::default()),
        // With no time to live.
        Heard::Resumed(v1::SessionResumed {
            terms: Some(v1::SessionTerms {
                ttl: Some(Default::default()),
                lock_delay: Some(Default::default()),
                ..Default::default()
            }),
            results: Vec::new(),
        }),
    ] {
        assert!(matches!(decode(Some(body)), Err(Error::Protocol { .. })));
    }
}

#[test]
fn a_refusal_without_a_request_is_the_links() {
    let failure = v1::Failure { reason: v1::ErrorReason::SessionEnded as i32, ..Default::default() };
    let message = ServerMessage { sequence: 0, body: Some(Heard::Failed(failure)) };
    let decoded = decode_message(message).unwrap();
    assert!(matches!(decoded, Some(Incoming::Refused(LinkError::SessionOver(LossReason::Expired)))));
}

#[test]
fn the_server_that_masters_a_resource_is_known_where_there_is_one() {
    let read = |mastered_by: &str| {
        let named = Some(v1::Resource { namespace: String::new(), name: "r".to_owned() });
        let mastered_by = mastered_by.to_owned();
        super::resource(Some(v1::ResourceInfo { resource: named, mastered_by, ..Default::default() }))
    };
    assert_eq!(read("").unwrap().mastered_by, None);
    let member = MemberId(0xab);
    assert_eq!(read(&member.to_string()).unwrap().mastered_by, Some(member));
    assert!(matches!(read("somebody"), Err(Error::Protocol { .. })));
}
