//! The dlock SDK.
