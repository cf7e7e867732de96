//! The store in the server's own process, in memory or durable.
