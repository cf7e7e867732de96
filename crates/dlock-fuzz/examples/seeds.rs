//! Writes what the fuzzer may begin with: `cargo run -p dlock-fuzz --example seeds`.
#![allow(clippy::unwrap_used)]

use dlock_core::lease::LeaseTerms;
use dlock_core::record::{MemberRecord, MovingRecord, StoreRecord};
use dlock_core::resource::{self, Acquire, Command, Master, Patience, Resource};
use dlock_core::session::{ClientInfo, SessionRecord, SessionState};
use dlock_core::{Epoch, LockId, LockKey, MemberId, Mode, SessionId, Token};
use dlock_fuzz::{methods, session};
use dlock_proto::v1::client_message::Body;
use dlock_proto::v1::{self, *};
use prost::Message;
use std::fs;
use std::path::PathBuf;

fn write(target: &str, name: &str, data: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("seed-{name}")), data).unwrap();
}

/// Messages, each after its length.
fn messages(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut data = Vec::new();
    for message in messages {
        data.extend_from_slice(&(message.len() as u16).to_be_bytes());
        data.extend_from_slice(message);
    }
    data
}

fn call(method: &str, message: Vec<u8>) -> Vec<u8> {
    let number = methods().iter().position(|known| known == method).unwrap();
    [vec![number as u8], messages(&[message])].concat()
}

fn resource(name: &str) -> Option<v1::Resource> {
    Some(v1::Resource { name: name.to_owned(), ..Default::default() })
}

fn acquire(lock_id: u64, mode: v1::Mode) -> AcquireLock {
    AcquireLock { lock_id, resource: resource("s"), mode: mode as i32, ..Default::default() }
}

/// A session on a stream, which does all that a session can do.
fn stream() -> Vec<Vec<u8>> {
    let resource = resource("s");
    let bodies = [
        Body::Open(OpenSession::default()),
        Body::Heartbeat(Heartbeat { epoch: 1, nonce: 7 }),
        Body::Acquire(acquire(1, v1::Mode::ProtectedRead)),
        Body::Acquire(acquire(2, v1::Mode::Exclusive)),
        Body::Convert(ConvertLock { lock_id: 1, mode: v1::Mode::Exclusive as i32, ..Default::default() }),
        Body::Query(QueryLock { lock_id: 2, resource: resource.clone() }),
        Body::Cancel(CancelLock { lock_id: 2, resource, release_if_granted: true }),
        Body::Release(ReleaseLock { lock_id: 1, ..Default::default() }),
        Body::Close(CloseSession {}),
    ];
    let message = |(sequence, body)| ClientMessage { sequence: sequence as u64, body: Some(body) };
    let frame = |message| SessionRequest { received_frames: 0, messages: vec![message] }.encode_to_vec();
    bodies.into_iter().enumerate().map(message).map(frame).collect()
}

fn resume(session: &SessionRef) -> ResumeSession {
    ResumeSession {
        session_id: session.session_id.clone(),
        resume_secret: session.resume_secret.clone(),
        claims: vec![Claim { lock_id: 1, resource: resource("r"), token: Some(1), ..Default::default() }],
        ..Default::default()
    }
}

fn frames() {
    write("frames", "all", &messages(&stream()));
    let resumes = ClientMessage { sequence: 0, body: Some(Body::Resume(resume(&session()))) };
    let resumes = SessionRequest { received_frames: 0, messages: vec![resumes] };
    write("frames", "resumed", &messages(&[resumes.encode_to_vec()]));
}

/// A session that is opened, acquires, converts, is moved, and closed: kind and subject of each step, and what is heard.
fn answers() {
    use server_message::Body;
    let ttl = Some(dlock_proto::duration_to_proto(LeaseTerms::default().ttl()));
    let terms =
        |epoch| Some(SessionTerms { epoch, ttl, lock_delay: Some(Default::default()), ..Default::default() });
    let heard = |body: Body, sequence| {
        let frame = SessionResponse { messages: vec![ServerMessage { sequence, body: Some(body) }] };
        [vec![0, 0], messages(&[frame.encode_to_vec()])].concat()
    };
    let granted =
        |token| LockGranted { mode: v1::Mode::Exclusive as i32, token, holds: 1, ..Default::default() };
    let opened = SessionOpened { session_id: "1".repeat(32), terms: terms(1), ..Default::default() };
    let held = claim_result::State::Granted(granted(2));
    let results = vec![ClaimResult { lock_id: 1, state: Some(held) }];
    let steps = [
        vec![3, 0],
        heard(Body::Opened(opened), 0),
        vec![5, 1],
        heard(Body::Queued(LockQueued { ahead: 1, ..Default::default() }), 1),
        heard(Body::Granted(granted(1)), 1),
        vec![8, 30],
        heard(Body::Heartbeat(HeartbeatAcknowledged { epoch: 1, nonce: 1 }), 0),
        vec![6, 9],
        heard(Body::Granted(granted(2)), 2),
        vec![4, 0],
        vec![8, 10],
        vec![3, 0],
        heard(Body::Resumed(SessionResumed { terms: terms(2), results }), 0),
        vec![7, 1],
        heard(Body::Released(Default::default()), 3),
        vec![9, 255],
    ];
    write("answers", "all", &steps.concat());
}

