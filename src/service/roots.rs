//! The root secret: made once, opened by the master key, resealed when another master key takes its place.
//!
//! Two master keys open the database while one takes the place of the other, so that machines can be given the new file one
//! by one, and a crash at any point leaves a database that the old file opens, and the new one once it was told so.

use super::{Actor, App, ServiceError, ServiceResult};
use crate::crypto::{Crypto, CryptoError, MasterKey, new_id};
use crate::storage::{AuditEntry, Change, FeedRow, Store, StoredRoot, Write};
use serde_json::json;

/// What the root secret gives, where this master key opens it; `None` for a database that has none yet.
///
/// # Errors
/// [`CryptoError::OtherMaster`] when the database has one that this master key does not open.
pub async fn opened(store: &dyn Store, master: &MasterKey) -> ServiceResult<Option<Crypto>> {
    let roots = store.roots().await?;
    match roots.iter().find(|root| root.master == master.id()) {
        Some(root) => {
            let crypto = master.open_root(&root.sealed)?;
            let masters: Vec<_> = roots.iter().map(|root| (root.master.clone(), root.statements.clone())).collect();
            master.write_also_for(&crypto, &masters)?;
            Ok(Some(crypto))
        }
        // SECURITY: a database that holds anything sealed has lost its root secret; another one would open nothing.
        None if roots.is_empty() && store.keys().await?.is_empty() => Ok(None),
        None => Err(CryptoError::OtherMaster(master.id().to_owned()).into()),
    }
}

/// What the root secret gives; made in a database that has none yet.
pub(super) async fn open_or_found(store: &dyn Store, master: &MasterKey, now_ms: i64) -> ServiceResult<Crypto> {
    if let Some(crypto) = opened(store, master).await? {
        return Ok(crypto);
    }
    let (crypto, sealed) = master.new_root()?;
    let statements = master.seal_statements(&crypto)?;
    let root = StoredRoot { master: master.id().to_owned(), sealed, statements };
    let audit = AuditEntry {
        id: new_id("aud", now_ms)?,
        at_ms: now_ms,
        actor: Actor::system().as_str().to_owned(),
        action: "master_key.began".to_owned(),
        target: master.id().to_owned(),
        detail: json!({}).to_string(),
    };
    let writes = vec![Write::Root { root, founds: true }];
    let change = Change { writes, audit: vec![audit], feed: Vec::new(), outbox: Vec::new() };
    match store.commit(change).await? {
        Ok(()) => Ok(crypto),
        // Another process was first.
        Err(_) => opened(store, master).await?.ok_or(ServiceError::Unavailable("root secret")),
    }
}

impl App {
    /// Lets another master key open this database too; nothing if it does already. Then machines may be given its file.
    ///
    /// # Errors
    /// When the store or the anchor cannot be written.
    pub async fn add_master_key(&self, actor: &Actor, next: &MasterKey) -> ServiceResult<()> {
        let roots = self.store.roots().await?;
        let own = roots.iter().find(|root| root.master == self.master.id()).ok_or(CryptoError::Opening)?;
        if !roots.iter().any(|root| root.master == next.id()) {
            let sealed = self.master.reseal_root(&own.sealed, next)?;
            let statements = next.seal_statements(&self.crypto)?;
            let root = StoredRoot { master: next.id().to_owned(), sealed, statements };
            let audit = self.audit(actor, "master_key.began", next.id(), &json!({ "beside": self.master.id() }))?;
            let feed = vec![FeedRow { kind: "root".to_owned(), key: next.id().to_owned() }];
            // Another process may have been first.
            let _ = self.commit(vec![Write::Root { root, founds: false }], audit, feed).await?;
        }
        self.load_roots().await?;
        self.link_and_anchor().await
    }

    /// From now on no other master key opens this database. Gives those that did.
    ///
    /// # Errors
    /// When the store or the anchor cannot be written.
    pub async fn end_other_master_keys(&self, actor: &Actor) -> ServiceResult<Vec<String>> {
        let others = self.store.roots().await?.into_iter().map(|root| root.master);
        let others: Vec<String> = others.filter(|master| master != self.master.id()).collect();
        if !others.is_empty() {
            let audit = self.audit(actor, "master_key.ended", self.master.id(), &json!({ "ended": others }))?;
            let feed = vec![FeedRow { kind: "root".to_owned(), key: self.master.id().to_owned() }];
            let write = Write::OnlyRoot(self.master.id().to_owned());
            self.commit(vec![write], audit, feed).await?.map_err(|_| ServiceError::Conflict("master key"))?;
        }
        self.load_roots().await?;
        self.link_and_anchor().await?;
        Ok(others)
    }

    /// Follows which master keys there are: the anchor is written for all of them.
    pub(crate) async fn load_roots(&self) -> ServiceResult<()> {
        let roots = self.store.roots().await?;
        // One that was ended goes on until it restarts; then it is refused.
        if roots.iter().any(|root| root.master == self.master.id()) {
            let masters: Vec<_> = roots.into_iter().map(|root| (root.master, root.statements)).collect();
            self.master.write_also_for(&self.crypto, &masters)?;
        }
        self.sign_anchor_anew();
        Ok(())
    }
}
