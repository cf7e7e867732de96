//! The lock engine: sessions, queues, waits, notifications over any store, without gRPC.
