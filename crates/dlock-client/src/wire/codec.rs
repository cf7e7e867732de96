//! The session's call, in this crate's own types: what tonic needs to know to send and receive frames.

use super::session::ClientIdentity;
use super::{decode, encode};
use crate::Error;
use crate::session::message::{Frame, Incoming};
use bytes::{Buf, BufMut};
use dlock_proto::codec::stream_buffers;
use futures::Stream;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{GrpcMethod, Request, Response, Status, Streaming};

/// The longest message either way. The server's limit for frames is lower.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What a frame says; an error for what the protocol does not allow.
pub(crate) type Decoded = Result<Vec<Incoming>, Error>;

/// Calls `dlock.v1.LockService.Session`: the generated client's method, with another codec.
pub(crate) async fn open_stream(
    channel: Channel,
    identity: ClientIdentity,
    frames: impl Stream<Item = Frame> + Send + 'static,
) -> Result<Response<Streaming<Decoded>>, Status> {
    let mut client = Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    client.ready().await.map_err(|error| Status::unknown(format!("Service was not ready: {error}")))?;
    let mut request = Request::new(frames);
    request.extensions_mut().insert(GrpcMethod::new("dlock.v1.LockService", "Session"));
    let path = PathAndQuery::from_static("/dlock.v1.LockService/Session");
    client.streaming(request, path, FrameCodec { identity }).await
}

struct FrameCodec {
    identity: ClientIdentity,
}

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = Decoded;
    type Encoder = FrameEncoder;
    type Decoder = FrameDecoder;

    fn encoder(&mut self) -> FrameEncoder {
        FrameEncoder { identity: self.identity.clone(), buffer: Vec::new() }
    }

    fn decoder(&mut self) -> FrameDecoder {
        FrameDecoder
    }
}

struct FrameEncoder {
    identity: ClientIdentity,
    /// What the frame before this one needed is likely to do.
    buffer: Vec<u8>,
}

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.buffer.clear();
        encode::encode(&frame, &self.identity, &mut self.buffer);
        to.put_slice(&self.buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        stream_buffers()
    }
}

struct FrameDecoder;

impl Decoder for FrameDecoder {
    type Item = Decoded;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Decoded>, Status> {
        let frame = from.copy_to_bytes(from.remaining());
        decode::decode(&frame).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        stream_buffers()
    }
}
