//! An object that a lock protects, in any object store with conditional writes.

use bytes::{Buf, Bytes};
use dlock_client::{Fence, StaleToken, Token};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, UpdateVersion};
use std::sync::Arc;

/// The object's content is the highest token it has seen, in eight bytes, and then the data.
///
/// The token is in the content since the ETag may be a hash of just that, as in S3: a token in the metadata could be
/// raised without the ETag being changed, and a late write that waits for this ETag would still get in.
#[derive(Clone, Debug)]
pub struct FencedObject {
    pub store: Arc<dyn ObjectStore>,
    pub path: Path,
}

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    Stale(#[from] StaleToken),
    #[error("{0} does not begin with a token")]
    NoToken(Path),
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

impl FencedObject {
    /// The data; nothing if there is no object yet. From now on no older token can read or write.
    pub async fn read(&self, token: Token) -> Result<Bytes, AccessError> {
        self.access(token, None).await
    }

    /// Replaces the data. May be repeated when its outcome is unknown.
    pub async fn write(&self, token: Token, data: Bytes) -> Result<(), AccessError> {
        self.access(token, Some(data)).await.map(drop)
    }

    async fn access(&self, token: Token, new: Option<Bytes>) -> Result<Bytes, AccessError> {
        loop {
            let (mut fence, old, mode) = self.look().await?;
            let is_known = fence.highest() == token;
            fence.admit(token)?;
            if new.is_none() && is_known {
                return Ok(old);
            }
            let data = new.clone().unwrap_or(old);
            let content = [&token.get().to_be_bytes()[..], &data].concat();
            match self.store.put_opts(&self.path, content.into(), mode.into()).await {
                Ok(_) => return Ok(data),
                // Somebody came between: look again at who it was.
                Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What there is, and the condition under which it may be replaced: that it is still the same.
    async fn look(&self) -> Result<(Fence, Bytes, PutMode), AccessError> {
        let found = match self.store.get(&self.path).await {
            Err(object_store::Error::NotFound { .. }) => {
                return Ok((Fence::default(), Bytes::new(), PutMode::Create));
            }
            found => found?,
        };
        let same = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let mut content = found.bytes().await?;
        let token = content.try_get_u64().ok().and_then(Token::from_u64);
        let token = token.ok_or_else(|| AccessError::NoToken(self.path.clone()))?;
        Ok((Fence::at(token), content, PutMode::Update(same)))
    }
}
