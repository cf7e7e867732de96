//! The whole service in this thread, under paused time: what a connection would bring in is given to its routes.

use bytes::{BufMut, Bytes, BytesMut};
use dlock_backend_embedded::EmbeddedStore;
use dlock_core::lease::LeaseTerms;
use dlock_engine::{Caller, Engine, EngineConfig};
use dlock_proto::v1::*;
use dlock_runtime::Environment;
use futures::{StreamExt, stream};
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, RngSeed};
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::ServiceExt;

/// How long anything may take that has an end.
const ENDS: Duration = Duration::from_secs(60);
/// What stands before each message: a flag, and the length in four bytes.
const HEAD_BYTES: usize = 5;
const MESSAGES_MAX: usize = 64;

/// A service that is alone with its store, and always the same at its start.
pub(crate) struct Service {
    engine: Engine,
    routes: Routes,
}

/// What came of a call.
pub(crate) struct Answered {
    pub(crate) status: Status,
    pub(crate) messages: Vec<Bytes>,
}

/// Runs under a clock that jumps to what is waited for.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let seed = RngSeed::from_bytes(b"fuzz");
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).rng_seed(seed).build();
    runtime.unwrap().block_on(future)
}

/// The id and secret of the session that is open when a call is made.
pub fn session() -> SessionRef {
    block_on(async { Service::start().await.hold().await })
}

impl Service {
    pub(crate) async fn start() -> Service {
        let environment = Environment::simulated(1, 1.0);
        let store = Arc::new(EmbeddedStore::in_memory());
        let engine = Engine::start(store, environment.clone(), EngineConfig::default()).await.unwrap();
        let routes = dlock_server::routes(&engine, &environment);
        Service { engine, routes }
    }

    /// A session, always the same, and a lock of it: the first, on `r`, in EX.
    pub(crate) async fn hold(&self) -> SessionRef {
        let open = OpenSessionRequest { session: Some(Default::default()) };
        let opened: OpenSessionResponse = self.ask("dlock.v1.LockService/OpenSession", &open).await;
        let opened = opened.session.unwrap();
        let session = SessionRef { session_id: opened.session_id, resume_secret: opened.resume_secret };
        let resource = Some(Resource { name: "r".to_owned(), ..Default::default() });
        let acquire =
            AcquireLock { lock_id: 1, resource, mode: Mode::Exclusive as i32, ..Default::default() };
        let acquire =
            AcquireRequest { session: Some(session.clone()), acquire: Some(acquire), ..Default::default() };
        let _granted: AcquireResponse = self.ask("dlock.v1.LockService/Acquire", &acquire).await;
        session
    }

    async fn ask<A: Message + Default>(&self, method: &str, question: &impl Message) -> A {
        let question = question.encode_to_vec().into();
        let answered = self.exchange(method, vec![question], Duration::ZERO).await;
        assert_eq!(answered.status.code(), Code::Ok, "{method}: {:?}", answered.status);
        A::decode(answered.messages[0].clone()).unwrap()
    }

    /// Says all that is to be said, stays for a while, and hears all there is to hear.
    pub(crate) async fn exchange(&self, method: &str, messages: Vec<Bytes>, stays: Duration) -> Answered {
        let frames = messages.into_iter().map(|message| Ok::<_, Infallible>(Frame::data(framed(&message))));
        let leaves = stream::once(sleep(stays)).filter_map(|()| std::future::ready(None));
        let request = Request::post(format!("http://fuzz/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(StreamBody::new(stream::iter(frames).chain(leaves))))
            .unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{method}");
        let at_once = Status::from_header_map(response.headers());
        let heard = response.into_body().collect().await.unwrap();
        let in_the_end = heard.trailers().and_then(Status::from_header_map);
        let status = at_once.or(in_the_end).unwrap_or_else(|| panic!("{method} ended without a status"));
        Answered { status, messages: unframed(heard.to_bytes()) }
    }

    /// It lives after whatever it was asked, and it ends.
    pub(crate) async fn serves_on(self) {
        let open = dlock_engine::OpenSession {
            terms: LeaseTerms::default(),
            principal: String::new(),
            client: dlock_core::session::ClientInfo::default(),
        };
        let opened = timeout(ENDS, self.engine.open_session(open, Caller::new())).await;
        opened.expect("a session is opened in time").expect("a session is opened");
        timeout(ENDS, self.engine.shutdown()).await.expect("the engine ends in time");
    }
}

/// The messages of an input, each after its length in two bytes; the last may be shorter than it says.
pub(crate) fn messages(mut data: &[u8]) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk()
        && messages.len() < MESSAGES_MAX
    {
        let (message, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        messages.push(Bytes::copy_from_slice(message));
        data = rest;
    }
    messages
}

/// What went wrong is said with its reason, the code that goes with it, and what to do; and it is nothing that the store or the
/// server alone could be blamed for, which are well.
pub(crate) fn check_failure(failure: &Failure) {
    let reason = failure.reason();
    assert_eq!(failure.code, reason.code() as i32, "{failure:?}");
    assert!(!failure.message.is_empty(), "{failure:?}");
    let ours = matches!(
        reason,
        ErrorReason::Unspecified
            | ErrorReason::ServerFenced
            | ErrorReason::StoreUnavailable
            | ErrorReason::Draining
            | ErrorReason::RecordUnreadable
    );
    assert!(!ours, "{failure:?}");
    let named =
        failure.violations.iter().all(|wrong| !wrong.field.is_empty() && !wrong.description.is_empty());
    assert!(named, "{failure:?}");
    assert_eq!(reason == ErrorReason::InvalidArgument, !failure.violations.is_empty(), "{failure:?}");
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

fn unframed(mut heard: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while !heard.is_empty() {
        let head = heard.split_to(HEAD_BYTES);
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        messages.push(heard.split_to(length as usize));
    }
    messages
}
