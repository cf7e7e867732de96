//! The dlock server.
