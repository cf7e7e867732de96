//! What a client sent that is no message at all. tonic calls that the server's own failure (INTERNAL), or OUT_OF_RANGE;
//! here it is the client's mistake, named like any other: INVALID_ARGUMENT with the field.

use crate::fault::Fault;
use crate::serve::FRAME_BYTES_MAX;
use axum::response::Response;
use tonic::{Code, Status};

/// What prost's errors begin with; then come the fields, the innermost first, then the cause.
const UNDECODABLE: &str = "failed to decode Protobuf message: ";
/// What tonic says of a call whose client has sent no message and will send none.
const MISSING: &str = "Missing request message.";
/// The field named for a message that is wrong as a whole.
const WHOLE: &str = "request";

/// What is wrong with the message, if this status says that it could not be taken in.
pub(crate) fn explain(status: &Status) -> Option<Fault> {
    match status.code() {
        Code::Internal if status.message() == MISSING => {
            Some(Fault::field(WHOLE, "is missing: send one message, an empty one if there is nothing to say"))
        }
        Code::Internal => status.message().strip_prefix(UNDECODABLE).map(undecodable),
        Code::OutOfRange => {
            let limit = format!("is longer than {FRAME_BYTES_MAX} bytes: send it in parts");
            Some(Fault::field(WHOLE, limit))
        }
        _ => None,
    }
}

fn undecodable(text: &str) -> Fault {
    let mut fields = Vec::new();
    let mut rest = text;
    while let Some((place, after)) = rest.split_once(": ")
        && let Some((_message, field)) = place.split_once('.')
        && !place.contains(' ')
    {
        fields.insert(0, field);
        rest = after;
    }
    let field = if fields.is_empty() { WHOLE.to_owned() } else { fields.join(".") };
    Fault::field(
        field,
        format!("can't be read ({rest}): send the messages of dlock's protocol, and text in UTF-8"),
    )
}

/// Replaces the status of a call whose request could not be taken in.
pub(crate) async fn blame_the_client(response: Response) -> Response {
    if !response.headers().contains_key(Status::GRPC_STATUS) {
        return response; // an answer; its status comes after it
    }
    match Status::from_header_map(response.headers()).as_ref().and_then(explain) {
        Some(fault) => Status::from(fault).into_http(),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlock_proto::v1::{ClientMessage, GetResourceRequest, SessionRequest};
    use prost::Message;

    fn field_of(error: prost::DecodeError) -> (String, String) {
        let mut failure = explain(&Status::internal(error.to_string())).unwrap().into_failure();
        let violation = failure.violations.remove(0);
        (violation.field, violation.description)
    }

    #[test]
    fn the_field_that_is_not_utf_8_is_named() {
        let name = b"\x0a\x04\x12\x02\xff\xfe"; // resource { name: ff fe }
        let (field, description) = field_of(GetResourceRequest::decode(name.as_slice()).unwrap_err());
        assert_eq!(field, "resource.name");
        assert!(description.contains("UTF-8"), "{description}");
        let mut frame = SessionRequest { received_frames: 0, messages: vec![ClientMessage::default()] };
        frame.messages[0].sequence = 1;
        let mut bytes = frame.encode_to_vec();
        bytes.truncate(bytes.len() - 1);
        assert_eq!(field_of(SessionRequest::decode(bytes.as_slice()).unwrap_err()).0, "messages");
    }

    #[test]
    fn a_message_that_never_came_is_missing() {
        let failure = explain(&Status::internal(MISSING)).unwrap().into_failure();
        assert_eq!(failure.violations[0].field, "request");
    }

    #[test]
    fn other_statuses_are_left_alone() {
        assert!(explain(&Status::internal("something else")).is_none());
        assert!(explain(&Status::cancelled("failed to decode Protobuf message: ")).is_none());
        assert!(explain(&Status::internal(UNDECODABLE)).is_some());
    }
}