fn calls() {
    for method in methods() {
        write("calls", &method.replace('/', "-"), &call(&method, Vec::new()));
    }
    let session = session();
    let resume = resume(&session);
    let session = Some(session);
    let convert = ConvertLock { lock_id: 1, mode: v1::Mode::ConcurrentRead as i32, ..Default::default() };
    let unary = [
        ("ResumeSession", ResumeSessionRequest { session: Some(resume) }.encode_to_vec()),
        ("KeepSessionAlive", KeepSessionAliveRequest { session: session.clone(), epoch: 1 }.encode_to_vec()),
        ("CloseSession", CloseSessionRequest { session: session.clone() }.encode_to_vec()),
        (
            "Acquire",
            AcquireRequest {
                session: session.clone(),
                acquire: Some(acquire(2, v1::Mode::Exclusive)),
                keep_waiting: true,
            }
            .encode_to_vec(),
        ),
        ("Convert", ConvertRequest { session: session.clone(), convert: Some(convert) }.encode_to_vec()),
        (
            "Release",
            ReleaseRequest {
                session: session.clone(),
                release: Some(ReleaseLock { lock_id: 1, ..Default::default() }),
            }
            .encode_to_vec(),
        ),
        (
            "Cancel",
            CancelRequest { session, cancel: Some(CancelLock { lock_id: 1, ..Default::default() }) }
                .encode_to_vec(),
        ),
        ("Hold", HoldRequest { resource: resource("s"), ..Default::default() }.encode_to_vec()),
    ];
    for (method, message) in unary {
        write("calls", method, &call(&format!("dlock.v1.LockService/{method}"), message));
    }
}

fn records() {
    let key = |session| LockKey { session: SessionId(session), lock: LockId(1) };
    let mut locked = Resource::new(Token::ZERO);
    for (session, mode) in [(1, Mode::ProtectedRead), (2, Mode::ConcurrentRead), (3, Mode::Exclusive)] {
        let acquire = Acquire {
            key: key(session),
            mode,
            patience: Patience::Wait,
            reentrant: false,
            since_unix_ms: 7,
            waiters_max: 9,
        };
        locked.apply(&Command::Acquire(acquire), 0);
    }
    let session = SessionRecord {
        owner: MemberId(1),
        epoch: Epoch(2),
        attempt: 3,
        terms: LeaseTerms::default(),
        principal: "p".to_owned(),
        secret_hash: [7; 32],
        state: SessionState::Active,
        client: ClientInfo::new("n", "h", 1, "v").unwrap(),
        opened_unix_ms: 4,
        mastered: true,
    };
    let member = MemberRecord {
        counter: 5,
        address: "host:7420".to_owned(),
        started_unix_ms: 6,
        version: "v".to_owned(),
    };
    let store = StoreRecord { store_id: 1, generation: 2, longest_lease: LeaseTerms::default().ttl() };
    let moving = MovingRecord { former: vec![MemberId(1), MemberId(2)], settled: 3 };
    let mut mastered = locked.clone();
    mastered.set_master(Some(Master::new(MemberId(1), 9, Token::from_u64(1 << 20).unwrap())));
    mastered.recall();
    let claim = resource::Claim {
        key: key(1),
        mode: Mode::Exclusive,
        token: Token::from_u64(1).unwrap(),
        since_unix_ms: 7,
    };
    mastered.claim(&claim);
    write("records", "mastered", &[&[0][..], mastered.encode().as_ref()].concat());
    let records = [locked.encode(), session.encode(), member.encode(), store.encode(), moving.encode()];
    for (kind, record) in records.iter().enumerate() {
        write("records", &kind.to_string(), &[&[kind as u8], record.as_ref()].concat());
    }
}

fn main() {
    answers();
    calls();
    frames();
    records();
    write("commands", "some", &(0..=255).collect::<Vec<u8>>());
    write("envelopes", "nats-message", &[&[0, 1][..], &[7; 24], b"value"].concat());
    write("envelopes", "nats-subject", b"\0r.default/a=20b");
    write("envelopes", "redis-record", &[&[1][..], &[7; 8], b"value"].concat());
    write("envelopes", "redis-announced", b"\x01P\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x07kv");
    write("names", "both", "namespace\nname/größe".as_bytes());
    write("configuration", "etcd", b"addr = \"[::1]:1\"\n[etcd]\nendpoints = [\"http://a:1\"]\n");
    write("configuration", "redis", b"[redis]\nmode = \"quorum\"\naddrs = [\"a:1\", \"b:2\", \"c:3\"]\n");
    write("configuration", "nats", b"drain_grace = \"3s\"\n[jetstream]\nendpoint = \"nats://a:4222\"\n");
    write("configuration", "json", br#"{"embedded": {"data_dir": "d"}, "limits": {"waiters_max": 3}}"#);
}
