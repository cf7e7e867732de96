//! Frames from a client on a session's stream: the stream ends when the client leaves, each request is answered once, what is
//! refused is named, the SDK understands every answer, and the service serves on.

use crate::service::{Answered, Service, block_on, check_failure, messages};
use dlock_proto::v1::server_message::Body;
use dlock_proto::v1::{Failure, SessionResponse};
use prost::Message;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Code;

/// How long the client stays after it has said all: longer than its session lives.
const STAYS: Duration = Duration::from_secs(15);
/// How long its stream may last.
const ENDS: Duration = Duration::from_secs(60);

/// The frames, each after its length in two bytes.
pub(crate) fn run(data: &[u8]) {
    block_on(async {
        let service = Service::start().await;
        service.hold().await;
        let stream = service.exchange("dlock.v1.LockService/Session", messages(data), STAYS);
        check(timeout(ENDS, stream).await.expect("a stream ends with its client"));
        service.serves_on().await;
    });
}

fn check(answered: Answered) {
    if answered.status.code() != Code::Ok {
        check_failure(&Failure::from(&answered.status));
    }
    let frames: Vec<SessionResponse> =
        answered.messages.into_iter().map(|frame| SessionResponse::decode(frame).unwrap()).collect();
    for frame in &frames {
        dlock_client::fuzzing::understand(frame.clone());
    }
    let mut said = frames.into_iter().flat_map(|frame| frame.messages).peekable();
    // One that goes on may wait for answers to requests of an earlier stream, of any number.
    let opened = said.peek().is_some_and(|first| matches!(first.body, Some(Body::Opened(_))));
    let mut answered = HashSet::new();
    for message in said {
        let body = message.body.expect("a message says something");
        if let Body::Failed(failure) = &body {
            check_failure(failure);
        }
        let last =
            matches!(body, Body::Granted(_) | Body::Released(_) | Body::Cancelled(_) | Body::Failed(_));
        if opened && last {
            assert!(answered.insert(message.sequence), "{} is answered twice", message.sequence);
        }
    }
}
