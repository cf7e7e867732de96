//! Between the protocol's messages and the engine's types. What comes in is parsed into types that can't be wrong, or
//! refused with the name of the field.

mod incoming;
mod outgoing;
mod views;

pub(crate) use incoming::{
    HELD_LOCK, acquire, cancel, claims, client_info, convert, first_lock, hold, lock_id, namespace,
    page_size, prefix, query, release, resource, resources_page, secret, session_id, sessions_page, terms,
    token,
};
pub(crate) use outgoing::{blocking, claim_result, event, granted, queued, session_terms};
pub(crate) use views::{member_info, process_info, resource_event, resource_info, session_info};
