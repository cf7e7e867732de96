//! The whole dlock server in-process, for tests.
