//! Bytes that are no messages, or almost some: what a broken client sends.

use crate::world::*;
use bytes::{Buf, BufMut};
use dlock_core::Mode;
use dlock_proto::v1::client_message::Body as Say;
use dlock_proto::v1::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

/// Sends and receives bytes as they are.
#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Bytes;
    type Decoder = Bytes;

    fn encoder(&mut self) -> Bytes {
        Bytes
    }

    fn decoder(&mut self) -> Bytes {
        Bytes
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Every method, and whether its answers end by themselves once the client has said all.
const METHODS: [(&str, bool); 20] = [
    ("/dlock.v1.LockService/Session", true),
    ("/dlock.v1.LockService/Hold", false),
    ("/dlock.v1.LockService/OpenSession", true),
    ("/dlock.v1.LockService/ResumeSession", true),
    ("/dlock.v1.LockService/KeepSessionAlive", true),
    ("/dlock.v1.LockService/CloseSession", true),
    ("/dlock.v1.LockService/Acquire", true),
    ("/dlock.v1.LockService/Convert", true),
    ("/dlock.v1.LockService/Release", true),
    ("/dlock.v1.LockService/Cancel", true),
    ("/dlock.v1.LockService/CheckToken", true),
    ("/dlock.v1.QueryService/GetResource", true),
    ("/dlock.v1.QueryService/ListResources", true),
    ("/dlock.v1.QueryService/ListSessions", true),
    ("/dlock.v1.QueryService/ListMembers", true),
    ("/dlock.v1.QueryService/WatchResources", false),
    ("/dlock.v1.AdminService/ForceRelease", true),
    ("/dlock.v1.AdminService/EndSession", true),
    ("/dlock.Dlock/Lock", false),
    ("/grpc.health.v1.Health/Check", true),
];

/// Calls a method with these messages, and reads to the end, or to the first answer of one that has no end.
async fn call(world: &World, method: usize, messages: Vec<Vec<u8>>) -> Result<(), Status> {
    let (path, ends) = METHODS[method];
    let mut grpc = Grpc::new(world.channel.clone());
    grpc.ready().await.unwrap();
    let request = Request::new(tokio_stream::iter(messages));
    let answers = async {
        let mut answers = grpc.streaming(request, path.parse().unwrap(), Bytes).await?.into_inner();
        while answers.message().await?.is_some() && ends {}
        Ok(())
    };
    tokio::time::timeout(PATIENCE, answers).await.unwrap_or_else(|_| panic!("{path} is silent"))
}

fn method(name: &str) -> usize {
    METHODS.iter().position(|(path, _)| path.ends_with(name)).unwrap()
}

/// A resource whose name is these bytes.
fn named(name: &[u8]) -> Vec<u8> {
    [&[0x12, name.len() as u8], name].concat()
}

fn within(tag: u8, message: Vec<u8>) -> Vec<u8> {
    [vec![tag << 3 | 2, message.len() as u8], message].concat()
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_named_in_every_kind_of_call() {
    let world = World::new().await;
    let acquire = within(2, named(b"\xff\xfe"));
    let cases = [
        ("/GetResource", vec![within(1, named(b"\xff\xfe"))], "resource.name"),
        ("/Hold", vec![within(1, named(b"\xff\xfe"))], "resource.name"),
        ("/Acquire", vec![within(2, acquire.clone())], "acquire.resource.name"),
        ("/Session", vec![within(2, within(5, acquire))], "messages.body.resource.name"),
        ("Dlock/Lock", vec![within(1, b"\xff".to_vec())], "key"),
    ];
    for (name, messages, field) in cases {
        let status = call(&world, method(name), messages).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status:?}");
        let failure = Failure::from(&status);
        assert_eq!(failure.reason(), ErrorReason::InvalidArgument, "{name}");
        assert_eq!(failure.violations[0].field, field, "{name}");
        assert!(failure.message.contains("UTF-8"), "{name}: {}", failure.message);
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_and_its_session_lives_on() {
    let world = World::new().await;
    let mut one = world.open().await;
    one.granted(lock(1, "r", Mode::Exclusive)).await;
    let messages = vec![ClientMessage::default(); 3 << 20];
    one.sender.send(SessionRequest { received_frames: 0, messages }).unwrap();
    let failure = Failure::from(&one.end().await.unwrap_err());
    assert_eq!(failure.reason(), ErrorReason::InvalidArgument);
    assert!(failure.message.contains("4194304 bytes"), "{}", failure.message);
    let status = call(&world, method("/CheckToken"), vec![vec![0; 5 << 20]]).await.unwrap_err();
    assert_eq!(Failure::from(&status).reason(), ErrorReason::InvalidArgument);
    assert_eq!(world.engine.sessions_at_home(), 1);
}

#[tokio::test]
async fn what_is_repeated_in_an_error_is_short() {
    let world = World::new().await;
    let long = "x".repeat(3 << 20);
    let end = EndSessionRequest { session_id: long.clone() }.encode_to_vec();
    let status = call(&world, method("/EndSession"), vec![end]).await.unwrap_err();
    assert_eq!(Failure::from(&status).violations[0].field, "session_id");
    assert!(status.message().len() < 300, "{} bytes", status.message().len());
    let list = ListResourcesRequest { prefix: long.clone(), ..Default::default() }.encode_to_vec();
    let watch = WatchResourcesRequest { prefix: long.clone(), ..Default::default() }.encode_to_vec();
    for (name, message) in [("/ListResources", list), ("/WatchResources", watch)] {
        let status = call(&world, method(name), vec![message]).await.unwrap_err();
        assert_eq!(Failure::from(&status).violations[0].field, "prefix", "{name}");
    }
    let list = ListSessionsRequest { page_token: long, ..Default::default() }.encode_to_vec();
    let status = call(&world, method("/ListSessions"), vec![list]).await.unwrap_err();
    assert_eq!(Failure::from(&status).violations[0].field, "page_token");
    let check = tonic::Request::new(dlock_proto::health::HealthCheckRequest { service: "x".repeat(1 << 20) });
    let mut health = dlock_proto::health::health_client::HealthClient::new(world.channel.clone());
    assert_eq!(health.check(check).await.unwrap_err().code(), Code::NotFound);
}

/// Messages as they should be, to be spoilt.
fn well_formed() -> Vec<Vec<u8>> {
    let frame = |body| {
        let messages = vec![ClientMessage { sequence: 1, body: Some(body) }];
        SessionRequest { received_frames: 1, messages }.encode_to_vec()
    };
    let session = Some(SessionRef { session_id: "0f".repeat(16), resume_secret: vec![7; 16].into() });
    let patience = wait(1);
    vec![
        frame(Say::Open(OpenSession::default())),
        frame(Say::Acquire(AcquireLock { patience, ..acquire(1, "r", Mode::Exclusive) })),
        frame(Say::Convert(convert(1, Mode::ProtectedRead))),
        frame(release(1)),
        AcquireRequest {
            session: session.clone(),
            acquire: Some(acquire(1, "r", Mode::Null)),
            keep_waiting: false,
        }
        .encode_to_vec(),
        KeepSessionAliveRequest { session, epoch: 1 }.encode_to_vec(),
        GetResourceRequest { resource: resource("r") }.encode_to_vec(),
        ListResourcesRequest { prefix: "r".into(), page_size: 3, ..Default::default() }.encode_to_vec(),
        EndSessionRequest { session_id: "0f".repeat(16) }.encode_to_vec(),
    ]
}

fn almost_messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let spoilt =
        (0..well_formed().len(), vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), any::<bool>())
            .prop_map(|(which, changes, cut)| {
                let mut bytes = well_formed().swap_remove(which);
                for (at, byte) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                    if cut && at > 0 {
                        bytes.truncate(at);
                    }
                }
                bytes
            });
    vec(prop_oneof![3 => spoilt, 1 => vec(any::<u8>(), 0..64)], 0..4)
}

#[test]
fn no_bytes_break_a_connection_or_take_anybody_elses_lock() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (world, held, mut other) = runtime.block_on(async {
        let world = World::new().await;
        let mut other = world.open().await;
        let held = other.granted(lock(1, "theirs", Mode::Exclusive)).await;
        (world, held, other)
    });
    let mut runner = TestRunner::new(Config::with_cases(2000));
    let outcome = runner.run(&(0..METHODS.len(), almost_messages()), |(method, messages)| {
        match runtime.block_on(call(&world, method, messages)) {
            Ok(()) => {}
            // What a client is blamed for has a reason; a call without a message is tonic's own to refuse.
            Err(status) if Failure::from(&status).reason() != ErrorReason::Unspecified => {}
            Err(status) if status.message() == "Missing request message." => {}
            Err(status) if METHODS[method].0.contains("Health") && status.code() == Code::NotFound => {}
            Err(status) => return Err(TestCaseError::fail(format!("{}: {status:?}", METHODS[method].0))),
        }
        Ok(())
    });
    outcome.unwrap();
    let query = Say::Query(QueryLock { lock_id: 1, ..Default::default() });
    assert_eq!(runtime.block_on(other.granted(query)).token, held.token);
}
