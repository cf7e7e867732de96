//! How messages are put on the wire and read off it.

use bytes::{Buf, BufMut};
use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// How much memory a stream keeps for its next message, in bytes.
const KEPT_MAX: usize = 64 << 10;

/// What a stream has from its beginning, each way: most of them are idle, and a heartbeat has some twenty bytes. It grows with
/// what is sent. tonic's own 8 KiB would be most of what a session costs.
pub fn stream_buffers() -> BufferSettings {
    BufferSettings::new(64, 32 << 10)
}

/// Protobuf by prost, as tonic's own [`tonic_prost::ProstCodec`], but from a slice and to a vector: byte by byte, both take fewer
/// instructions than tonic's buffers, of which nobody knows that they are one piece.
pub struct SliceCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SliceCodec<T, U> {
    fn default() -> Self {
        SliceCodec(PhantomData)
    }
}

impl<T, U> Codec for SliceCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = VecEncoder<T>;
    type Decoder = SliceDecoder<U>;

    fn encoder(&mut self) -> VecEncoder<T> {
        VecEncoder { buffer: Vec::new(), message: PhantomData }
    }

    fn decoder(&mut self) -> SliceDecoder<U> {
        SliceDecoder(PhantomData)
    }
}

/// Writes messages of type `T`.
pub struct VecEncoder<T> {
    /// What the last message needed is likely to do for the next.
    buffer: Vec<u8>,
    message: PhantomData<T>,
}

impl<T: Message> Encoder for VecEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.buffer.clear();
        message.encode_raw(&mut self.buffer);
        to.put_slice(&self.buffer);
        if self.buffer.capacity() > KEPT_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        stream_buffers()
    }
}

/// Reads messages of type `U`.
pub struct SliceDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for SliceDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let (piece, length) = (from.chunk(), from.remaining());
        if piece.len() < length {
            return ProstDecoder::default().decode(from);
        }
        // The code that gRPC wants for a message that can't be read.
        let message = U::decode(piece).map_err(|error| Status::internal(error.to_string()))?;
        from.advance(length);
        Ok(Some(message))
    }

    fn buffer_settings(&self) -> BufferSettings {
        stream_buffers()
    }
}
