//! Calls of the gRPC services: every call ends with an answer or a reason that a client can do something about, or goes on as it
//! may; and the service serves on.

use crate::service::{Service, block_on, check_failure, messages};
use dlock_proto::v1::{ErrorReason, Failure};
use prost::Message;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Status};

/// How long the answers to a call without an end are heard.
const HEARS: Duration = Duration::from_secs(60);

/// The paths of all methods that a server has, in order.
pub fn methods() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(dlock_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.iter().flat_map(|file| {
        file.service.iter().map(move |service| (format!("{}.{}", file.package(), service.name()), service))
    });
    let served = services.filter(|(name, _)| !name.starts_with("dlock.bench."));
    let mut methods: Vec<String> = served
        .flat_map(|(name, service)| {
            service.method.iter().map(move |method| format!("{name}/{}", method.name()))
        })
        .collect();
    methods.sort();
    methods
}

/// The method's number, then the messages, each after its length in two bytes.
pub(crate) fn run(data: &[u8]) {
    let Some((number, said)) = data.split_first() else { return };
    let methods = methods();
    let Some(method) = methods.get(usize::from(*number)) else { return };
    block_on(async {
        let service = Service::start().await;
        service.hold().await;
        let call = service.exchange(method, messages(said), Duration::ZERO);
        if let Ok(answered) = timeout(HEARS, call).await {
            check(method, &answered.status);
        }
        service.serves_on().await;
    });
}

fn check(method: &str, status: &Status) {
    let failure = Failure::from(status);
    match (status.code(), failure.reason()) {
        (Code::Ok, _) => {}
        // Of gRPC itself: more messages than the method takes, or none; and a service whose health is not known.
        (Code::Internal | Code::Unimplemented, ErrorReason::Unspecified) => {
            panic!("{method}: {status:?}")
        }
        (Code::NotFound, ErrorReason::Unspecified) if method.starts_with("grpc.health.") => {}
        _ => check_failure(&failure),
    }
}
